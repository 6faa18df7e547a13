# SPDX-License-Identifier: Apache-2.0
"""The page that a daemon's metrics server has for people: what it sends, and what a browser shows."""
import base64
import html
import http.client
import json
import os
import pathlib
import re
import select
import shutil
import socket
import subprocess

import pytest

import daemons
from tenants import BLUE, MIB, RED, Allocator, Host, busy, others_can_read, red_and_blue  # noqa: F401

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be several users")

BROWSER = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium"))), None)
needs_browser = pytest.mark.skipif(not BROWSER, reason="needs chromium-headless-shell")


class Shown(Host):
    """causeway-cudad with its page on a port of this host."""

    def __init__(self, *arguments, **options):
        self.port = daemons.free_tcp_port()
        super().__init__(*arguments, more=f'metrics = "127.0.0.1:{self.port}";', **options)

    def ask(self, path, method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer, body


class Browser:
    """A browser without a window, led over the pipe of its debugging protocol."""

    def __init__(self, url, folder):
        from_us, self.to = os.pipe()
        self.back, to_us = os.pipe()
        # What the protocol calls 3 and 4, whatever the pipes are called here.
        words = [BROWSER, "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile",
                 "--window-size=1280,720", "--remote-debugging-pipe", "about:blank"]
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", f'exec "$@" 3<&{from_us} 4>&{to_us}', "sh", *words],
            pass_fds=(from_us, to_us), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], "HOME": str(folder)})
        os.close(from_us)
        os.close(to_us)
        self.rest, self.count, self.session, self.complaints = b"", 0, None, []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for name in ("Runtime.enable", "Log.enable", "Page.enable"):
            self.ask(name)
        self.ask("Page.navigate", url=url)

    def ask(self, method, **parameters):
        self.count += 1
        request = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            request["sessionId"] = self.session
        os.write(self.to, json.dumps(request).encode() + b"\0")
        while True:
            answer = self.message()
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded",
                                        "Runtime.consoleAPICalled"):
                self.complaints.append(answer["params"])
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                return answer["result"]

    def message(self):
        while b"\0" not in self.rest:
            assert select.select([self.back], [], [], 60)[0], "the browser says nothing"
            self.rest += os.read(self.back, 1 << 20)
        first, self.rest = self.rest.split(b"\0", 1)
        return json.loads(first)

    def dom(self):
        found = self.ask("Runtime.evaluate", expression="document.documentElement.outerHTML")
        return found["result"].get("value", "")  # nothing of it is there yet

    def picture(self):
        return base64.b64decode(self.ask("Page.captureScreenshot")["data"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.to)
        os.close(self.back)


def table(dom, name):
    """The rows of a table of the page, as {title: text}; none where it is not shown."""
    rows = [[html.unescape(re.sub(r"<[^>]*>", "", cell)).strip(" \u25be\u25b4")
             for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)]
            for found in re.findall(rf'<table id="{name}">(.*?)</table>', dom, re.S)
            for row in re.findall(r"<tr>(.*?)</tr>", found, re.S)]
    return [dict(zip(rows[0], row)) for row in rows[1:]]


def test_what_is_sent():
    with Shown(red_and_blue()) as host:
        answer, page = host.ask("/")
        assert answer.status == 200
        assert answer.getheader("Content-Type") == "text/html; charset=utf-8"
        policy = answer.getheader("Content-Security-Policy")
        assert "default-src 'none'" in policy and "connect-src 'self'" in policy
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
        for name, value in (("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store"),
                            ("Referrer-Policy", "no-referrer"), ("X-Frame-Options", "DENY"),
                            ("Cross-Origin-Resource-Policy", "same-origin")):
            assert answer.getheader(name) == value
        assert not re.search(r"https?://|(src|href)\s*=|<form|innerHTML|eval\(", page)
        answer, text = host.ask("/report.json")
        assert answer.getheader("Content-Type") == "application/json"
        assert answer.getheader("Access-Control-Allow-Origin") is None
        assert json.loads(text)["pid"] == host.pid
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert host.ask("/", method)[0].status == 405
        assert host.ask("/other")[0].status == 404


@pytest.mark.parametrize("name, status", (
    ("localhost", 200), ("localhost:80", 200), ("127.0.0.1", 200), ("127.1.2.3:9", 200),
    ("[::1]:80", 200), ("evil.example", 403), ("127.0.0.1.evil.example", 403),
    ("localhost.evil.example", 403), ("[::1].evil.example", 403), ("", 403)))
def test_other_names_of_this_host_are_refused(name, status):
    with Shown(red_and_blue()) as host:
        for path in ("/", "/report.json", "/metrics"):
            assert host.ask(path, Host=name)[0].status == status


def test_a_unix_socket_has_it_too(tmp_path):
    path = tmp_path / "metrics"
    with Host(red_and_blue(), more=f'metrics = "{path}";'):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while more := connection.recv(65536):
                answer += more
        assert answer.startswith(b"HTTP/1.0 200") or answer.startswith(b"HTTP/1.1 200")
        assert b"<!DOCTYPE html>" in answer


@needs_browser
def test_a_browser_shows_tenants_at_work(tmp_path):
    with Shown(red_and_blue("64M", more="weight = 3;")) as host:
        holder = Allocator(host, RED)
        assert holder.alloc(32 * MIB)[0] == 0
        loads = [busy(host, RED, 40, depth=32), busy(host, BLUE, 40, depth=32)]
        daemons.wait_until(lambda: all(row["launches"] > 20 for row in host.table().values())
                           and len(host.table()) == 2, 30, "both run")
        with Browser(f"http://127.0.0.1:{host.port}/", tmp_path) as browser:
            def shared():
                rows = table(browser.dom(), "tenant")
                return rows if len(rows) == 2 and all(
                    float(row["share"].rstrip(" %-") or 0) > low for row, low in
                    zip(sorted(rows, key=lambda row: row["tenant"]), (5, 50))) else None
            rows = {row["tenant"]: row for row in
                    daemons.wait_until(shared, 30, "both have their shares")}
            dom, picture = browser.dom(), browser.picture()
            assert not browser.complaints
        assert rows["red"]["weight"] == "3" and rows["red"]["clients"] == "2"
        assert rows["red"]["memory"].endswith(" of 64.0 MiB")
        assert abs(sum(float(row["share"].rstrip(" %")) for row in rows.values()) - 100) < 0.3
        assert [row["device"] for row in table(dom, "device")] == ["0"]
        assert len(table(dom, "client_usage")) == 3
        assert "<h1 id=\"program\">causeway-cudad</h1>" in dom
        assert f"process {host.pid}, since" in dom
        assert picture.startswith(b"\x89PNG") and len(picture) > 10000
        if keep := os.environ.get("CAUSEWAY_SCREENSHOT"):
            pathlib.Path(keep).write_bytes(picture)
        for load in loads:
            load.kill()
            load.communicate()
        holder.end()


@needs_browser
def test_names_are_text(tmp_path):
    """A tenant's name that is markup is shown, and not run."""
    name = "<img src=x onerror=alert(1)>"
    with Shown([f'{{ name = "{name}"; users = [{RED}]; }}']) as host:
        with Browser(f"http://127.0.0.1:{host.port}/", tmp_path) as browser:
            dom = daemons.wait_until(lambda: name in html.unescape(browser.dom()) and browser.dom(),
                                     20, "it is shown")
        assert [row["tenant"] for row in table(dom, "tenant")] == [name]
        assert "<img" not in dom


@needs_browser
def test_other_daemons_have_one_too(tmp_path):
    port = daemons.free_tcp_port()
    with daemons.Switch(options=("--metrics", f"127.0.0.1:{port}")):
        with Browser(f"http://127.0.0.1:{port}/", tmp_path) as browser:
            rows = daemons.wait_until(lambda: table(browser.dom(), "vm"), 20, "VMs are shown")
            assert not browser.complaints
        assert "guest3" in rows[0].values(), rows


@needs_browser
def test_a_daemon_that_is_gone_is_seen(tmp_path):
    with Shown(red_and_blue()) as host:
        with Browser(f"http://127.0.0.1:{host.port}/", tmp_path) as browser:
            daemons.wait_until(lambda: table(browser.dom(), "tenant"), 20, "tenants are shown")
            host.process.terminate()
            host.process.wait(10)
            daemons.wait_until(lambda: "no answer" in browser.dom() and 'class="stale"' in
                               browser.dom(), 20, "it is said")

# SPDX-License-Identifier: Apache-2.0
"""causeway-switch without guests: its control socket, its configuration file, its metrics."""
import fcntl
import http.client
import json
import os
import pty
import signal
import socket
import stat
import struct
import subprocess
import termios
import time

import pytest

import daemons

CAUSEWAY = daemons.BUILD / "cli" / "causeway"


class Configured(daemons.Daemon):
    """causeway-switch with a configuration file; text and options are functions of its folder."""

    name = "switch"

    def __init__(self, vms="", more="", options=()):
        super().__init__()
        self.options = options
        self.control = self.folder / "control"
        self.file = self.folder / "causeway.conf"
        self.write(vms, more)

    def write(self, vms="", more=""):
        text = f'switch = {{ control = "{self.control}"; vms = ( {vms} );\n{more} }};\n'
        self.file.write_text(text.replace("FOLDER", str(self.folder)))

    def command(self):
        return [daemons.BUILD / "vsock" / "switch" / "causeway-switch", "--config", self.file,
                *[str(option).replace("FOLDER", str(self.folder)) for option in self.options]]

    def ready(self):
        """Once it answers: the socket's file is there before the switch listens and serves."""
        try:
            return self.ask_raw(b"{}\n") is not None
        except OSError:
            return False

    def ask(self, **request):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self.control))
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer = b""
            while more := connection.recv(65536):
                answer += more
        return json.loads(answer)

    def ask_raw(self, data, whole=True):
        """Bytes instead of a request; None when the switch just hangs up."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self.control))
            answer = b""
            try:
                connection.sendall(data)
                if whole:
                    connection.shutdown(socket.SHUT_WR)
                while more := connection.recv(65536):
                    answer += more
            except (BrokenPipeError, ConnectionResetError):
                pass
        return json.loads(answer) if answer else None

    def vms(self):
        """{name: {column: value}} as the switch tells."""
        (table,) = [table for table in self.ask(command="vm-list")["tables"]
                    if table["name"] == "vm"]
        names = [column["name"] for column in table["columns"]]
        return {row[0]: dict(zip(names, row)) for row in table["rows"]}

    def reload(self):
        """SIGHUP, and the answers that follow it are of the new state or of the old for good."""
        return self.ask(command="reload").get("error")

    def vm(self, action, *words):
        return daemons.run_program([CAUSEWAY, "vm", action, *words, "--control", self.control], {})


def described(name, cid, more="", socket_name=None):
    return f'{{ name = "{name}"; cid = {cid}; socket = "FOLDER/{socket_name or name}"; {more} }}'


def test_vms_come_and_go_by_command():
    with Configured(described("first", 3)) as switch:
        assert stat.S_IMODE(switch.control.stat().st_mode) == 0o600
        added = switch.vm("add", "second", "--cid", 4, "--socket", switch.folder / "second",
                          "--group", "web", "--group", "lab", "--limit", 100)
        assert (added.returncode, added.stdout) == (0, ""), added.stderr
        assert switch.vms()["second"]["groups"] == "web lab"
        listed = switch.vm("list")
        assert listed.returncode == 0 and "second" in listed.stdout and "first" in listed.stdout
        assert (switch.folder / "second").is_socket()
        assert (switch.folder / "second.host").is_socket()
        assert switch.vm("remove", "second").returncode == 0
        assert not (switch.folder / "second").exists()
        assert list(switch.vms()) == ["first"]
        assert switch.vm("remove", "first").returncode == 0
        assert switch.vms() == {}


@pytest.mark.parametrize("words, sentence", (
    (("--cid", "3", "--socket", "/tmp/x"), "share a name, a cid or a socket"),
    (("--cid", "2", "--socket", "/tmp/x"), "its cid is 2: expected 3 to"),
    (("--cid", "9", "--socket", "/nothing/here/x"), "/nothing/here/x"),
    (("--cid", "9", "--socket", "/tmp/x", "--group", "a b"), "group 'a b'"),
    (("--cid", "9", "--socket", "/tmp/x", "--limit", "99999999"), "limit_mib_s is 99999999"),
))
def test_a_vm_that_cannot_be_is_a_sentence_and_changes_nothing(words, sentence):
    with Configured(described("first", 3)) as switch:
        refused = switch.vm("add", "second", *words)
        assert refused.returncode == 1 and sentence in refused.stderr
        assert list(switch.vms()) == ["first"]
        gone = switch.vm("remove", "second")
        assert gone.returncode == 1 and "there is no VM 'second'" in gone.stderr


def test_what_is_no_request_is_refused():
    with Configured() as switch:
        assert "no JSON object" in switch.ask_raw(b"nonsense\n")["error"]
        assert "no JSON object" in switch.ask_raw(b"[]\n")["error"]
        assert "expected a string" in switch.ask(command=3)["error"]
        assert "no command 'fly'" in switch.ask(command="fly")["error"]
        assert "vm-add" in switch.ask(command="vm-add", name=3)["error"]
        assert switch.ask_raw(b"")["program"] == "causeway-switch"
        assert switch.ask_raw(b"x" * 100000, whole=False) is None


def test_a_configuration_read_anew_changes_what_changed():
    with Configured(", ".join([described("stays", 3), described("goes", 4),
                               described("moves", 5)])) as switch:
        assert switch.vm("add", "added", "--cid", 9, "--socket",
                         switch.folder / "added").returncode == 0
        inode = (switch.folder / "stays").stat().st_ino
        # A new VM takes the cid and the socket of one that goes.
        switch.write(", ".join([described("stays", 3, 'groups = [ "web" ]; limit_mib_s = 5;'),
                                described("comes", 4, socket_name="goes"),
                                described("moves", 6)]),
                     'rules = ( { action = "deny"; from = "cid:3"; ports = "80-90"; } );')
        switch.process.send_signal(signal.SIGHUP)
        daemons.wait_until(lambda: set(switch.vms()) == {"stays", "comes", "moves", "added"}, 20,
                           "the new VMs")
        vms = switch.vms()
        assert (vms["comes"]["cid"], vms["moves"]["cid"]) == (4, 6)
        assert vms["stays"]["groups"] == "web"
        assert (switch.folder / "stays").stat().st_ino == inode
        switch.write()
        assert switch.reload() is None
        assert list(switch.vms()) == ["added"]


@pytest.mark.parametrize("vms, more, sentence", (
    (described("one", 2), "", ":1: cid is 2: expected 3 to"),
    (described("one", 3) + ", " + described("one", 4), "", "share a name"),
    (described("one", 3, "colour = 3;"), "", ":1: unknown setting 'colour'"),
    (described("one", 3, 'groups = [ "a b" ];'), "", "group 'a b'"),
    (described("one", 3, 'groups = "a";'), "", ':1: groups: expected [ "NAME", ... ]'),
    (described("one", 3, "limit_mib_s = -1;"), "", ":1: limit_mib_s is -1: expected 0 to"),
    ("", 'rules = ( { action = "maybe"; } );', ":2: action is 'maybe': expected allow or deny"),
    ("", 'rules = ( { action = "deny"; from = "cid:x"; } );', ":2: from is 'cid:x': expected any"),
    ("", 'rules = ( { action = "deny"; ports = "9-8"; } );', ":2: ports is '9-8': expected"),
    ("", "rules = ( 3 );", ":2: rules: expected { ... }"),
    ("", "nonsense", ":2: syntax error"),
    (described("one", 3, socket_name="no/such/folder"), "", "no/such/folder"),
))
def test_a_wrong_configuration_leaves_the_old_one(vms, more, sentence):
    with Configured(described("first", 3) + ", " + described("second", 4)) as switch:
        switch.write(vms, more)
        error = switch.reload()
        assert sentence in error, error
        if not sentence.startswith("no/"):
            assert str(switch.file) in error or "share" in error
        assert {name: vm["cid"] for name, vm in switch.vms().items()} == {"first": 3, "second": 4}
        assert (switch.folder / "first").is_socket() and (switch.folder / "second").is_socket()


def metrics(connection, path="/metrics", method="GET"):
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


class UnixHttp(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=20)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def parse_metrics(text):
    """{name with labels: number}; every line is of the format, every metric has its type."""
    values, types = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            types[name] = kind
        elif not line.startswith("# HELP "):
            name, value = line.rsplit(" ", 1)
            assert types[name.split("{")[0]] in ("gauge", "counter"), line
            values[name] = float(value)
    for name, kind in types.items():
        assert name.endswith("_total") == (kind == "counter"), name
    return values


def test_metrics_over_a_unix_socket():
    with Configured(described("first", 3), options=["--metrics", "FOLDER/metrics"]) as switch:
        path = switch.folder / "metrics"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        status, text = metrics(UnixHttp(path))
        assert status == 200
        values = parse_metrics(text)
        assert values["causeway_switch_vms"] == 1
        assert values['causeway_switch_vm_sent_bytes_total{vm="first",cid="3"}'] == 0
        assert values["causeway_switch_process_resident_bytes"] > 1 << 20
        assert metrics(UnixHttp(path), "/other")[0] == 404
        assert metrics(UnixHttp(path), method="POST")[0] == 405
        switch.process.terminate()
        assert switch.process.wait(20) == 0
        assert not path.exists() and not switch.control.exists()


def test_metrics_on_this_host_alone():
    port = daemons.free_tcp_port()
    with Configured(more=f'metrics = "127.0.0.1:{port}";'):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        assert "causeway_switch_vms 0" in metrics(connection)[1]
    for wrong in ("0.0.0.0:9000", "192.0.2.1:9000", "localhost:9000", "127.0.0.1", "127.0.0.1:x"):
        with pytest.raises(daemons.DaemonError, match="metrics address"):
            Configured(options=["--metrics", wrong]).start()


def test_an_idle_switch_takes_no_time_whoever_is_connected():
    with Configured(described("first", 3), options=["--metrics", "FOLDER/metrics"]) as switch:
        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(str(switch.folder / "metrics"))
            before = daemons.cpu_seconds(switch.pid)
            time.sleep(2)
            assert daemons.cpu_seconds(switch.pid) - before <= 0.02


def test_top_writes_rates():
    with Configured(described("first", 3)) as switch:
        shown = daemons.run_program([CAUSEWAY, "top", "--batch", "--rounds", 2, "--delay", "0.2",
                                     "--socket", switch.control], {})
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.count("causeway-switch (process") == 2
        assert "0 B/s" in shown.stdout and "first" in shown.stdout
        wrong = daemons.run_program([CAUSEWAY, "top", "--delay", "0"], {})
        assert wrong.returncode == 2 and "--delay is '0': expected" in wrong.stderr


def test_top_fills_a_screen_and_takes_keys():
    with Configured(described("first", 3)) as switch:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
        top = subprocess.Popen([CAUSEWAY, "top", "--socket", switch.control], stdin=slave,
                               stdout=slave, stderr=slave, env=dict(os.environ, TERM="xterm"))
        os.close(slave)
        seen = b""
        while b"first" not in seen or b"quit" not in seen:
            seen += os.read(master, 4096)
        os.write(master, b"s q")
        try:
            while os.read(master, 4096):
                pass
        except OSError:
            pass  # the other side is closed
        os.close(master)
        assert top.wait(20) == 0


def test_a_capture_begins_and_ends(tmp_path):
    with Configured(described("first", 3)) as switch:
        file = tmp_path / "capture.pcap"
        assert switch.vm("capture", file).returncode == 0
        assert "runs already" in switch.vm("capture", tmp_path / "other").stderr
        assert switch.vm("capture", "--stop").returncode == 0
        assert "no capture runs" in switch.vm("capture", "--stop").stderr
        assert file.stat().st_size == 24  # the file's header
        assert "cannot write" in switch.vm("capture", "/nothing/here").stderr


def test_misuse_of_vm_is_a_sentence():
    for words in (["add"], ["add", "name"], ["remove"], ["list", "name"], ["fly"], ["capture"]):
        wrong = daemons.run_program([CAUSEWAY, "vm", *words], {})
        assert wrong.returncode == 2 and "expected: add NAME" in wrong.stderr

# SPDX-License-Identifier: Apache-2.0
"""TCP inside TLS, as docs/security.md has it: programs compute, the token is not to be read on the way, and who has
another certificate is not served."""
import pathlib
import re
import shutil
import socket
import subprocess
import threading

import pytest

import daemons

STUNNEL = shutil.which("stunnel4") or shutil.which("stunnel")
pytestmark = pytest.mark.skipif(not STUNNEL or not shutil.which("openssl"),
                                reason="needs stunnel and openssl")
PROGRAM = daemons.PROGRAMS / "driver_client"


def documented():
    """The two configurations of the document: the server's and the client's."""
    text = (daemons.ROOT / "docs" / "security.md").read_text()
    server, client = re.findall(r"^```\n(\[causeway\]\n.*?)^```$", text, re.M | re.S)
    return server, client


def replaced(text, **values):
    """With other values for some of the settings, all of which are there."""
    for name, value in values.items():
        text, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.M)
        assert count == 1, name
    return text


def certificate(folder, name):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                    "-keyout", folder / f"{name}-key.pem", "-out", folder / f"{name}.pem"],
                   check=True, capture_output=True)
    return {"cert": folder / f"{name}.pem", "key": folder / f"{name}-key.pem"}


class Stunnel(daemons.Daemon):
    name = "stunnel"

    def __init__(self, text, port):
        super().__init__()
        self.port = port
        self.config = self.folder / "conf"
        self.config.write_text(f"foreground = yes\npid =\n{text}")

    def command(self):
        return [STUNNEL, self.config]

    def ready(self):
        """Its port is bound, seen without a connection that it would pass on."""
        lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()
        return any(local.endswith(f":{self.port:04X}") and state == "0A"
                   for _, local, _, state in (line.split()[:4] for line in lines[1:]))


class Wiretap:
    """A relay of TCP that keeps what passes through it."""

    def __init__(self, port):
        self.target = port
        self.seen = bytearray()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                one, _ = self.listener.accept()
            except OSError:
                return
            other = socket.create_connection(("127.0.0.1", self.target))
            for pair in ((one, other), (other, one)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, one, other):
        try:
            while data := one.recv(65536):
                self.seen += data
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def run_through(cudad, port):
    return cudad.run("tcp", [PROGRAM, "launch"], env={"CAUSEWAY_CUDA_SERVER": f"tcp:127.0.0.1:{port}"})


def test_the_token_can_be_read_without_tls():
    """The control."""
    with daemons.Cudad() as cudad:
        tap = Wiretap(cudad.tcp_port)
        assert "PASSED" in run_through(cudad, tap.port).stdout
        tap.close()
        assert cudad.token.encode() in tap.seen


def test_tls_as_documented(tmp_path):
    server_text, client_text = documented()
    server, client, stranger = (certificate(tmp_path, name) for name in ("server", "client", "stranger"))
    ports = [daemons.free_tcp_port() for _ in range(3)]
    with daemons.Cudad() as cudad:
        text = replaced(server_text, accept=f"127.0.0.1:{ports[0]}", connect=f"127.0.0.1:{cudad.tcp_port}",
                        CAfile=client["cert"], **server)
        with Stunnel(text, ports[0]):
            tap = Wiretap(ports[0])
            text = replaced(client_text, accept=f"127.0.0.1:{ports[1]}", connect=f"127.0.0.1:{tap.port}",
                            CAfile=server["cert"], **client)
            with Stunnel(text, ports[1]):
                result = run_through(cudad, ports[1])
                assert "PASSED" in result.stdout, result.stdout + result.stderr
            assert tap.seen and cudad.token.encode() not in tap.seen
            text = replaced(client_text, accept=f"127.0.0.1:{ports[2]}", connect=f"127.0.0.1:{tap.port}",
                            CAfile=server["cert"], **stranger)
            with Stunnel(text, ports[2]):
                assert run_through(cudad, ports[2]).returncode != 0
            tap.close()

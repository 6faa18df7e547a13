# SPDX-License-Identifier: Apache-2.0
"""scifd, libscif and card processes on this host: what SCIF promises, and what faults leave."""
import errno
import os
import signal
import socket
import struct
import subprocess

import pytest

import daemons

CONFORMANCE = daemons.SCIF_PROGRAMS / "scif_conformance"
LOAD = daemons.SCIF_PROGRAMS / "scif_load"
SANITIZED = bool(os.environ.get("CAUSEWAY_PRELOAD"))  # then memory is not what it is otherwise


@pytest.fixture(name="scifd")
def start_scifd():
    with daemons.Scifd() as daemon:
        card = daemon.start_card()
        try:
            yield daemon
        finally:
            card.kill()
            card.wait()


def run(scifd, arguments, timeout=120):
    program = scifd.start_program(scifd.host, arguments, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
    output, _ = program.communicate(timeout=timeout)
    return program.returncode, output


def assert_nothing_left(scifd):
    """No endpoint, window or pinned page of a host process is left."""
    daemons.wait_until(lambda: scifd.nodes()["host"]["endpoints"] == 0, 20, "host endpoints gone")
    host = scifd.nodes()["host"]
    assert (host["windows"], host["pinned"]) == (0, 0)


def test_conformance(scifd):
    status, output = run(scifd, [CONFORMANCE, "--card", "1"])
    failures = [line for line in output.splitlines() if line.startswith(("FAILED", "skip"))]
    assert status == 0 and not failures, output[-3000:]
    assert int(output.splitlines()[-1].split()[0]) >= 200, output[-300:]
    assert_nothing_left(scifd)


def test_1024_connections(scifd):
    before = resident_kib(scifd)
    status, output = run(scifd, [LOAD, "connections", "1024"])
    assert status == 0, output
    assert_nothing_left(scifd)
    # Both ends of each are processes of this daemon: 2048 endpoints with their rings.
    peak = int(output.split()[1]) - before
    assert SANITIZED or peak * 1024 / 2048 <= 16384, f"{peak} KiB for 2048 endpoints"


def resident_kib(scifd):
    with open(f"/proc/{scifd.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


@pytest.mark.parametrize("what", ["map", "register"])
def test_cycles_do_not_grow(scifd, what):
    status, output = run(scifd, [LOAD, what, "200"])
    assert status == 0, output
    before = resident_kib(scifd)
    status, output = run(scifd, [LOAD, what, "10000"])
    assert status == 0, output
    assert SANITIZED or resident_kib(scifd) - before < 512
    assert_nothing_left(scifd)


def test_4_gib_window(scifd):
    status, output = run(scifd, [LOAD, "window", str(4 << 30)])
    assert status == 0, output
    assert_nothing_left(scifd)


def test_killed_program_leaves_nothing(scifd):
    program = scifd.start_program(scifd.host, [LOAD, "hold", "64"], stdout=subprocess.PIPE,
                                  stdin=subprocess.PIPE)
    assert program.stdout.readline() == "holding\n"
    assert scifd.nodes()["host"]["windows"] == 64
    program.send_signal(signal.SIGKILL)
    program.wait()
    assert_nothing_left(scifd)
    daemons.wait_until(lambda: scifd.nodes()["mic0"]["windows"] == 0, 20, "card's windows gone")


def test_doors_of_links():
    """A link over SCIF: each side against one that does not do as it should."""
    with daemons.Scifd() as scifd:
        done = subprocess.run([daemons.SCIF_PROGRAMS / "scif_door", scifd.host, scifd.card],
                              text=True, timeout=120, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout
        assert_nothing_left(scifd)


class Session:
    """A process that speaks to scifd without libscif: proto/scif-local.h."""

    HELLO, JOIN, BIND, LISTEN = 64, 66, 3, 4

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(20)
        self.socket.connect(str(path))

    def call(self, number, flags=0, members=b"", address=0, file_offset=0):
        """Status, then the three values."""
        self.socket.send(struct.pack("<4I", number, flags, 0, 1) + members.ljust(48, b"\0")
                         + struct.pack("<2Q", address, file_offset))
        _, _, status, _, *values = struct.unpack("<2IiI3Q", self.socket.recv(65536)[:40])
        return status, *values

    def bind(self, port):
        return self.call(self.BIND, members=struct.pack("<H", port))[0]


def test_a_session_is_joined_by_its_key_alone(scifd):
    first, other = Session(scifd.host), Session(scifd.host)
    status, _, number, key = first.call(Session.HELLO, flags=1)
    assert status == 0
    for place, guess in ((number, key ^ 1), (number + 1, key), (1 << 40, key), (number, 0)):
        assert other.call(Session.JOIN, flags=1, address=place, file_offset=guess)[0] == -errno.EACCES
    assert other.call(Session.JOIN, address=number, file_offset=key)[0] == -errno.EINVAL
    card = Session(scifd.card)  # of another node
    assert card.call(Session.JOIN, flags=1, address=number, file_offset=key)[0] == -errno.EACCES
    assert other.bind(0) == -errno.EBADF
    assert other.call(Session.JOIN, flags=1, address=number, file_offset=key)[0] == 0
    assert other.call(Session.JOIN, flags=1, address=number, file_offset=key)[0] == -errno.EINVAL
    assert (first.bind(2000), other.bind(0)) == (0, -errno.EINVAL)  # it is bound
    first.socket.close()
    daemons.wait_until(lambda: scifd.nodes()["host"]["endpoints"] == 0, 20, "the endpoint ends")
    assert other.bind(0) == -errno.EBADF


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_ports_below_1024_are_roots(scifd):
    scifd.folder.chmod(0o711)
    scifd.host.chmod(0o666)
    os.seteuid(65534)
    try:
        session = Session(scifd.host)
    finally:
        os.seteuid(0)
    assert session.call(Session.HELLO, flags=1)[0] == 0
    assert session.bind(1023) == -errno.EACCES
    assert session.bind(1024) == 0


def test_card_reset_disconnects(scifd):
    program = scifd.start_program(scifd.host, [LOAD, "hold", "4"], stdout=subprocess.PIPE,
                                  stdin=subprocess.PIPE)
    assert program.stdout.readline() == "holding\n"
    assert scifd.ask("card-down", name="mic0") == {}
    status, output = run(scifd, [LOAD, "connect", "1"])
    assert (status, output) == (1, "connect: No such device\n")
    assert scifd.ask("card-up", name="mic0") == {}
    output, _ = program.communicate("\n", timeout=20)
    assert "Connection reset by peer" in output
    status, output = run(scifd, [LOAD, "connect", "1"])
    assert status == 0, output
    assert "there is no card 'mic7'" in scifd.ask("card-reset", name="mic7")["error"]



def test_dead_card_process_is_noticed():
    with daemons.Scifd() as scifd:
        card = scifd.start_card()
        program = scifd.start_program(scifd.host, [LOAD, "hold", "1"], stdout=subprocess.PIPE,
                                      stdin=subprocess.PIPE)
        assert program.stdout.readline() == "holding\n"
        card.kill()
        card.wait()
        output, _ = program.communicate("\n", timeout=20)
        assert "Connection reset by peer" in output
        assert_nothing_left(scifd)


def test_dead_daemon_is_noticed():
    with daemons.Scifd() as scifd:
        card = scifd.start_card()
        program = scifd.start_program(scifd.host, [LOAD, "hold", "1"], stdout=subprocess.PIPE,
                                      stdin=subprocess.PIPE)
        assert program.stdout.readline() == "holding\n"
        scifd.process.kill()
        scifd.process.wait()
        output, _ = program.communicate("\n", timeout=20)
        assert "Connection reset by peer" in output
        card.kill()
        card.wait()


def scrape(path):
    """What Prometheus would read from the Unix socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        answer = b""
        while more := connection.recv(65536):
            answer += more
    return answer.decode().splitlines()


def test_metrics_and_quotas(tmp_path):
    quota = "endpoints=7,windows=9,pinned=16M,bandwidth=1G"
    with daemons.Scifd(vms=[f"a,{quota}", "b"],
                       options=["--metrics", tmp_path / "metrics"]) as scifd:
        lines = scrape(tmp_path / "metrics")
        assert 'scifd_node_online{name="mic0"} 1' in lines
        for name, value in (("endpoints", 7), ("windows", 9), ("pinned_bytes", 16 << 20),
                            ("copies_bytes", 1 << 30)):
            assert f'scifd_quota_{name}{{name="a"}} {value}' in lines, lines
        assert 'scifd_quota_copies_bytes{name="b"} 0' in lines
        tables = {table["name"]: table["rows"] for table in scifd.ask("status")["tables"]}
        assert ["a", 7, 9, 16 << 20, 1 << 30] in tables["quota"]
    assert not (tmp_path / "metrics").exists()

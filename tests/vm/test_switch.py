# SPDX-License-Identifier: Apache-2.0
"""Sockets between real guests and the host, through causeway-switch.

Both ends are tests/vm/vsock_peer.c, which checks every byte and says what went wrong.
"""
import contextlib
import os
import signal
import socket
import subprocess

import pytest
from daemons import BUILD, Switch, cpu_seconds, wait_until

from testbed.guest import Guest

PEER = BUILD / "tests" / "vm" / "vsock_peer"
MIB = 1 << 20
PATIENCE_S = 1.9  # of the switch, for who answers a request: a refusal at once does not wait for it


class HostPeer:
    """vsock_peer on the host; ends with the block."""

    def __init__(self, *words):
        self.process = subprocess.Popen([str(PEER), *map(str, words)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        self.process.kill()
        self.process.wait()

    def line(self):
        return self.process.stdout.readline().strip()

    def finish(self, seconds=60):
        """Its output; an assertion unless it was content."""
        output, _ = self.process.communicate(timeout=seconds)
        assert self.process.returncode == 0, output
        return output


@contextlib.contextmanager
def host_listens(switch, port, *words, kind="unix"):
    """A host program that listens where the guest's connections to @port arrive."""
    path = f"{switch.guest_socket(3)}.host_{port}"
    with HostPeer("listen", f"{kind}:{path}", *words) as peer:
        assert peer.line() == "listening"
        yield peer
    os.unlink(path)


def guest_address(switch, port):
    """How a host program names a port of the guest."""
    return f"host:{switch.guest_socket(3)}.host:{port}"


def guest_listens(guest, port, *words):
    command = guest.start(["vsock_peer", "listen", f"vsock:-1:{port}", *map(str, words)])
    command.expect(rb"listening")
    return command


def guest_connects(guest, port, *words, timeout=120):
    """A program in the guest that connects to the host's @port, run to its end; its output."""
    result = guest.run(["vsock_peer", "connect", f"vsock:2:{port}", *map(str, words)],
                       timeout=timeout)
    assert result.status == 0, result.stdout
    return result.stdout.decode()


def boot(kind, switch):
    return Guest(kind, files=[PEER], vhost_user_vsock=switch.guest_socket(3), quiet=True)


@pytest.fixture(scope="module")
def pairs():
    """pairs(kind): a switch and a guest, kept for the tests that leave both alive."""
    with contextlib.ExitStack() as stack:
        running = {}

        def get(kind):
            if kind not in running:
                switch = stack.enter_context(Switch())
                running[kind] = switch, stack.enter_context(boot(kind, switch))
            return running[kind]

        yield get


def test_echo_both_ways(kind, pairs):
    switch, guest = pairs(kind)
    with host_listens(switch, 5000, "echo"):
        guest_connects(guest, 5000, "verify", 1000003)
    server = guest_listens(guest, 6000, "echo")
    with HostPeer("connect", guest_address(switch, 6000), "verify", 1000003) as client:
        client.finish()
    server.signal(signal.SIGTERM)
    server.wait(60)


def test_a_long_stream_to_the_host(kind, pairs):
    switch, guest = pairs(kind)
    with host_listens(switch, 5001, "slurp", 64 * MIB) as server:
        guest_connects(guest, 5001, "send", 64 * MIB)
        print(kind, "guest to host:", server.finish())


def test_a_long_stream_to_the_guest(kind, pairs):
    switch, guest = pairs(kind)
    server = guest_listens(guest, 6001, "slurp", 64 * MIB)
    with HostPeer("connect", guest_address(switch, 6001), "send", 64 * MIB) as client:
        client.finish(120)
    assert server.wait(60) == 0, server.stdout
    print(kind, "host to guest:", server.stdout)


def test_messages_keep_their_boundaries(kind, pairs):
    """SOCK_SEQPACKET both ways: of all sizes, and of more than a packet of the guest's holds."""
    switch, guest = pairs(kind)
    socket_of_messages = f"hostseq:{switch.guest_socket(3)}.host.seq"

    def guest_runs(role, address, *words):
        return guest.start(["vsock_peer", role, f"seqpacket:{address}", *map(str, words)])

    for words, answer in ((("messages", 300), ("parcels", 300)),
                          (("large", 150000), ("return", 150000))):
        with host_listens(switch, 5010, *answer, kind="unixseq") as server:
            client = guest_runs("connect", "2:5010", *words)
            server.finish(120)
            assert client.wait(60) == 0, client.stdout
        listener = guest_runs("listen", "-1:6010", *answer)
        listener.expect(rb"listening")
        with HostPeer("connect", f"{socket_of_messages}:6010", *words) as client:
            client.finish(120)
        assert listener.wait(60) == 0, listener.stdout
    with host_listens(switch, 5011, "echo"):  # of a stream: no place for messages
        client = guest_runs("connect", "2:5011", "refused")
        assert client.wait(60) == 0, client.stdout


def test_a_closed_port_refuses_at_once(kind, pairs):
    switch, guest = pairs(kind)
    milliseconds = float(guest_connects(guest, 5999, "refused").split()[-2])
    assert milliseconds < PATIENCE_S * 1000
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE_S)
        client.connect(f"{switch.guest_socket(3)}.host")
        client.sendall(b"CONNECT 6999\n")
        assert client.recv(100) == b""


def test_an_unknown_cid_refuses_at_once(kind, pairs):
    _, guest = pairs(kind)
    result = guest.run(["vsock_peer", "connect", "vsock:77:5000", "refused"])
    assert result.status == 0, result.stdout
    assert float(result.stdout.decode().split()[-2]) < PATIENCE_S * 1000


def test_half_closes(kind, pairs):
    switch, guest = pairs(kind)
    with host_listens(switch, 5002, "echo"):
        guest_connects(guest, 5002, "tail", 60000)
    server = guest_listens(guest, 6002, "echo")
    with HostPeer("connect", guest_address(switch, 6002), "tail", 60000) as client:
        client.finish()
    server.signal(signal.SIGTERM)
    server.wait(60)


def test_a_hundred_connections_at_once(kind, pairs):
    switch, guest = pairs(kind)
    with host_listens(switch, 5003, "echo"):
        assert guest_connects(guest, 5003, "many", 100) == "100 connections\n"
    server = guest_listens(guest, 6003, "echo")
    with HostPeer("connect", guest_address(switch, 6003), "many", 100) as client:
        assert client.finish() == "100 connections\n"
    server.signal(signal.SIGTERM)
    server.wait(60)


@pytest.mark.parametrize("action, amount", [("send", 8 * MIB), ("dribble", 200000)])
def test_a_slow_reader_holds_back_its_own_stream_alone(kind, pairs, action, amount):
    switch, guest = pairs(kind)
    with host_listens(switch, 5004, "stall", amount) as slow, host_listens(switch, 5005, "echo"):
        sender = guest.start(["vsock_peer", "connect", "vsock:2:5004", action, str(amount)])
        assert slow.line() == "stalling"
        guest_connects(guest, 5005, "verify", 4 * MIB)
        guest_connects(guest, 5005, "ping", 100)
        slow.finish()  # ends its standard input: it begins to read
        assert sender.wait(60) == 0, sender.stdout


def test_an_idle_guest_costs_nothing(kind, pairs):
    switch, guest = pairs(kind)
    with host_listens(switch, 5006, "hold"):
        holder = guest.start(["vsock_peer", "connect", "vsock:2:5006", "hold"])
        holder.expect(rb"holding")
        before = cpu_seconds(switch.pid)
        guest.run(["sleep", "3"])
        assert cpu_seconds(switch.pid) - before <= 0.03  # one in a hundred, as for 64 of them
        holder.signal(signal.SIGTERM)
        holder.wait(60)


def test_a_killed_guest_ends_its_streams_and_the_next_is_served(kind):
    with Switch() as switch:
        guest = boot(kind, switch).start_guest()
        try:
            with host_listens(switch, 5000, "hold") as holder:
                guest.start(["vsock_peer", "connect", "vsock:2:5000", "send", str(1 << 40)])
                assert holder.line() == "holding"
                listener = guest_listens(guest, 6000, "slurp")
                with HostPeer("connect", guest_address(switch, 6000), "send", 1 << 40) as sender:
                    wait_until(lambda: switch.alive() and cpu_seconds(switch.pid) > 0.03, 30,
                               "data flows")
                    guest.kill()
                    assert holder.finish(10).strip() in ("the end", "Connection reset by peer")
                    output, _ = sender.process.communicate(timeout=10)
                    assert "Broken pipe" in output or "Connection reset" in output
                del listener
            with boot(kind, switch) as second, host_listens(switch, 5001, "echo"):
                guest_connects(second, 5001, "verify", 100000)
        finally:
            guest.kill()


def test_a_switch_that_stops_is_noticed_in_the_guest(kind):
    with Switch() as switch, boot(kind, switch) as guest, host_listens(switch, 5000, "hold"):
        holder = guest.start(["vsock_peer", "connect", "vsock:2:5000", "hold"])
        holder.expect(rb"holding")
        switch.process.terminate()
        assert switch.process.wait(60) == 0
        assert holder.wait(60) == 0
        assert b"the end" in holder.stdout or b"reset" in holder.stdout
        assert not switch.guest_socket(3).exists()
        guest.kill()


def test_a_switch_that_is_killed_ends_the_host_program(kind):
    """The guest itself learns of it from User-Mode Linux; QEMU does not tell it."""
    with Switch() as switch, boot(kind, switch) as guest, host_listens(switch, 5000, "hold") as peer:
        holder = guest.start(["vsock_peer", "connect", "vsock:2:5000", "hold"])
        holder.expect(rb"holding")
        switch.process.kill()
        assert switch.process.wait(60) == -signal.SIGKILL
        assert "the end" in peer.finish(10)
        if kind == "uml":
            assert holder.wait(60) == 0
            assert b"reset" in holder.stdout
        else:
            late = guest.run(["vsock_peer", "connect", "vsock:2:5001", "refused"], timeout=60)
            assert b"Connection timed out after 2" in late.stdout
        guest.kill()


def test_two_guests_of_one_switch():
    with Switch(cids=(3, 4)) as switch, contextlib.ExitStack() as stack:
        guests = [stack.enter_context(Guest("uml", files=[PEER], quiet=True,
                                            vhost_user_vsock=switch.guest_socket(cid)))
                  for cid in (3, 4)]
        path = f"{switch.guest_socket(4)}.host_5000"
        with host_listens(switch, 5000, "echo"), HostPeer("listen", f"unix:{path}", "echo") as peer:
            assert peer.line() == "listening"
            for guest in guests:
                guest_connects(guest, 5000, "verify", 3000000)
            guests[0].kill()
            guest_connects(guests[1], 5000, "verify", 3000000)
        os.unlink(path)

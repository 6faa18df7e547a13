# SPDX-License-Identifier: Apache-2.0
"""Sockets between two real guests, through causeway-switch.

Both ends are tests/vm/vsock_peer.c, which checks every byte and says what went wrong.
"""
import contextlib
import os
import signal
import time

import pytest
from daemons import BUILD, Switch

from testbed.guest import Guest
from testbed.kbuild import module
from testbed.machines import MACHINES, Qemu

PEER = BUILD / "tests" / "vm" / "vsock_peer"
MIB = 1 << 20
GIVE_UP_MS = 2000  # Linux's, of a connect() that nobody answers
ROUND_SECONDS = 10  # of a round that takes a tenth of one on an idle machine


def boot(kind, switch, cid, **options):
    return Guest(kind, files=[PEER], vhost_user_vsock=switch.guest_socket(cid), quiet=True, **options)


def needs(*kinds):
    """Skips a test of these kinds of guests where one cannot be had."""
    reasons = [str(reason) for kind in kinds if (reason := MACHINES[kind]().unusable())]
    return pytest.mark.skipif(bool(reasons), reason="; ".join(reasons))


@contextlib.contextmanager
def listening(guest, address, *words):
    """vsock_peer listens in @guest; must be content unless it serves echoes for ever."""
    command = guest.start(["vsock_peer", "listen", address, *map(str, words)])
    command.expect(rb"listening")
    try:
        yield command
        if words[0] != "echo":
            assert command.wait(120) == 0, command.stdout
    finally:
        command.signal(signal.SIGTERM)


def connects(guest, address, *words, timeout=120):
    result = guest.run(["vsock_peer", "connect", address, *map(str, words)], timeout=timeout)
    assert result.status == 0, result.stdout
    return result.stdout.decode()


@pytest.fixture(scope="module")
def pairs():
    """pairs(kind): a switch and two guests, kept for the tests that leave them alive."""
    with contextlib.ExitStack() as stack:
        running = {}

        def get(kind):
            if kind not in running:
                switch = stack.enter_context(Switch(cids=(3, 4)))
                running[kind] = switch, [stack.enter_context(boot(kind, switch, cid))
                                         for cid in (3, 4)]
            return running[kind]

        yield get


def test_streams_both_ways(kind, pairs):
    _, (one, other) = pairs(kind)
    with listening(other, "vsock:-1:5000", "echo"):
        connects(one, "vsock:4:5000", "verify", 2 * MIB + 5)
    with listening(one, "vsock:-1:5001", "slurp", 8 * MIB):
        connects(other, "vsock:3:5001", "send", 8 * MIB)


def test_half_closes_tiny_packets_and_many_connections(kind, pairs):
    _, (one, other) = pairs(kind)
    with listening(other, "vsock:-1:5002", "echo"):
        connects(one, "vsock:4:5002", "tail", 60000)
        assert connects(one, "vsock:4:5002", "many", 60) == "60 connections\n"
    with listening(other, "vsock:-1:5003", "slurp", 20000):
        connects(one, "vsock:4:5003", "dribble", 20000)


def test_messages_keep_their_boundaries(kind, pairs):
    _, (one, other) = pairs(kind)
    with listening(other, "seqpacket:-1:5004", "parcels", 300):
        connects(one, "seqpacket:4:5004", "messages", 300)


def test_what_cannot_be_reached_refuses_at_once(kind, pairs):
    _, (one, _) = pairs(kind)
    for address in ("vsock:4:5999", "vsock:77:5000", "seqpacket:4:5999"):
        assert float(connects(one, address, "refused").split()[-2]) < GIVE_UP_MS


def test_datagrams_are_refused_by_the_guest(kind, pairs):
    """What docs say of Debian's kernels: without another transport there is no such socket."""
    _, (one, _) = pairs(kind)
    assert one.run(["vsock_peer", "datagram"]).stdout == b"socket: No such device\n"


@needs("qemu")
def test_the_same_between_debians_kernels():
    """6.12, of the backports, with 6.1."""
    with Switch(cids=(3, 4)) as switch, boot("qemu", switch, 3, kernel="6.12") as new, \
            boot("qemu", switch, 4) as old:
        with listening(old, "vsock:-1:5000", "echo"):
            connects(new, "vsock:4:5000", "verify", MIB)
        with listening(new, "vsock:-1:5001", "slurp", 2 * MIB):
            connects(old, "vsock:3:5001", "send", 2 * MIB)
        with listening(old, "seqpacket:-1:5002", "parcels", 200):
            connects(new, "seqpacket:4:5002", "messages", 200)
        with listening(new, "vsock:-1:5003", "slurp", 20000):
            connects(old, "vsock:3:5003", "dribble", 20000)
        assert new.run(["vsock_peer", "datagram"]).stdout == b"socket: No such device\n"


def test_a_slow_reader_holds_back_its_own_stream_alone(kind, pairs):
    _, (one, other) = pairs(kind)
    with listening(other, "vsock:-1:5005", "stall", 4 * MIB) as slow, \
            listening(other, "vsock:-1:5006", "echo"):
        sender = one.start(["vsock_peer", "connect", "vsock:4:5005", "send", str(4 * MIB)])
        slow.expect(rb"stalling")
        connects(one, "vsock:4:5006", "verify", 4 * MIB)
        slow.close_input()
        assert sender.wait(60) == 0, sender.stdout


@contextlib.contextmanager
def standing_still(guest):
    """Stops a guest of User-Mode Linux: its kernel's process, which runs all the others."""
    kernel = os.getpgid(guest.pids()[0])
    os.kill(kernel, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(kernel, signal.SIGCONT)


@needs("uml")
def test_a_guest_that_stands_still_holds_back_what_is_for_it_alone():
    """It takes neither data nor gives buffers, and loses nothing."""
    with Switch(cids=(5, 6, 7)) as switch, boot("uml", switch, 5) as one, \
            boot("uml", switch, 6) as still, boot("uml", switch, 7) as third, \
            listening(third, "vsock:-1:5000", "echo"), contextlib.ExitStack() as stack:
        senders = []
        for port in range(5010, 5014):  # their windows are more than its receive buffers
            stack.enter_context(listening(still, f"vsock:-1:{port}", "slurp", 16 * MIB))
            senders.append(one.start(["vsock_peer", "connect", f"vsock:6:{port}", "send",
                                      str(16 * MIB)]))
        with standing_still(still):
            started = time.monotonic()
            connects(one, "vsock:7:5000", "verify", 2 * MIB)
            print(f"another flow took {time.monotonic() - started:.1f} s")
        for sender in senders:
            assert sender.wait(60) == 0, sender.stdout


def test_a_killed_guest_ends_its_flows_and_the_next_is_served(kind):
    with Switch(cids=(3, 4)) as switch, boot(kind, switch, 3) as one:
        other = boot(kind, switch, 4).start_guest()
        try:
            command = other.start(["vsock_peer", "listen", "vsock:-1:5000", "hold"])
            command.expect(rb"listening")
            holder = one.start(["vsock_peer", "connect", "vsock:4:5000", "hold"])
            command.expect(rb"holding")
            holder.expect(rb"holding")
            other.kill()
            assert holder.wait(60) == 0, holder.stdout
            assert b"reset" in holder.stdout or b"the end" in holder.stdout
            assert float(connects(one, "vsock:4:5000", "refused").split()[-2]) < GIVE_UP_MS
        finally:
            other.kill()
        with boot(kind, switch, 4) as second, listening(second, "vsock:-1:5000", "echo"):
            connects(one, "vsock:4:5000", "verify", 100000)


@needs("uml", "qemu")
def test_guests_of_two_kinds_on_one_shared_thread():
    with Switch(cids=(3, 4), options=("--threads", "1")) as switch, \
            boot("uml", switch, 3) as one, boot("qemu", switch, 4) as other:
        with listening(other, "vsock:-1:5000", "echo"):
            connects(one, "vsock:4:5000", "verify", MIB)
        with listening(one, "vsock:-1:5000", "echo"):
            connects(other, "vsock:3:5000", "verify", MIB)


class BareQemu(Qemu):
    """A guest that does not load the kernel's own vsock driver."""

    vsock_modules = ()


@needs("qemu")
def test_a_driver_that_writes_rubbish_harms_only_itself():
    """Its attacks on every ring run beside two guests, whose every round is whole and in time."""
    kind = "uml" if not MACHINES["uml"]().unusable() else "qemu"
    with contextlib.ExitStack() as stack:
        switch = stack.enter_context(Switch(cids=(3, 4, 5)))
        one, other = (stack.enter_context(boot(kind, switch, cid)) for cid in (3, 4))
        hostile = stack.enter_context(Guest(
            BareQemu(), files=[module("tests/vm/vsock_rubbish", "qemu")], quiet=True,
            vhost_user_vsock=switch.guest_socket(5)))
        stack.enter_context(listening(other, "vsock:-1:5000", "echo"))
        connects(one, "vsock:4:5000", "verify", MIB)
        attacks = hostile.start(["insmod", "/root/vsock_rubbish.ko", "count=150", "victim=4"])
        rounds = 0
        while attacks.status is None or rounds < 3:
            started = time.monotonic()
            connects(one, "vsock:4:5000", "verify", MIB // 4)
            assert time.monotonic() - started < ROUND_SECONDS
            rounds += 1
        said = hostile.run(["dmesg"]).stdout.decode()
        assert "vsock_rubbish: 150 attacks, status 0" in said
        assert "queue makes no sense" in switch.log()
        connects(one, "vsock:4:5000", "verify", MIB)

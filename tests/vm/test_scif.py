# SPDX-License-Identifier: Apache-2.0
"""SCIF in guests: vphi.ko and scifd with a card process, in QEMU and in User-Mode Linux.

The card is a process of the host (scif_card, or scif_peer as a server). CAUSEWAY_SCIF_SECONDS
lengthens the test of eight VMs; ten minutes of it: CAUSEWAY_SCIF_SECONDS=600. With it, other tests
have their long forms, too: more cycles of maps, a window of 4 GiB. CAUSEWAY_SCIF_KERNEL=6.12 has all
QEMU guests on that kernel of Debian's, CAUSEWAY_SCIF_UML=uml-debug all User-Mode Linux ones on that
kind (a kernel that checks itself), CAUSEWAY_SCIF_UML_CPUS their processors.
"""
import contextlib
import os
import random
import signal
import subprocess
import time

import pytest
import scif_site
from daemons import SCIF_PROGRAMS, Scifd, wait_until
from scif_site import CARRIERS

from testbed.machines import Uml

PEER = SCIF_PROGRAMS / "scif_peer_mpss3"
HOSTILE = SCIF_PROGRAMS / "scif_hostile"
COUNTERS = ("endpoints", "windows", "pinned_pages", "requests")
DRIVER = "/sys/bus/virtio/drivers/vphi"
LONG = "CAUSEWAY_SCIF_SECONDS" in os.environ
SECONDS = float(os.environ.get("CAUSEWAY_SCIF_SECONDS", "12"))
KERNEL = os.environ.get("CAUSEWAY_SCIF_KERNEL")
UML = os.environ.get("CAUSEWAY_SCIF_UML", "uml-sid")
UML_CPUS = int(os.environ.get("CAUSEWAY_SCIF_UML_CPUS", "1"))
NEWER = "6.12"


def boot(carrier, scifd, vm="a", programs=(PEER,), **options):
    if carrier == "qemu-sid":
        options.setdefault("cpus", 2)
        options.setdefault("kernel", KERNEL)
    else:  # one processor: with two, its kernel has been seen to stop under load
        carrier = UML
        options.setdefault("cpus", UML_CPUS)
    return scif_site.boot(carrier, scifd, vm, programs, **options)


@contextlib.contextmanager
def serving(scifd, port=3000):
    """A card process that serves scif_peer's clients."""
    server = scifd.start_program(scifd.card, [SCIF_PROGRAMS / "scif_peer", "serve", port],
                                 stdout=subprocess.PIPE)
    try:
        assert server.stdout.readline() == "serving\n"
        yield server
    finally:
        server.kill()
        server.wait()


def counters(guest):
    result = guest.run(["sh", "-c", f"cd {DRIVER}/virtio*/ && cat {' '.join(COUNTERS)}"])
    return [int(word) for word in result.stdout.split()]


def assert_nothing_left(guest):
    """No endpoint, window, pinned page or request; and the kernel has nothing to complain of."""
    wait_until(lambda: counters(guest) == [0, 0, 0, 0], 30, "the driver holds nothing")
    complaints = guest.run(["sh", "-c", "dmesg | grep -E 'WARNING|BUG|Oops|hung task'"])
    assert complaints.stdout == b""


def peer(guest, *words, timeout=120):
    result = guest.run([PEER.name, *map(str, words)], timeout=timeout)
    return result.status, result.stdout.decode()


@pytest.fixture(scope="module")
def pairs():
    """pairs(carrier): scifd with a card that serves, and a guest; for tests that leave both alive."""
    with contextlib.ExitStack() as stack:
        running = {}

        def get(carrier):
            if carrier not in running:
                scifd = stack.enter_context(Scifd(vms=["a"]))
                stack.enter_context(serving(scifd))
                programs = [PEER, HOSTILE, *SCIF_PROGRAMS.glob("scif_conformance_*[!p]")]
                card = scifd.start_card()
                stack.callback(card.wait)
                stack.callback(card.kill)
                running[carrier] = scifd, stack.enter_context(
                    boot(carrier, scifd, programs=programs))
            return running[carrier]

        yield get


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("abi", ["mpss3", "mainline"])
def test_conformance(carrier, abi, pairs):
    _, guest = pairs(carrier)
    result = guest.run([f"scif_conformance_{abi}", "--card", "1"], timeout=300)
    lines = result.stdout.decode().splitlines()
    assert result.status == 0, [line for line in lines if line.startswith("FAILED")]
    skipped = [line for line in lines if line.startswith("skip")]
    if carrier == "qemu-sid":
        assert skipped == []
    else:  # a mapping of the other side cannot be carried, and each case says so
        assert all("EOPNOTSUPP" in line or "not supported" in line for line in skipped), skipped
    assert_nothing_left(guest)


@pytest.mark.parametrize("carrier", CARRIERS[:1])
def test_conformance_on_a_newer_kernel(carrier):
    program = SCIF_PROGRAMS / "scif_conformance_mainline"
    with Scifd(vms=["a"]) as scifd, serving(scifd), boot(
            carrier, scifd, programs=[program, PEER], kernel=NEWER) as guest:
        card = scifd.start_card()
        try:
            assert guest.run(["uname", "-r"]).stdout.decode().startswith(NEWER)
            result = guest.run([program.name, "--card", "1"], timeout=300)
            assert result.status == 0, result.stdout.decode()[-3000:]
            assert b"\nskip" not in result.stdout
            status, output = peer(guest, "traffic", 1, 3000, 1, 4)
            assert status == 0, output
            assert_nothing_left(guest)
        finally:
            card.kill()
            card.wait()


@pytest.mark.parametrize("carrier", CARRIERS)
def test_messages_copies_and_flags(carrier, pairs):
    _, guest = pairs(carrier)
    status, output = peer(guest, "traffic", 1, 3000, 2, 1)
    assert status == 0, output
    assert (", 0 with flags" in output) == (carrier == "uml-sid")
    assert_nothing_left(guest)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_sysfs(carrier, pairs):
    _, guest = pairs(carrier)
    listed = guest.run(["sh", "-c", "cd /sys/class/mic && cat ctrl/version mic0/family mic0/state "
                        "mic0/mode mic0/memsize mic0/cores mic0/sku mic0/stepping mic0/device/vendor"
                        " mic0/device/device mic0/device/subsystem_device && ls -d mic*"], check=True)
    lines = listed.stdout.decode().split()
    assert lines[1:4] == ["x200", "online", "linux"]
    assert int(lines[4]) == 8 << 20 and int(lines[5]) == 4  # KiB, as scifd's defaults are
    assert lines[8:10] == ["0x8086", lines[9]] and lines[-1] == "mic0"


@pytest.mark.parametrize("carrier", CARRIERS)
def test_many_connections(carrier, pairs):
    scifd, guest = pairs(carrier)
    holder = guest.start([PEER.name, "many", "1", "3000", "1024"])
    holder.expect(rb"1024 connections", 120)
    assert scifd.nodes()["a"]["endpoints"] == 1024
    holder.signal(signal.SIGKILL)  # and a killed program leaves nothing
    holder.wait(60)
    assert_nothing_left(guest)
    wait_until(lambda: scifd.nodes()["a"]["endpoints"] == 0, 20, "endpoints are gone")


def test_mappings_come_and_go(pairs):
    scifd, guest = pairs("qemu-sid")
    cycles = 10000 if LONG else 500
    status, output = peer(guest, "maps", 1, 3000, 50)
    assert status == 0, output
    before = resident_kib(scifd)
    status, output = peer(guest, "maps", 1, 3000, cycles, timeout=300)
    assert status == 0, output
    assert resident_kib(scifd) - before < 512
    assert_nothing_left(guest)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_windows_come_and_go(carrier, pairs):
    """10,000 of them, in the short form 2,000, without growth in scifd or in the guest's kernel."""
    scifd, guest = pairs(carrier)
    status, output = peer(guest, "registers", 1, 3000, 1000)
    assert status == 0, output
    before, kernel_before = resident_kib(scifd), kernel_kib(guest)
    status, output = peer(guest, "registers", 1, 3000, 10000 if LONG else 2000, timeout=300)
    assert status == 0, output
    assert resident_kib(scifd) - before < 512
    # Of 10,000, a record of 40 bytes that was lost each time would be 400 KiB, a page 40 MiB.
    wait_until(lambda: kernel_kib(guest) - kernel_before < 300, 20, "the kernel's memory is back")
    assert_nothing_left(guest)


def kernel_kib(guest):
    """What the guest's kernel has for itself and cannot give back."""
    lines = guest.run(["cat", "/proc/meminfo"], check=True).stdout.decode().splitlines()
    return sum(int(line.split()[1]) for line in lines
               if line.startswith(("SUnreclaim", "VmallocUsed", "KernelStack", "PageTables")))


def resident_kib(scifd):
    with open(f"/proc/{scifd.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))


@pytest.mark.parametrize("carrier", CARRIERS)
def test_signals_and_kills_leave_nothing(carrier, pairs):
    scifd, guest = pairs(carrier)
    for number in (signal.SIGTERM, signal.SIGKILL):
        waiting = guest.start([PEER.name, "block", "1", "3000"])
        waiting.expect(rb"waiting")
        waiting.signal(number)
        assert waiting.wait(20) == 128 + number
    busy = guest.start([PEER.name, "traffic", "1", "3000", "100", "3"])
    wait_until(lambda: counters(guest)[2], 20, "pages are pinned")
    busy.signal(signal.SIGKILL)
    busy.wait(20)
    assert_nothing_left(guest)
    wait_until(lambda: scifd.nodes()["a"]["pinned"] == 0, 20, "scifd holds nothing either")


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_large_window(carrier):
    """Of 4 GiB where that is asked for and memory allows, in one call; both its ends are copied."""
    mebibytes = 4096 if LONG and available_mib() > 8000 else 1500
    with Scifd(vms=["a"]) as scifd, serving(scifd), \
            boot(carrier, scifd, memory_mib=mebibytes + 548) as guest:
        holder = guest.start([PEER.name, "ends", "1", "3000", str(mebibytes)])
        holder.expect(rb"holding", 240)
        assert counters(guest)[1:3] == [1, mebibytes << 8]
        assert scifd.nodes()["a"]["pinned"] == mebibytes << 20
        holder.signal(signal.SIGKILL)
        holder.wait(60)
        assert_nothing_left(guest)
        assert scifd.nodes()["a"]["pinned"] == 0


def available_mib():
    with open("/proc/meminfo", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) >> 10


@pytest.mark.parametrize("carrier", CARRIERS)
def test_the_driver_lets_go_under_load(carrier):
    """Unbinding ends every call with the documented error; then the module unloads."""
    with Scifd(vms=["a"]) as scifd, serving(scifd), boot(carrier, scifd) as guest:
        waiting = guest.start([PEER.name, "block", "1", "3000"])
        waiting.expect(rb"waiting")
        busy = guest.start([PEER.name, "traffic", "1", "3000", "100", "5"])
        wait_until(lambda: counters(guest)[2], 20, "pages are pinned")
        guest.run(["sh", "-c", f"cd {DRIVER} && echo virtio*[0-9] | tr ' ' '\\n' >/tmp/device && "
                   "cat /tmp/device >unbind"], check=True)
        assert waiting.wait(20) == 0
        assert b"Connection reset by peer" in waiting.stdout
        # An error, or SIGBUS where it spun on memory of the other side.
        assert busy.wait(20) in (3, 128 + signal.SIGBUS), busy.stdout
        guest.run(["sh", "-c", f"cat /tmp/device >{DRIVER}/bind"], check=True)
        status, output = peer(guest, "traffic", 1, 3000, 1, 5)
        assert status == 0, output
        assert_nothing_left(guest)
        guest.run(["rmmod", "vphi"], check=True)
        complaints = guest.run(["sh", "-c", "dmesg | grep -E 'WARNING|BUG|Oops'"])
        assert complaints.stdout == b""


def test_unplug_ends_endpoints():
    with Scifd(vms=["a"]) as scifd, serving(scifd), boot("qemu-sid", scifd) as guest:
        waiting = guest.start([PEER.name, "block", "1", "3000"])
        waiting.expect(rb"waiting")
        guest.run(["sh", "-c", f"p=$(readlink -f {DRIVER}/virtio*[0-9]/..); echo 1 >$p/remove"],
                  check=True)
        assert waiting.wait(20) == 0
        assert b"Connection reset by peer" in waiting.stdout
        assert peer(guest, "block", 1, 3000)[1].startswith("open:")


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_hostile_guest_is_alone_with_it(carrier, tmp_path):
    """Random ioctls; a neighbour's window is a trap: it must not change, nor its program notice."""
    with Scifd(vms=["a", "b"]) as scifd, serving(scifd), \
            boot(carrier, scifd, programs=[HOSTILE, PEER]) as guest, \
            boot("uml-sid", scifd, vm="b") as neighbour:
        quiet = neighbour.start([PEER.name, "traffic", "1", "3000", "8", "9"])
        for seed in (1, 2):
            result = guest.run(["scif_hostile", "4", str(seed)], timeout=120)
            assert result.status == 0, result.stderr
            assert int(result.stdout.split()[0]) > 1000
        assert quiet.wait(60) == 0, quiet.stdout
        assert_nothing_left(guest)
        status, output = peer(guest, "traffic", 1, 3000, 1, 1)
        assert status == 0, output
        assert_nothing_left(neighbour)


class Tenants:
    """Eight VMs that share a card, and somebody who kills at random."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.names = [f"vm{number}" for number in range(8)]
        self.guests, self.commands = {}, {}
        self.killed = {"program": 0, "vm": 0, "card": 0, "scifd": 0}

    def start_vm(self, scifd, name):
        # Two on QEMU, for mapped flags; the others start quickly.
        carrier = "qemu-sid" if name in self.names[:2] else "uml-sid"
        self.guests[name] = boot(carrier, scifd, vm=name, memory_mib=256).start_guest()

    def start_program(self, name, seconds):
        self.commands[name] = self.guests[name].start(
            [PEER.name, "traffic", "1", "3000", str(seconds), str(self.random.getrandbits(30))])

    def check(self, name, allowed):
        """A program that ended: well, or because it was made to; never with wrong bytes."""
        command = self.commands[name]
        assert command.status in allowed, (name, command.status, command.stdout)

    def stop(self):
        for guest in self.guests.values():
            guest.kill()


def kill_one(scifd, stack, tenants, server, what):
    """One program, VM, card or scifd; what depends on it ends as it must, and begins again."""
    tenants.killed[what] += 1
    victim = tenants.random.choice(tenants.names)
    if what == "program":
        tenants.commands[victim].signal(signal.SIGKILL)
        tenants.commands[victim].wait(60)
        tenants.check(victim, (137,))
        tenants.start_program(victim, 10000)
    elif what == "vm":
        tenants.guests[victim].kill()
        tenants.start_vm(scifd, victim)
        tenants.start_program(victim, 10000)
    elif what == "card":
        server.kill()
        server.wait()
        for name in tenants.names:
            tenants.commands[name].wait(60)
            tenants.check(name, (3,))
        server = stack.enter_context(serving(scifd))
        for name in tenants.names:
            tenants.start_program(name, 10000)
    else:
        scifd.process.kill()
        scifd.process.wait()
        for name in tenants.names:
            if isinstance(tenants.guests[name].machine, Uml):  # QEMU does not tell its guest
                tenants.commands[name].wait(60)
                tenants.check(name, (3,))
        server.wait()
        scifd.start()
        server = stack.enter_context(serving(scifd))
        for name in tenants.names:
            tenants.guests[name].kill()
            tenants.start_vm(scifd, name)
            tenants.start_program(name, 10000)
    return server


def eight_vms(scifd, stack, tenants, seconds):
    server = stack.enter_context(serving(scifd))
    for name in tenants.names:
        tenants.start_vm(scifd, name)
        tenants.start_program(name, 10000)
    end = time.monotonic() + seconds
    first = ["program", "card", "scifd", "vm"]  # each once, then at random
    while first or time.monotonic() < end:
        time.sleep(tenants.random.uniform(0.1, 0.6))  # load between the kills, not luck
        what = first.pop(0) if first else tenants.random.choice(
            ["program"] * 40 + ["vm"] * 10 + ["card"] * 6 + ["scifd"])
        server = kill_one(scifd, stack, tenants, server, what)
    # Whoever was left alone has computed without a fault; then everybody is.
    for name in tenants.names:
        assert tenants.commands[name].status is None, tenants.commands[name].stdout
        tenants.commands[name].signal(signal.SIGKILL)
        tenants.commands[name].wait(60)
        assert_nothing_left(tenants.guests[name])
    nodes = wait_until(lambda: all(row["endpoints"] == 0 for name, row in scifd.nodes().items()
                                   if name in tenants.names) and scifd.nodes(), 30, "endpoints gone")
    assert all(nodes[name]["windows"] == 0 and nodes[name]["pinned"] == 0
               for name in tenants.names), nodes


def test_eight_vms_share_a_card():
    tenants = Tenants(int(os.environ.get("CAUSEWAY_SCIF_SEED", "1")))
    with contextlib.ExitStack() as stack:
        stack.callback(tenants.stop)
        scifd = stack.enter_context(Scifd(vms=tenants.names))
        eight_vms(scifd, stack, tenants, SECONDS)
    print(tenants.killed)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_killed_scifd_ends_what_it_served(carrier):
    with Scifd(vms=["a"]) as scifd, serving(scifd), boot(carrier, scifd) as guest:
        waiting = guest.start([PEER.name, "block", "1", "3000"])
        waiting.expect(rb"waiting")
        scifd.process.kill()
        scifd.process.wait(10)
        if carrier == "uml-sid":  # its kernel sees the end of the socket
            assert waiting.wait(30) == 0
            assert b"Connection reset by peer" in waiting.stdout
        else:  # QEMU does not tell its guest: who waits can be killed, and the guest lives
            waiting.signal(signal.SIGKILL)
            assert waiting.wait(30) == 137
        assert guest.run(["echo", "alive"], timeout=20).stdout == b"alive\n"
        guest.kill()



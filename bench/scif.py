# SPDX-License-Identifier: Apache-2.0
"""SCIF from a guest to a card, against a host process to the same card, in turn.

Objects qemu and uml. latency_us is half a round trip of one byte; rma_*_ratio is the guest's speed
over the host process's, at 64 MiB between registered windows; rma_read_vs_memcpy is the guest's over
memcpy of the same size. On a machine with four processors or more User-Mode Linux's processes stay on
one of them: else each way into its kernel, which every call takes, is a wake-up on another. The
programs of both sides are fresh in every round and copy in turn: after WARM_COPIES each that do not
count, TURNS times COPIES of each, and each turn is a sample, its medians' ratio. rma_*_cold_ratio is the same of their very first copies, which touch all pages.
The object thesis has the figures of the system that this one follows (Gerangelos 2019, chapter 5), on
its own hardware.
"""
import contextlib
import os
import pathlib
import queue
import statistics
import subprocess

import daemons
import measure
from testbed import machines
from testbed.errors import GuestError
from testbed.guest import Guest
from testbed.kbuild import module

KINDS = {"qemu": "qemu-sid", "uml": "uml-sid"}
WAITS = ("sleep", "adaptive", "spin")
PORT = "3000"
MIB = 1 << 20
LARGE = 64 * MIB
ROUND_TRIPS = 300
PROGRAMS = 3  # a sample is the median of so many
COPIES = 5
WARM_COPIES = 10
TURNS = 12
COPY_SECONDS = 60
CONNECTIONS = 256
HELD_MIB = 256
CURVE = [1, 16, 256, 4096, 65536, MIB, 16 * MIB, 256 * MIB]
THESIS = {"latency_us": {"native": 7, "sleep": 382}, "rma_read_ratio": 0.72,
          "read_gbps": {"native": 6.4, "guest": 4.6}}


def microseconds(output):
    """The median of what scif_peer printed."""
    return statistics.median(float(line) for line in output.split())


class Card:
    """scifd, a card process that serves, and ways to measure towards it."""

    def __init__(self, bench):
        self.bench = bench
        self.program = bench.program("tests/scif/scif_peer")
        self.scifd = daemons.Scifd(vms=["guest"])

    @contextlib.contextmanager
    def serving(self):
        with self.scifd:
            server = self.scifd.start_program(self.scifd.card, [self.program, "serve", PORT],
                                              stdout=-1)
            try:
                if server.stdout.readline() != "serving\n":
                    raise measure.Failed("the card process does not serve")
                yield self
            finally:
                server.kill()
                server.wait()

    def native(self, *words):
        """scif_peer as a host process."""
        _, output, _ = self.bench.run([self.program, *words],
                                      {"CAUSEWAY_SCIF_SOCKET": str(self.scifd.host)})
        return microseconds(output)

    def resident(self):
        """Bytes of scifd's own and shared memory, without its text."""
        status = pathlib.Path(f"/proc/{self.scifd.pid}/status").read_text()
        return 1024 * sum(int(line.split()[1]) for line in status.splitlines()
                          if line.startswith(("RssAnon", "RssShmem")))


class Side:
    """The same from a guest."""

    def __init__(self, guest):
        self.guest = guest

    def run(self, *words):
        result = self.guest.run(["scif_peer_mpss3", *words], timeout=240)
        if result.status:
            raise measure.Failed(f"scif_peer {' '.join(words)}: {result.stdout.decode()}"
                                 f"{result.stderr.decode()}")
        return microseconds(result.stdout.decode())

    def wait_by(self, way):
        self.guest.run(["sh", "-c", f"echo {way} >/sys/module/vphi/parameters/wait"], check=True)

    def holding(self, words, sign):
        """A program that holds what it made until the block ends."""
        @contextlib.contextmanager
        def held():
            command = self.guest.start(["scif_peer_mpss3", *words])
            command.expect(sign, 120)
            yield
            command.signal(9)
            command.wait(30)
        return held()


def round_trip(run):
    return run("time", "1", PORT, "1", str(ROUND_TRIPS)) / 2


def copy(run, way, size, copies=COPIES):
    return run("copy", "1", PORT, way, str(size), str(copies))


def rotated(items, turn):
    """The same, with another one first in each turn."""
    first = turn % len(items)
    return items[first:] + items[:first]


def latencies(bench, card, side):
    """A program finds the processors as the one before left them: so each way comes after each."""
    samples = {name: [] for name in ("native", *WAITS)}
    for turn in range(bench.rounds):
        samples["native"].append(statistics.median(round_trip(card.native)
                                                   for _ in range(PROGRAMS)))
        for way in rotated(WAITS, turn):
            side.wait_by(way)
            samples[way].append(statistics.median(round_trip(side.run) for _ in range(PROGRAMS)))
    side.wait_by("adaptive")
    return {name: measure.Samples(values, "us") for name, values in samples.items()}


class Copies:
    """A program that copies when it is told to: scif_peer with 0 rounds, on one of the sides."""

    def __init__(self, tell, line):
        self.tell, self.line = tell, line
        if self.line() != "ready\n":
            raise measure.Failed("a program that should copy did not start")

    def times(self, count):
        self.tell(f"{count}\n")
        return [float(line) for line in iter(self.line, "done\n")]

    def usual(self):
        return statistics.median(self.times(COPIES))

    @classmethod
    @contextlib.contextmanager
    def native(cls, card, words):
        with card.scifd.start_program(card.scifd.host, [card.program, *words], bufsize=1,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            try:
                yield cls(process.stdin.write, process.stdout.readline)
            finally:
                process.kill()

    @classmethod
    @contextlib.contextmanager
    def in_guest(cls, side, words):
        lines, rest = queue.Queue(), bytearray()

        def take(data):
            rest.extend(data)
            *whole, rest[:] = rest.split(b"\n")
            for line in whole:
                lines.put(line.decode() + "\n")

        command = side.guest.start(["scif_peer_mpss3", *words], stdout=take)
        try:
            yield cls(lambda text: command.write(text.encode()),
                      lambda: lines.get(timeout=COPY_SECONDS))
        except queue.Empty:
            raise measure.Failed(f"scif_peer {' '.join(words)} in the guest: "
                                 f"{command.stderr.decode()}") from None
        finally:
            command.close_input()
            command.wait(COPY_SECONDS)


def in_turn(turn, programs):
    """The usual time of each, another one first in each turn: copies follow better on some than on
    others."""
    return {name: programs[name].usual() for name in rotated(list(programs), turn)}


def ratios(bench, card, side):
    """Copies of 64 MiB: guest over native, and over memcpy."""
    found = {f"rma_{way}_{kind}": [] for kind in ("ratio", "cold_ratio") for way in ("read", "write")}
    plain_ratio = []
    for _ in range(bench.rounds):
        for way in ("read", "write"):
            words = ["copy", "1", PORT, way, str(LARGE), "0"]
            with Copies.native(card, words) as native, Copies.in_guest(side, words) as guest, \
                    Copies.native(card, ["memcpy", str(LARGE), "0"]) as plain:
                found[f"rma_{way}_cold_ratio"].append(native.times(1)[0] / guest.times(1)[0])
                for copies in (native, guest, plain):
                    copies.times(WARM_COPIES)
                for turn in range(TURNS):
                    took = in_turn(turn, {"native": native, "guest": guest, "plain": plain})
                    found[f"rma_{way}_ratio"].append(took["native"] / took["guest"])
                    if way == "read":
                        plain_ratio.append(took["plain"] / took["guest"])
    return {**{name: measure.Samples(values) for name, values in found.items()},
            "rma_read_vs_memcpy": measure.Samples(plain_ratio)}


def memory(card, side):
    """On a fresh scifd: what it had for others before would hide what these take."""
    before = card.resident()
    with side.holding(["many", "1", PORT, str(CONNECTIONS)], rb"connections"):
        endpoint = (card.resident() - before) / (2 * CONNECTIONS)
    daemons.wait_until(lambda: card.scifd.nodes()["guest"]["endpoints"] == 0, 60, "none is left")
    before = card.resident()
    with side.holding(["hold", "1", PORT, str(HELD_MIB)], rb"holding"):
        page = (card.resident() - before) / (HELD_MIB * MIB / 4096)
    return {"bytes_per_endpoint": max(endpoint, 0), "bytes_per_page": max(page, 0)}


def curves(card, side):
    """Speed by size, both ways, both sides."""
    lines = {}
    for name, run in (("native", card.native), ("guest", side.run)):
        for way in ("read", "write"):
            lines[f"{name} {way}"] = [[size, size / copy(run, way, size, 9 if size < MIB else 3)
                                       / 1000] for size in CURVE]
    return measure.Curves(lines, "bytes", "GB/s")


def keep_together(guest):
    """All threads of a guest of one processor on the last one that it may use."""
    usable = os.sched_getaffinity(0)
    if len(usable) < 4:
        return
    for pid in guest.pids():
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), {max(usable)})


def in_guest(bench, kind):
    program = bench.program("tests/scif/scif_peer_mpss3")
    with Card(bench).serving() as card, \
            Guest(KINDS[kind], files=[program], modules=[module("scif/guest", KINDS[kind])],
                  vhost_user=[f"45={card.scifd.guest_socket('guest')}"], cpus=2 if kind == "qemu" else 1, memory_mib=1024,
                  quiet=True) as guest:
        if kind == "uml":
            keep_together(guest)
        side = Side(guest)
        bench.progress(f"{kind}: memory")  # first: what others let go would be taken again
        result = memory(card, side)
        bench.progress(f"{kind}: latency")
        result["latency_us"] = latencies(bench, card, side)
        result["adaptive_vs_sleep"] = measure.ratios(result["latency_us"]["adaptive"],
                                                     result["latency_us"]["sleep"])
        bench.progress(f"{kind}: copies")
        result.update(ratios(bench, card, side))
        bench.progress(f"{kind}: curves")
        result["curves"] = curves(card, side)
        return result


def run(bench):
    results = {}
    for kind, machine in KINDS.items():
        if reason := machines.KINDS[machine]().unusable():
            results[kind] = measure.Skipped(reason)
            continue
        try:
            results[kind] = in_guest(bench, kind)
        except GuestError as error:
            raise measure.Failed(f"{kind}: {error}") from None
    results["thesis"] = THESIS
    return results

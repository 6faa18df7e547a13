# SPDX-License-Identifier: Apache-2.0
"""Sockets between 1, 2, 4 and 8 pairs of guests at once, and what VMs and flows cost the switch.

Guests are of User-Mode Linux; both ends run bench/sockets_load. Fields:

aggregate_scaling     bytes per CPU-second, of guests and switch, at 8 pairs over that at 1 pair
switch_scaling        the same of the switch's CPU time alone: copies out of colder caches
latency_scaling       p50 of a round trip beside 7 idle connected pairs over that of a pair alone
throughput_vs_memcpy  one pair, messages of 512 KiB, over memcpy of such pieces in memory
loopback_vs_memcpy    the same through the loopback of one guest's kernel, without a switch: the bound
kib_per_vm            private memory of the switch for each VM with a guest
receiver_core_share   of one core, by the guest that receives then: its one processor is the bound at 1
bytes_per_flow        and for each flow between guests
core_share            of one core, with 64 VMs attached and idle: a thread for each, and 2 for all

Pairs have windows of one message, so that what 8 of them have under way fits into caches; the one
pair against memcpy has eight of them, which it fills beside nothing else.

Memory is the switch's own; a guest's that it touches is shared. CPU time of a guest is that of its
kernel and all its processes on the host.
"""
import contextlib
import json
import os
import pathlib
import subprocess
import time

import daemons
import measure
from testbed import cache
from testbed.errors import GuestError
from testbed.guest import Guest
from testbed.machines import KINDS

PAIRS = (1, 2, 4, 8)
MESSAGE = 512 << 10
CID_LOCAL = 1
LOOPBACK = "vsock_loopback"
WINDOW = MESSAGE
LARGE_WINDOW = 8 * MESSAGE
SECONDS = 2
FLOWS = 1000
PORT = 5000
IDLE_VMS = 64
IDLE_SECONDS = 4


def kind():
    """Debian 12's User-Mode Linux, whose streams are the faster ones, else the newer."""
    for name in ("uml", "uml-sid"):
        if not (reason := KINDS[name]().unusable()):
            return name
    raise measure.Failed(str(reason))


def has_loopback():
    """Whether the guests' kernel has the transport of vsock to itself."""
    folder = cache.part(KINDS[kind()]().parts()[0]) / "modules"
    return any(folder.rglob(f"{LOOPBACK}.ko*"))


def figures(command):
    status = command.wait(120)
    if status:
        raise measure.Failed(f"sockets_load: {command.stderr.decode(errors='replace').strip()}")
    return json.loads(command.stdout)


def private_kib(pid):
    """What only this process has in memory."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    raise measure.Failed("/proc has no RssAnon")


def family_seconds(pid):
    """CPU time of a process and of its children that ended; 0 for one that did just now."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


class Pairs:
    """A switch and @count pairs of guests; the second of each listens."""

    def __init__(self, bench, count, stack):
        self.program = bench.program("bench/sockets_load")
        self.receiver_share = None  # of the last streams()
        self.cids = [(3 + 2 * i, 4 + 2 * i) for i in range(count)]
        cids = [cid for pair in self.cids for cid in pair]
        self.switch = stack.enter_context(daemons.Switch(cids=cids))
        self.guests = {cid: stack.enter_context(self.boot(cid)) for cid in cids}
        listeners = [self.cids[0][0]] + [cid for _, cid in self.cids]
        for cid in listeners:
            server = self.guests[cid].start(["sockets_load", "listen", f"vsock:-1:{PORT}"])
            server.expect(rb"listening")

    def boot(self, cid):
        return Guest(kind(), files=[self.program], memory_mib=256, quiet=True,
                     modules=[LOOPBACK] if has_loopback() else [],
                     vhost_user_vsock=self.switch.guest_socket(cid))

    def start(self, pair, *words, cid=None):
        """One run of sockets_load in the first of a pair, to the second or to @cid."""
        sender, receiver = self.cids[pair]
        action, *rest = map(str, words)
        return self.guests[sender].start(
            ["sockets_load", action, f"vsock:{cid or receiver}:{PORT}", *rest])

    def guests_seconds(self):
        return sum(family_seconds(pid) for guest in self.guests.values() for pid in guest.pids())

    def receiver_seconds(self):
        """Of the first pair's second guest."""
        return sum(family_seconds(pid) for pid in self.guests[self.cids[0][1]].pids())

    def streams(self, count, window=WINDOW):
        """@count pairs at once; bytes per second together, per CPU-second of all, of the switch."""
        switch, guests = daemons.cpu_seconds(self.switch.pid), self.guests_seconds()
        receiver, started = self.receiver_seconds(), time.monotonic()
        commands = [self.start(pair, "stream", MESSAGE, SECONDS, window) for pair in range(count)]
        lines = [figures(command) for command in commands]
        receiver = self.receiver_seconds() - receiver
        switch = daemons.cpu_seconds(self.switch.pid) - switch
        guests = self.guests_seconds() - guests
        total = sum(line["bytes"] for line in lines)
        self.receiver_share = receiver / max(time.monotonic() - started, 0.01)
        return (sum(line["bytes_per_s"] for line in lines), total / max(switch + guests, 0.01),
                total / max(switch, 0.01))

    def loopback(self):
        """A stream from the first guest to itself, in its kernel; bytes per second."""
        return figures(self.start(0, "stream", MESSAGE, SECONDS, LARGE_WINDOW, cid=CID_LOCAL)
                       )["bytes_per_s"]

    def ping(self):
        return figures(self.start(0, "ping", 2, SECONDS))["p50_us"]

    def hold(self, pair, count):
        command = self.start(pair, "hold", count)
        command.expect(rb"holding")
        return command


def memcpy(bench):
    _, output, _ = bench.run([bench.program("bench/sockets_load"), "memcpy", str(MESSAGE), "1"])
    return json.loads(output)["bytes_per_s"]


def stream_figures(samples):
    """Of Pairs.streams(), in MB."""
    rates, costs, switch_costs = zip(*samples)
    return {"throughput": measure.Samples(rates, "MB/s"),
            "per_cpu_second": measure.Samples(costs, "MB"),
            "per_switch_cpu_second": measure.Samples(switch_costs, "MB")}


def measure_throughput(bench, pairs, results):
    """Streams, memcpy in turn with those of one pair."""
    samples = {count: [] for count in PAIRS}
    large, shares, loops, copies = [], [], [], []
    for _ in range(bench.rounds):
        for count in PAIRS:
            samples[count].append([figure / 1e6 for figure in pairs.streams(count)])
        large.append([figure / 1e6 for figure in pairs.streams(1, LARGE_WINDOW)])
        shares.append(pairs.receiver_share)
        if has_loopback():
            loops.append(pairs.loopback() / 1e6)
        copies.append(memcpy(bench) / 1e6)
    for count in PAIRS:
        results[f"{count} pairs" if count > 1 else "1 pair"] = stream_figures(samples[count])
    one, eight = results["1 pair"], results["8 pairs"]
    results["1 pair, large windows"] = widest = stream_figures(large)
    widest["receiver_core_share"] = measure.Samples(shares)
    results["memcpy"] = {"throughput": measure.Samples(copies, "MB/s")}
    goals = {}
    if loops:
        results["loopback"] = {"throughput": measure.Samples(loops, "MB/s")}
        goals["loopback_vs_memcpy"] = measure.ratios(results["loopback"]["throughput"],
                                                     results["memcpy"]["throughput"])
    else:
        goals["loopback_vs_memcpy_reason"] = f"the guests' kernel has no {LOOPBACK}"
    return {
        "aggregate_scaling": measure.ratios(eight["per_cpu_second"], one["per_cpu_second"]),
        "switch_scaling": measure.ratios(eight["per_switch_cpu_second"],
                                         one["per_switch_cpu_second"]),
        "throughput_vs_memcpy": measure.ratios(widest["throughput"],
                                               results["memcpy"]["throughput"]),
        **goals,
    }


def measure_latency(bench, pairs, results):
    """A pair alone, and beside seven that are connected and idle, in turn."""
    alone, beside = [], []
    for _ in range(bench.rounds):
        alone.append(pairs.ping())
        holders = [pairs.hold(pair, 1) for pair in range(1, PAIRS[-1])]
        beside.append(pairs.ping())
        for holder in holders:
            holder.close_input()
            holder.wait(30)
    results["ping"] = {"alone": measure.Samples(alone, "us"),
                       "beside_idle": measure.Samples(beside, "us")}
    return {"latency_scaling": measure.ratios(measure.Samples(beside), measure.Samples(alone))}


def measure_memory(pairs):
    """Of VMs, against a switch with one that has no guest; of flows, from one to FLOWS more."""
    with daemons.Switch(cids=(3,)) as bare:
        bare_kib = private_kib(bare.pid)
    per_vm = (private_kib(pairs.switch.pid) - bare_kib) / (len(pairs.guests) - 1)
    pairs.hold(1, 1)
    before = private_kib(pairs.switch.pid)
    holder = pairs.hold(1, FLOWS)
    per_flow = (private_kib(pairs.switch.pid) - before) * 1024 / FLOWS
    holder.close_input()
    return {"kib_per_vm": measure.Samples([per_vm], "KiB"),
            "bytes_per_flow": measure.Samples([max(per_flow, 0)], "B")}


def idle_share(bench, *options):
    """Of one core, with IDLE_VMS drivers attached that do nothing."""
    cids = range(3, 3 + IDLE_VMS)
    with daemons.Switch(cids=cids, options=options) as switch:
        sockets = [str(switch.guest_socket(cid)) for cid in cids]
        with subprocess.Popen([bench.program("bench/switch_idle"), *sockets], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as drivers:
            if drivers.stdout.readline().strip() != "attached":
                raise measure.Failed("switch_idle: not all drivers were taken")
            time.sleep(1)  # the spins that the handshake left behind run out
            before = daemons.cpu_seconds(switch.pid)
            time.sleep(IDLE_SECONDS)
            used = daemons.cpu_seconds(switch.pid) - before
            kib = private_kib(switch.pid) / IDLE_VMS
            drivers.communicate()
    return {"core_share": measure.Samples([used / IDLE_SECONDS]),
            "kib_per_vm": measure.Samples([kib], "KiB")}


def run(bench):
    results = {}
    with contextlib.ExitStack() as stack:
        bench.progress(f"{2 * PAIRS[-1]} guests of kind {kind()}")
        try:
            pairs = Pairs(bench, PAIRS[-1], stack)
            bench.progress("round trips")
            goals = measure_latency(bench, pairs, results)
            bench.progress("streams")
            goals.update(measure_throughput(bench, pairs, results))
            bench.progress("memory")
            goals.update(measure_memory(pairs))
        except GuestError as error:
            raise measure.Failed(str(error)) from None
    bench.progress(f"{IDLE_VMS} idle VMs")
    results[f"{IDLE_VMS} idle VMs"] = idle_share(bench)
    results[f"{IDLE_VMS} idle VMs on 2 threads"] = idle_share(bench, "--threads", "2")
    results["sockets-scale"] = goals
    return results

# SPDX-License-Identifier: Apache-2.0
"""Sockets between two QEMU guests through causeway-switch, against TCP and another switch.

Three ways between guests, in one run: vsock through causeway-switch and TCP over virtio-net
(-netdev stream, QEMU's own cable) between the same two guests, in turn; and vsock through
vhost-device-vsock between two more such guests, booted when the first have ended. Each is measured
with bench/sockets_load.c and, where both ends can be wrapped, with NetPIPE. A peer that stands
still for STALL_SECONDS is given up, with the reason. In turn with these, "loopback": the same within
the kernel of the first guest, with no switch, device or interrupt, which is what the guests' own
kernels take of each figure. $CAUSEWAY_BENCH_KERNEL is the guests' kernel,
one of the testbed's.
"""
import contextlib
import json
import os
import pathlib
import time

import daemons
import measure
from testbed import cache
from testbed.errors import GuestError
from testbed.guest import Guest
from testbed.machines import Qemu

SIZES = [2, 16, 128, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 8 << 20]
LATENCY_BYTES = 2
STREAM_BYTES = 1 << 20
SECONDS = 1.5  # of one figure
SWEEP_SECONDS = 0.7
STALL_SECONDS = 15
CIDS = (3, 4)
CID_LOCAL = 1
PORT = 5000
KERNEL = os.environ.get("CAUSEWAY_BENCH_KERNEL")  # None: the testbed's first
MEMORY_MIB = 512
NETPIPE = pathlib.Path("/usr/bin/NPtcp")
NETPIPE_SECONDS = 100
WRAPPER = daemons.BUILD / "vsock" / "wrap" / "libcauseway-wrap.so"
WRAP_RULES = "map 10.77.0.0/16 host\nuse vsock any * *\n"  # 10.77.0.4 is CID 4


class Stalled(Exception):
    """A peer stood still, or did not work at all; the text says at what."""


class Way:
    """One way between two guests: the address of the listener in the second."""

    def __init__(self, name, guests, address, listens):
        self.name = name
        self.guests = guests
        self.address = address
        self.server = guests[1].start(["sockets_load", "listen", listens])
        self.server.expect(rb"listening")

    def load(self, *words):
        """One run of sockets_load in the first guest; its line."""
        done = self.guests[0].run(["timeout", "-s", "KILL", str(STALL_SECONDS), "sockets_load",
                                   words[0], self.address, *map(str, words[1:])], timeout=60)
        if done.status == 128 + 9 or done.status == 124:
            raise Stalled(f"{words[0]} of {words[1]} bytes stood still for {STALL_SECONDS} s")
        if done.status:
            raise Stalled(f"{words[0]} of {words[1]} bytes: "
                          f"{done.stderr.decode(errors='replace').strip()}")
        return json.loads(done.stdout)

    def latency_us(self, size, seconds=SECONDS):
        return self.load("ping", size, seconds)["p50_us"]

    def throughput(self, size, seconds=SECONDS):
        """MB/s"""
        return self.load("stream", size, seconds, 0)["bytes_per_s"] / 1e6


def guests_with(stack, sockets, network):
    """Two guests, the first in the cable's first end; both end with @stack."""
    files = [daemons.BUILD / "bench" / "sockets_load", "/etc/protocols:/etc/protocols"]
    files += [extra for extra in (NETPIPE, WRAPPER) if extra.exists()]
    pair = []
    for socket, end in zip(sockets, ("listen", "connect")):
        guest = Guest("qemu", kernel=KERNEL, files=files, modules=["vsock_loopback"], quiet=True, memory_mib=MEMORY_MIB,
                      vhost_user_vsock=socket, network=network and f"{end}={network}")
        pair.append(stack.enter_context(guest))
    return pair


class PeerSwitch(daemons.Daemon):
    """vhost-device-vsock with two VMs in one group."""

    name = "vdv"

    def guest_socket(self, cid):
        return self.folder / f"guest-{cid}.sock"

    def command(self):
        part = cache.part("vhost-device-vsock")
        words = [part / "ld-linux-x86-64.so.2", "--library-path", part, part / "vhost-device-vsock"]
        for cid in CIDS:
            words += ["--vm", f"guest-cid={cid},socket={self.guest_socket(cid)},"
                      f"uds-path={self.folder}/host-{cid}"]
        return words

    def ready(self):
        return all(self.guest_socket(cid).exists() for cid in CIDS)

    def stop(self):
        self.kill()  # it leaves its files where they are


def netpipe(guests, address, wrapped):
    """{field: number} of NetPIPE: its smallest message's time one way, and its rate for 1 MiB."""
    preload = {"LD_PRELOAD": f"/root/{WRAPPER.name}",
               "CAUSEWAY_WRAP_RULES": WRAP_RULES} if wrapped else {}
    words = ["timeout", "-s", "KILL", str(NETPIPE_SECONDS), "NPtcp", "-p", "0", "-n", "15", "-u",
             str(STREAM_BYTES)]
    server = guests[1].start(words, env=preload)
    # The server says nothing when it listens; a client that comes too early ends at once.
    deadline = time.monotonic() + 20
    while True:
        done = guests[0].run([*words, "-h", address, "-o", "/tmp/np.out"], env=preload,
                             timeout=120)
        if done.status == 0:
            break
        if time.monotonic() > deadline or done.status == 128 + 9:
            with contextlib.suppress(GuestError):
                server.signal(9)
            raise Stalled(f"NetPIPE ended with {done.status}: "
                          f"{done.stderr.decode(errors='replace')[-200:].strip()}")
    server.wait(20)
    lines = [list(map(float, line.split()[:3])) for line in
             guests[0].run(["cat", "/tmp/np.out"], check=True).stdout.splitlines()]
    large = min(lines, key=lambda line: abs(line[0] - STREAM_BYTES))
    return {"netpipe_latency_us": lines[0][2] * 1e6, "netpipe_1mib_mb_s": large[1] / 8 * 1.048576}


def sweep(bench, ways, lines):
    """Round trips and streams of all sizes, once, as points of @lines: {figure: {way: points}}."""
    for way in ways:
        for size in SIZES:
            trip, stream = way.latency_us(size, SWEEP_SECONDS), way.throughput(size, SWEEP_SECONDS)
            lines["round_trip"].setdefault(way.name, []).append([size, trip])
            lines["stream"].setdefault(way.name, []).append([size, stream])
        bench.progress(f"{way.name}: sizes done")


def sample(bench, ways):
    """The two figures of the goals, in turn: {way: {"latency_us": [...], "throughput": [...]}}."""
    taken = {way.name: {"latency_us": [], "stream_1mib_mb_s": []} for way in ways}
    for number in range(bench.rounds):
        for way in ways:
            taken[way.name]["latency_us"].append(way.latency_us(LATENCY_BYTES))
            taken[way.name]["stream_1mib_mb_s"].append(way.throughput(STREAM_BYTES))
        bench.progress(f"round {number + 1} of {bench.rounds}")
    return taken


def figures(taken):
    return {"latency_us": measure.Samples(taken["latency_us"], "us"),
            "stream_1mib_mb_s": measure.Samples(taken["stream_1mib_mb_s"], "MB/s")}


def measure_ours(bench, results, lines):
    """The switch and TCP, between the same two guests."""
    with contextlib.ExitStack() as stack:
        switch = stack.enter_context(daemons.Switch(cids=CIDS))
        guests = guests_with(stack, [switch.guest_socket(cid) for cid in CIDS],
                             switch.folder / "cable")
        ways = [Way("switch", guests, f"vsock:{CIDS[1]}:{PORT}", f"vsock:-1:{PORT}"),
                Way("tcp", guests, f"tcp:10.77.0.2:{PORT}", f"tcp:0.0.0.0:{PORT}")]
        loopback = Way("loopback", guests[:1] * 2, f"vsock:{CID_LOCAL}:{PORT + 1}",
                       f"vsock:-1:{PORT + 1}")
        before = daemons.cpu_seconds(switch.pid)
        taken = sample(bench, [*ways, loopback])
        switch_cpu = daemons.cpu_seconds(switch.pid) - before
        sweep(bench, ways, lines)
        for name in taken:
            results[name] = figures(taken[name])
        results["switch"].update(kernel=KERNEL or cache.KERNELS[0], switch_cpu_s=round(switch_cpu, 2))
        measure_netpipe(bench, guests, results)
    ours, tcp, loopback = results["switch"], results["tcp"], results["loopback"]
    ours["latency_ratio_tcp"] = measure.ratios(ours["latency_us"], tcp["latency_us"])
    ours["throughput_ratio_tcp"] = measure.ratios(ours["stream_1mib_mb_s"],
                                                  tcp["stream_1mib_mb_s"])
    loopback["latency_ratio_tcp"] = measure.ratios(loopback["latency_us"], tcp["latency_us"])
    loopback["throughput_ratio_tcp"] = measure.ratios(loopback["stream_1mib_mb_s"],
                                                      tcp["stream_1mib_mb_s"])


def measure_netpipe(bench, guests, results):
    """NetPIPE, unmodified: over TCP, and over vsock through the wrapper."""
    if not NETPIPE.exists():
        bench.progress("NetPIPE is not installed: package netpipe-tcp")
        return
    ours, tcp = results["switch"], results["tcp"]
    try:
        tcp.update(netpipe(guests, "10.77.0.2", False))
        if not WRAPPER.exists():
            bench.progress(f"NetPIPE over vsock needs {WRAPPER}, which is not built")
            return
        ours.update(netpipe(guests, "10.77.0.4", True))
    except (Stalled, GuestError, IndexError, ValueError) as error:
        ours["netpipe_reason"] = " ".join(str(error).split())
        bench.progress(f"NetPIPE: {error}")
        return
    ours["netpipe_latency_ratio_tcp"] = ours["netpipe_latency_us"] / tcp["netpipe_latency_us"]
    ours["netpipe_throughput_ratio_tcp"] = (ours["netpipe_1mib_mb_s"] /
                                            tcp["netpipe_1mib_mb_s"])
    bench.progress("NetPIPE done")


def measure_peer(bench, results, lines):
    """The other switch: what it manages before it stands still."""
    ours = results["switch"]
    for field in ("latency_ratio_vdv", "throughput_ratio_vdv"):
        ours[field] = None
    try:
        with contextlib.ExitStack() as stack:
            peer = stack.enter_context(PeerSwitch())
            guests = guests_with(stack, [peer.guest_socket(cid) for cid in CIDS], None)
            way = Way("vhost-device-vsock", guests, f"vsock:{CIDS[1]}:{PORT}", f"vsock:-1:{PORT}")
            found = results["vhost-device-vsock"] = {}
            samples = [way.latency_us(LATENCY_BYTES) for _ in range(bench.rounds)]
            found["latency_us"] = measure.Samples(samples, "us")
            ours["latency_ratio_vdv"] = measure.ratios(ours["latency_us"], found["latency_us"])
            samples = [way.throughput(STREAM_BYTES) for _ in range(bench.rounds)]
            found["stream_1mib_mb_s"] = measure.Samples(samples, "MB/s")
            ours["throughput_ratio_vdv"] = measure.ratios(ours["stream_1mib_mb_s"],
                                                          found["stream_1mib_mb_s"])
            sweep(bench, [way], lines)
    except (Stalled, GuestError, daemons.DaemonError) as error:
        sentence = " ".join(str(error).split())[:300]
        for field in ("latency_ratio_vdv", "throughput_ratio_vdv"):
            if ours[field] is None:
                ours[field + "_reason"] = sentence
        bench.progress(f"vhost-device-vsock: {sentence}")
        if not results.get("vhost-device-vsock"):
            results["vhost-device-vsock"] = measure.Skipped(sentence)


def run(bench):
    reason = Qemu().unusable()
    if reason:
        return {"switch": measure.Skipped(reason)}
    results, lines = {}, {"round_trip": {}, "stream": {}}
    try:
        measure_ours(bench, results, lines)
        measure_peer(bench, results, lines)
    except (Stalled, GuestError) as error:
        raise measure.Failed(str(error)) from None
    results["sizes"] = {
        figure: measure.Curves(lines[figure], "bytes of a message", unit)
        for figure, unit in (("round_trip", "round trip, us"), ("stream", "stream, MB/s"))}
    return results



# SPDX-License-Identifier: Apache-2.0
"""Sockets between Xen's guests: AF_VSOCK over Argo against TCP over netfront and dom0's bridge.

One boot, the same guests; bench/sockets_load at both ends, both ways in turn in each round. The
clients' virtual processors are pinned to one processor, the servers' to the other, dom0's moves.
Loads of several pairs begin at the same moment.

latency_ratio      half a round trip of 2 bytes, Argo over TCP (medians)
throughput_ratio   1 MiB there and back, as NetPIPE counts it, Argo over TCP
aggregate_ratio    for 1, 2, 4 and 8 pairs at once: bytes a second of all streams of 512 KiB
                   messages, Argo over TCP at the same number of pairs
latency_growth     half a round trip of 2 bytes over Argo with all pairs at it, over one pair alone
sizes              half a round trip, and bytes in that time, for each size
pairs              bytes a second of all streams; half a round trip of 2 bytes over Argo
spin_us            the module's parameter: how long a wait may spin before it sleeps

Without KVM all of it is translated: compare the ratios, not the times.
"""
import json
import sys

import measure

sys.path.insert(0, str(measure.pathlib.Path(__file__).resolve().parent.parent / "tests" / "vm"))

import xen_host  # noqa: E402  (found through the path set above)

SIZES = (2, 64, 1 << 10, 16 << 10, 128 << 10, 1 << 20, 8 << 20)
PAIRS = (1, 2, 4, 8)
MESSAGE = 512 << 10
SECONDS = 0.3
STREAM_SECONDS = 1
CONNECT_SECONDS = 0.3  # of a client, until it waits for the moment
TRIES = 6  # each with twice the time: on a busy machine a client is slow to get there
PORT = 6000
WAYS = ("argo", "tcp")
# What the thesis measured, on a machine of its own: points beside our curves.
THESIS_US = {"thesis: V4VSockets": [[2, 16]], "thesis: TCP": [[2, 86]]}
THESIS_MB_S = {"thesis: V4VSockets": [[1 << 20, 2299]], "thesis: TCP": [[1 << 20, 501]]}
THESIS_PAIRS = {"thesis: V4VSockets": [[1, 2000], [8, 16000]]}
PARAMETER = "/sys/module/vsock_argo/parameters/spin_us"


def address(way, guest):
    return f"vsock:{xen_host.cid(guest)}:{PORT}" if way == "argo" else f"tcp:{guest.address}:{PORT}"


def listen(guest):
    for where in (f"vsock:-1:{PORT}", f"tcp:0.0.0.0:{PORT}"):
        guest.start(["sockets_load", "listen", where]).expect(rb"listening")


def together(way, pairs, action, *numbers):
    """The same load in all pairs, begun at the same moment; their figures.

    Who is late for that moment ends, and all begin again, with more time to get ready.
    """
    lead = CONNECT_SECONDS * (1 + len(pairs))
    for _ in range(TRIES):
        now = float(pairs[0][0].run(["sockets_load", "clock"], check=True).stdout)
        at = now + lead if len(pairs) > 1 else 0
        commands = [client.start(["sockets_load", action, address(way, server),
                                  *map(str, numbers), f"{at:.3f}"]) for client, server in pairs]
        failed = [command.stderr for command in commands if command.wait(180)]
        if not failed:
            return [json.loads(command.stdout) for command in commands]
        if not all(b" s late: " in text for text in failed):
            raise measure.Failed(b"; ".join(failed).decode(errors="replace"))
        lead *= 2
    raise measure.Failed(f"{len(pairs)} pairs never began at the same moment")


def half_trip(way, pairs, size):
    """The mean over the pairs of their median, in microseconds."""
    found = together(way, pairs, "ping", size, SECONDS)
    return sum(each["p50_us"] for each in found) / len(found) / 2


def measure_sizes(bench, pair):
    """{size: {way: Samples}} of half a round trip; the first ones are for warming up."""
    for size in (2, 1 << 20):
        for way in WAYS:
            half_trip(way, [pair], size)
    times = {size: {way: [] for way in WAYS} for size in SIZES}
    for _ in range(bench.rounds):
        for size in SIZES:
            for way in WAYS:
                times[size][way].append(half_trip(way, [pair], size))
    return {size: {way: measure.Samples(values, "us") for way, values in found.items()}
            for size, found in times.items()}


def measure_pairs(bench, pairs):
    """{way: Samples} of the bytes a second of all pairs."""
    totals = {way: [] for way in WAYS}
    for _ in range(bench.rounds):
        for way in WAYS:
            found = together(way, pairs, "stream", MESSAGE, STREAM_SECONDS, 0)
            totals[way].append(sum(each["bytes_per_s"] for each in found))
    return {way: measure.Samples(values, "B/s") for way, values in totals.items()}


def measure_growth(bench, pairs):
    """Half a round trip of one pair alone and of all together, in turn."""
    alone, all_pairs = [], []
    for _ in range(bench.rounds):
        alone.append(half_trip("argo", pairs[:1], 2))
        all_pairs.append(half_trip("argo", pairs, 2))
    return measure.Samples(alone, "us"), measure.Samples(all_pairs, "us")


def curves(sizes, totals):
    """For bench/plot: what the thesis's figures of NetPIPE and of many guests show."""
    latency = {way: [[size, found[way].median] for size, found in sizes.items()] for way in WAYS}
    speed = {way: [[size, size / time] for size, time in line] for way, line in latency.items()}
    aggregate = {way: [[count, found[way].median / 1e6] for count, found in totals.items()]
                 for way in WAYS}
    for lines, points in ((latency, THESIS_US), (speed, THESIS_MB_S), (aggregate, THESIS_PAIRS)):
        lines.update(points)
    return {"latency": measure.Curves(latency, "bytes of a message", "half a round trip [us]"),
            "throughput": measure.Curves(speed, "bytes of a message", "MB/s"),
            "aggregate": measure.Curves(aggregate, "pairs of guests", "MB/s in all")}


def run(bench):
    if reason := xen_host.missing():
        return {"xen": measure.Skipped(reason)}
    programs = [bench.program("bench/sockets_load")]
    totals, pairs = {}, []
    with xen_host.start(0, programs=programs, cpus=2, room_for=2 * max(PAIRS), quiet=True) as host:
        for count in PAIRS:
            bench.progress(f"{count} pairs")
            new = host.create_guests(2 * (count - len(pairs)))
            added = list(zip(new[::2], new[1::2]))
            xen_host.pin(host, added)
            for _, server in added:
                listen(server)
            pairs += added
            if count == 1:
                sizes = measure_sizes(bench, pairs[0])
                for size, found in sizes.items():
                    bench.progress(f"{size} bytes: argo {found['argo']} us, tcp {found['tcp']} us")
            totals[count] = measure_pairs(bench, pairs)
            bench.progress(f"streams: argo {totals[count]['argo']}, tcp {totals[count]['tcp']} B/s")
        alone, all_pairs = measure_growth(bench, pairs)
        spin_us = int(pairs[0][0].run(["cat", PARAMETER], check=True).stdout)
    results = {"xen": {
        "latency_ratio": measure.ratios(sizes[2]["argo"], sizes[2]["tcp"]),
        "throughput_ratio": measure.ratios(sizes[1 << 20]["tcp"], sizes[1 << 20]["argo"]),
        "aggregate_ratio": {f"{count}": measure.ratios(found["argo"], found["tcp"])
                            for count, found in totals.items()},
        "latency_growth": measure.ratios(all_pairs, alone),
        "spin_us": spin_us,
    }}
    for size, found in sizes.items():
        results[f"{size} bytes"] = {f"{way}_us": samples for way, samples in found.items()}
    for count, found in totals.items():
        results[f"{count} pairs"] = {f"{way}_b_s": samples for way, samples in found.items()}
    results["curves"] = curves(sizes, totals)
    return results

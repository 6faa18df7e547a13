# SPDX-License-Identifier: Apache-2.0
"""Sockets between Xen's guests: AF_VSOCK over Argo against TCP over netfront and dom0's bridge.

One boot, the same guests; bench/sockets_load at both ends, both ways in turn in each round.

latency_ratio      half a round trip of 2 bytes, Argo over TCP (medians)
throughput_ratio   1 MiB there and back, as NetPIPE counts it, Argo over TCP
aggregate_ratio    for 1, 2, 4 and 8 pairs at once: bytes a second of all streams of 512 KiB
                   messages, Argo over TCP at the same number of pairs
latency_growth     half a round trip of 2 bytes over Argo with all pairs at it, over one pair alone
argo_us, tcp_us    one row for each size: half a round trip

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
PORT = 6000
WAYS = ("argo", "tcp")


def address(way, guest):
    return f"vsock:{xen_host.cid(guest)}:{PORT}" if way == "argo" else f"tcp:{guest.address}:{PORT}"


def figures(command):
    status = command.wait(180)
    if status:
        raise measure.Failed(f"sockets_load: {command.stderr.decode(errors='replace').strip()}")
    return json.loads(command.stdout)


def listen(guest):
    for where in (f"vsock:-1:{PORT}", f"tcp:0.0.0.0:{PORT}"):
        guest.start(["sockets_load", "listen", where]).expect(rb"listening")


def together(way, pairs, *words):
    """The same load in all pairs at once; their figures."""
    commands = [client.start(["sockets_load", words[0], address(way, server), *map(str, words[1:])])
                for client, server in pairs]
    return [figures(command) for command in commands]


def half_trip(way, pairs, size):
    """The mean over the pairs of their median, in microseconds."""
    found = together(way, pairs, "ping", size, SECONDS)
    return sum(each["p50_us"] for each in found) / len(found) / 2


def measure_sizes(bench, pair):
    """{size: {way: Samples}} of half a round trip."""
    times = {size: {way: [] for way in WAYS} for size in SIZES}
    for _ in range(bench.rounds):
        for size in SIZES:
            for way in WAYS:
                times[size][way].append(half_trip(way, [pair], size))
    return {size: {way: measure.Samples(values, "us") for way, values in found.items()}
            for size, found in times.items()}


def measure_pairs(bench, pairs):
    """Argo over TCP: bytes a second of all pairs, sample by sample."""
    ratios = []
    for _ in range(bench.rounds):
        total = {way: sum(each["bytes_per_s"] for each in
                          together(way, pairs, "stream", MESSAGE, STREAM_SECONDS, 0))
                 for way in WAYS}
        ratios.append(total["argo"] / total["tcp"])
    return measure.Samples(ratios)


def run(bench):
    if reason := xen_host.missing():
        return {"xen": measure.Skipped(reason)}
    programs = [bench.program("bench/sockets_load")]
    results, aggregate, pairs = {}, {}, []
    with xen_host.start(0, programs=programs, cpus=2, room_for=2 * max(PAIRS), quiet=True) as host:
        for count in PAIRS:
            bench.progress(f"{count} pairs")
            new = host.create_guests(2 * (count - len(pairs)))
            for client, server in zip(new[::2], new[1::2]):
                listen(server)
                pairs.append((client, server))
            if count == 1:
                sizes = measure_sizes(bench, pairs[0])
                for size, found in sizes.items():
                    bench.progress(f"{size} bytes: argo {found['argo']} us, tcp {found['tcp']} us")
            aggregate[f"{count}"] = measure_pairs(bench, pairs)
            bench.progress(f"aggregate_ratio {aggregate[f'{count}']}")
        alone, all_pairs = [], []
        for _ in range(bench.rounds):
            alone.append(half_trip("argo", pairs[:1], 2))
            all_pairs.append(half_trip("argo", pairs, 2))
    results["xen"] = {
        "latency_ratio": measure.ratios(sizes[2]["argo"], sizes[2]["tcp"]),
        "throughput_ratio": measure.ratios(sizes[1 << 20]["tcp"], sizes[1 << 20]["argo"]),
        "aggregate_ratio": aggregate,
        "latency_growth": measure.ratios(measure.Samples(all_pairs), measure.Samples(alone)),
    }
    for size, found in sizes.items():
        results[f"{size} bytes"] = {f"{way}_us": samples for way, samples in found.items()}
    return results

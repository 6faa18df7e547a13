# SPDX-License-Identifier: Apache-2.0
"""The wrapper's cost: calls of a program that it watches, and a connection that it makes.

Calls are on a TCP connection of this host that the rules leave alone, in nanoseconds, with the
wrapper and without it in turn. A connection is connect, accept and both closes over vsock loopback
in a guest, in microseconds: of a wrapped TCP program, and of one that speaks AF_VSOCK itself.
"""
import json
import tempfile

import measure
from testbed.errors import GuestError
from testbed.guest import Guest
from testbed.machines import MACHINES

WATCHED = "map 10.77.0.0/16 host\nuse both client * *\n"
LOOPBACK = "map 10.77.0.1 cid 1\nuse both any * *\n"
CONNECTIONS = 300


def calls(bench, rules):
    program = bench.program("bench/wrap_calls")
    wrapper = [bench.program("cli/causeway"), "run", "--map", rules]
    plain, wrapped = [], []
    for _ in range(bench.rounds):
        for command, lines in (([program, "calls"], plain), ([*wrapper, program, "calls"], wrapped)):
            lines.append(json.loads(bench.run(command)[1]))
    results = {}
    for name in plain[0]:
        if name == "calls":
            continue
        one = measure.Samples([line[name] for line in plain], "ns")
        other = measure.Samples([line[name] for line in wrapped], "ns")
        added = measure.Samples([b - a for a, b in zip(one.values, other.values)], "ns")
        results[name] = {"plain_ns": one, "wrapped_ns": other, "added_ns": added}
    return results


def connections(bench, kind, rules):
    reason = MACHINES[kind]().unusable()
    if reason:
        return measure.Skipped(str(reason))
    files = [bench.program(name) for name in
             ("bench/wrap_calls", "cli/causeway", "vsock/wrap/libcauseway-wrap.so")]
    ways = {"vsock_us": ["vsock"], "wrapped_us": ["10.77.0.1"]}
    found = {name: [] for name in ways}
    try:
        with Guest(kind, files=[*files, f"{rules}:/root/rules"], modules=["vsock_loopback"],
                   quiet=True) as guest:
            for _ in range(bench.rounds):
                for name, address in ways.items():
                    wrapper = ["causeway", "run", "--map", "rules"] if name == "wrapped_us" else []
                    done = guest.run([*wrapper, "wrap_calls", "connect", *address,
                                      str(CONNECTIONS)], timeout=240, check=True)
                    found[name].append(json.loads(done.stdout)["connect"])
    except GuestError as error:
        raise measure.Failed(f"guest of kind {kind}: {error}") from None
    result = {name: measure.Samples(values, "us") for name, values in found.items()}
    result["ratio"] = measure.ratios(result["wrapped_us"], result["vsock_us"])
    return result


def run(bench):
    with tempfile.NamedTemporaryFile("w", prefix="causeway-rules-") as watched, \
            tempfile.NamedTemporaryFile("w", prefix="causeway-rules-") as loopback:
        for file, text in ((watched, WATCHED), (loopback, LOOPBACK)):
            file.write(text)
            file.flush()
        bench.progress("calls")
        results = calls(bench, watched.name)
        for kind in sorted(MACHINES):
            bench.progress(f"connections in a guest of kind {kind}")
            results[f"connect-{kind}"] = connections(bench, kind, loopback.name)
    return results

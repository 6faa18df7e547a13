# SPDX-License-Identifier: Apache-2.0
"""Many VMs on one software card: the thesis's table 5.1 with a shorter clock.

Each client keeps its data on the card, sleeps a random time, has 1024 reductions done there, and so
on; total_operations is what all clients did until the clock stopped. The thesis sleeps 0 to 3 s for
300 s, so that a client that is never held up does about 200; here both are a 37th by default (8 s: some
three minutes in all). A client sleeps nearly all the time: four or eight of them are bounded by what one operation takes (ms,
sleeping excluded, the way from the VM included), not by the number of cores, as long as operations do
not get in each other's way. In the thesis they did: every program has as many threads as the card, and
eight of them brought 412 operations where four had brought 709.

total_operations and its ratios are of the card as it is by default (policy share). The fields
unpoliced_... are the same with every program on all cores and with as many threads (policy time), in
the same run, one round of it. Guests are User-Mode Linux.

reduction_s1_ms and reduction_s2_ms (figure 5.13) are what a pass of card-reduction takes, mean of all clients that
run it at once, processes of the host and VMs; reduction_s1_normalized and the other (5.14) are one process over each.
"""
import contextlib
import os
import subprocess

import daemons
import measure
from testbed.errors import GuestError
from testbed.guest import Guest
from testbed.kbuild import module
from testbed.machines import KINDS

KIND = "uml-sid"
SECONDS = float(os.environ.get("CAUSEWAY_SHARING_SECONDS", "8"))
SLEEP_MS = 3000 * SECONDS / 300
COUNTS = (1, 2, 4, 8)
SIZES = (1, 2)
PASSES = 4
ROUNDS_MAX = 2
THESIS = {"total_operations": {"1 process": 199, "1 VM": 188, "2 VMs": 370, "4 VMs": 709,
                               "8 VMs": 412}, "vm4_over_process1": 3.56, "vm8_over_vm4": 0.58}


def parse(output):
    words = output.split()
    return int(words[words.index("operations") + 1]), float(words[words.index("ms") + 1])


def host_client(bench, scifd, seed):
    """One process of the host: its operations, and milliseconds of each."""
    client = scifd.start_program(
        scifd.host, [bench.program("bench/card_sharing"), bench.program("bench/card_sharing_sink"),
                     SECONDS, SLEEP_MS, seed], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    output, _ = client.communicate("go\n", timeout=SECONDS + 60)
    if client.returncode:
        raise measure.Failed("card_sharing failed on the host")
    return parse(output)


def vm_clients(guests, seed):
    """A client in each of the guests, at once: operations of all, and milliseconds of each."""
    clients = [guest.start(["card_sharing", "card_sharing_sink", str(SECONDS), str(SLEEP_MS),
                            str(seed + number)]) for number, guest in enumerate(guests)]
    for client in clients:
        client.expect(rb"ready", 60)
    for client in clients:
        client.write(b"go\n")
    done = []
    for client in clients:
        if client.wait(SECONDS + 60):
            raise measure.Failed(f"card_sharing failed in a guest: {client.stderr.decode()}")
        done.append(parse(bytes(client.stdout).decode()))
    return sum(operations for operations, _ in done), sum(ms for _, ms in done) / len(done)


def reduce_at_once(bench, scifd, guests, size):
    """{clients: milliseconds of a pass}, of so many processes, and of so many VMs, at once."""
    words = ["--time", "--passes", str(PASSES), "reduction", str(size)]
    sink = bench.program("bench/offload_sink")
    taken = {}
    for count in COUNTS:
        bench.progress(f"reduction of size {size}: {count} at once")
        processes = [scifd.start_program(
            scifd.host, [bench.program("bench/offload"), *words[:-2], sink, *words[-2:]],
            stdout=subprocess.PIPE) for _ in range(count)]
        outputs = [process.communicate(timeout=60)[0] for process in processes]
        if any(process.returncode for process in processes):
            raise measure.Failed("offload failed on the host")
        taken[f"{count} process{'es' if count > 1 else ''}"] = outputs
        clients = [guest.start(["offload", *words[:-2], "/root/offload_sink", *words[-2:]])
                   for guest in guests[:count]]
        if any(client.wait(60) for client in clients):
            raise measure.Failed("offload failed in a guest")
        taken[f"{count} VM{'s' if count > 1 else ''}"] = [bytes(client.stdout).decode()
                                                          for client in clients]
    # The first pass of each is left out: not all of them have begun then.
    return {name: measure.Samples([float(line.split()[0]) * 1000 for output in outputs
                                   for line in output.splitlines()[1:-1]], "ms")
            for name, outputs in taken.items()}


def with_policy(bench, rounds, options=()):
    """(totals, milliseconds of an operation), each by name with a value for each round; and
    reduce_at_once()'s of each size."""
    names = [f"vm{number}" for number in range(COUNTS[-1])]
    files = [bench.program(f"bench/{name}")
             for name in ("card_sharing", "card_sharing_sink", "offload", "offload_sink")]
    totals = {"1 process": [], **{f"{count} VM{'s' if count > 1 else ''}": [] for count in COUNTS}}
    times = {name: [] for name in totals}
    with contextlib.ExitStack() as stack:
        scifd = stack.enter_context(daemons.Scifd(vms=names))
        stack.enter_context(daemons.Card(scifd, options))
        guests = [stack.enter_context(
            Guest(KIND, files=files, modules=[module("scif/guest", KIND)], quiet=True, cpus=1,
                  memory_mib=128, vhost_user=[f"45={scifd.guest_socket(name)}"])) for name in names]
        for number in range(rounds):
            seed = 1 + number * 100
            for name in totals:
                bench.progress(f"{' '.join(options)} round {number + 1}: {name}".strip())
                if name == "1 process":
                    operations, ms = host_client(bench, scifd, seed)
                else:
                    operations, ms = vm_clients(guests[:int(name.split()[0])], seed)
                totals[name].append(operations)
                times[name].append(ms)
        reductions = {size: reduce_at_once(bench, scifd, guests, size) for size in SIZES}
    return totals, times, reductions


def fields_of(totals, times, reductions, prefix=""):
    samples = {name: measure.Samples(values) for name, values in totals.items()}
    fields = {f"{prefix}total_operations": samples,
              f"{prefix}operation_ms": {name: round(measure.Samples(values).median, 2) for name, values in times.items()},
              f"{prefix}vm4_over_process1": measure.ratios(samples["4 VMs"], samples["1 process"]),
              f"{prefix}vm8_over_vm4": measure.ratios(samples["8 VMs"], samples["4 VMs"])}
    for size, taken in reductions.items():
        fields[f"{prefix}reduction_s{size}_ms"] = taken
        fields[f"{prefix}reduction_s{size}_normalized"] = {
            name: round(taken["1 process"].median / time.median, 3) for name, time in taken.items()}
    return fields


def run(bench):
    reason = KINDS[KIND]().unusable() or (os.geteuid() and "only root can run causeway-card")
    if reason:
        return {"uml": measure.Skipped(str(reason))}
    try:
        shared = with_policy(bench, min(bench.rounds, ROUNDS_MAX))
        unpoliced = with_policy(bench, 1, ("--policy", "time"))
    except GuestError as error:
        raise measure.Failed(str(error)) from None
    return {"uml": {**fields_of(*shared), **fields_of(*unpoliced, prefix="unpoliced_")},
            "thesis": THESIS, "clock": {"seconds": SECONDS, "sleep_ms": SLEEP_MS}}

# SPDX-License-Identifier: Apache-2.0
"""Tenants on one device: shares by device time, weights, newcomers, and what turns cost.

Runs as root, on this machine's GPU where there is one, else on softgpu; CAUSEWAY_BENCH_DRIVER names
another driver (a path, or "softgpu"), CAUSEWAY_BENCH_SETTINGS further settings of causeway-cudad. Takes some five minutes with five rounds. From a bundle:

	scripts/bundle FOLDER; then there, as root: bench/run sharing
"""
import collections
import json
import os
import pathlib
import random
import subprocess
import time

import daemons
import measure

ALLOCATOR = pathlib.Path(daemons.__file__).with_name("allocator.py")
FIRST_UID = 61000  # one user for each tenant; no such user need exist
TINY_US, SHORT_US, LONG_US, NEWCOMER_US = 5, 100, 10000, 1000
BUSY_US, RESTING_US = 5000, 1000
SECONDS_EACH = 2.5  # of device time for each tenant: a kernel of 10 ms is 0.4 % of it
COST_SECONDS = 3
NEWCOMER_SECONDS = 16
DEPTHS = {TINY_US: 64, SHORT_US: 64, RESTING_US: 4, LONG_US: 2, BUSY_US: 2}
READY_SECONDS = 60
QUOTA_MIXES = 1000
QUOTA_CLIENTS = 3
QUOTA_BYTES = 1 << 30  # beside what the clients' contexts take
OUT_OF_MEMORY = 2


def choose_driver():
    """The driver that is measured."""
    named = os.environ.get("CAUSEWAY_BENCH_DRIVER") or measure.system_driver()
    return str(daemons.SOFTGPU) if not named or named == "softgpu" else named


class Host:
    """causeway-cudad with one tenant for each weight, and their programs."""

    def __init__(self, bench, weights, turns=True, memory=0):
        self.load = bench.program("bench/share_load")
        tenants = ", ".join(
            f'{{ name = "t{i}"; users = [{FIRST_UID + i}]; weight = {weight}; memory = {memory}L; }}'
            for i, weight in enumerate(weights))
        self.cudad = daemons.Cudad(driver=choose_driver(), settings=(
            f'socket_mode = "666"; turns = {str(turns).lower()}; '
            + os.environ.get("CAUSEWAY_BENCH_SETTINGS", "")))
        self.cudad.config.write_text(self.cudad.config.read_text() + f"tenants = ( {tenants} );\n")
        self.cudad.folder.chmod(0o755)
        self.cudad.client_config.write_text("")

    def __enter__(self):
        self.cudad.start()
        return self

    def __exit__(self, *end):
        self.cudad.__exit__(*end)

    def start(self, tenant, words):
        uid = FIRST_UID + tenant
        process = self.cudad.start_client("ring", words, stdin=subprocess.PIPE,
                                          stdout=subprocess.PIPE, user=uid, group=uid,
                                          extra_groups=[])
        return process

    def start_loads(self, loads, seconds, kind="run"):
        """[(tenant, kernel's length, depth, gap)] at once; the processes, begin and end."""
        processes = [self.start(tenant, [self.load, kind, f"{length:.0f}", depth, gap])
                     for tenant, length, depth, gap in loads]
        for process in processes:
            for line in process.stdout:
                if line == "ready\n":
                    break
            else:
                raise measure.Failed(f"a tenant's program did not start: {self.cudad.log()}")
        begin = time.monotonic() + 0.3
        end = begin + seconds
        for process in processes:
            process.stdin.write(f"{begin} {end}\n")
            process.stdin.flush()
        return processes, begin, end

    def accounted(self, column):
        """A column of the table of tenants."""
        (table,) = [t for t in self.cudad.status()["tables"] if t["name"] == "tenant"]
        names = [each["name"] for each in table["columns"]]
        return {row[0]: row[names.index(column)] for row in table["rows"]}


def calibrate(bench):
    """Iterations of a microsecond, on the device directly; and the device's name."""
    program = bench.program("bench/share_load")
    folder = str(pathlib.Path(choose_driver()).parent)
    done = daemons.run_program([program, "calibrate", "1000"], {"LD_LIBRARY_PATH": folder})
    if done.returncode:
        raise measure.Failed(done.stderr)
    lines = done.stdout.splitlines()
    return float(lines[-1]) / 1000, lines[0]


def read(process):
    line = ""
    for line in process.stdout:
        if line.startswith("{"):
            break
    if process.wait(60) or not line.startswith("{"):
        raise measure.Failed("a tenant's program failed")
    return json.loads(line)


def busy(host, iterations, kernels_us, seconds):
    """All tenants at once, each with kernels of its own length; what each got, and the time.

    Kernels count; without iterations of a microsecond they wait by the device's clock."""
    processes, begin, end = host.start_loads(
        [(i, us * (iterations or 1000), DEPTHS[us], 0) for i, us in enumerate(kernels_us)],
        seconds, "run" if iterations else "rest")
    time.sleep(begin + 0.3 - time.monotonic())
    before, at = host.accounted("device"), time.monotonic()
    time.sleep(end - 0.1 - time.monotonic())
    after, until = host.accounted("device"), time.monotonic()
    results = [read(process) for process in processes]
    device = [after[f"t{i}"] - before[f"t{i}"] for i in range(len(kernels_us))]
    work = [result["launches"] * us / 1e6 for result, us in zip(results, kernels_us)]
    return device, work, until - at


def share_error(got, weights):
    """The furthest that a tenant is from its due, as part of its due."""
    due = [sum(got) * weight / sum(weights) for weight in weights]
    return max(abs(g - d) / d for g, d in zip(got, due))


def unlike(count):
    return [LONG_US if i % 2 else SHORT_US for i in range(count)]


def shares(bench, iterations):
    result = {}
    device_errors, work_errors = [], []
    for count in (2, 4, 8):
        bench.progress(f"{count} equal tenants, kernels of {SHORT_US} and {LONG_US} us")
        with Host(bench, [1] * count) as host:
            device, work, seconds = busy(host, iterations, unlike(count), SECONDS_EACH * count)
        device_errors.append(share_error(device, [1] * count))
        work_errors.append(share_error(work, [1] * count))
        result[f"share_error_{count}"] = device_errors[-1]
        result[f"device_busy_{count}"] = sum(device) / seconds
    result["share_error_max"] = max(device_errors)
    result["share_error_by_work_max"] = max(work_errors)
    errors = []
    for weights in ([3, 1], [8, 4, 2, 1]):
        bench.progress(f"weights {':'.join(map(str, weights))}")
        with Host(bench, weights) as host:
            device, _, _ = busy(host, iterations, unlike(len(weights)),
                                SECONDS_EACH * sum(weights))
        errors.append(share_error(device, weights))
        result[f"weighted_error_{'_'.join(map(str, weights))}"] = errors[-1]
    result["weighted_error_max"] = max(errors)
    return result


def rate(bench, iterations, kernels_us, turns=True):
    """Work done per second by all together, in seconds of kernels."""
    with Host(bench, [1] * len(kernels_us), turns) as host:
        _, work, _ = busy(host, iterations, kernels_us, COST_SECONDS)
    return sum(work) / COST_SECONDS


def costs(bench, iterations):
    """The same load with and without turns, and of one tenant and of several, in turn.

    softgpu takes the cores that the programs run on. There the same is measured with kernels that
    wait (..._resting), whose device is mostly out of the way: what is left is what turns cost.
    """
    figures = collections.defaultdict(list)
    for index in range(bench.rounds):
        bench.progress(f"alone with and without turns, four together: {index + 1} of {bench.rounds}")
        kinds = {"": (iterations, SHORT_US)}
        if choose_driver() == str(daemons.SOFTGPU):
            kinds["_resting"] = (None, RESTING_US)
        for kind, (unit, length_us) in kinds.items():
            alone = rate(bench, unit, [length_us])
            figures["overhead_alone" + kind].append(
                1 - alone / rate(bench, unit, [length_us], turns=False))
            figures["conservation" + kind].append(rate(bench, unit, [length_us] * 4) / alone)
        tiny = rate(bench, iterations, [TINY_US])
        figures["overhead_alone_5us"].append(
            1 - tiny / rate(bench, iterations, [TINY_US], turns=False))
    return {name: measure.Samples(values) for name, values in figures.items()}


def newcomer(bench, iterations):
    bench.progress(f"a newcomer beside seven busy tenants with kernels of {BUSY_US} us")
    loads = [(i, BUSY_US * iterations, DEPTHS[BUSY_US], 0) for i in range(7)]
    with Host(bench, [1] * 8) as host:
        processes, begin, end = host.start_loads(loads, NEWCOMER_SECONDS)
        time.sleep(max(0, begin - time.monotonic()))
        comes = host.start(7, [host.load, "run", f"{NEWCOMER_US * iterations:.0f}", 1, 90000,
                               begin, end])
        result = read(comes)
        for process in processes:
            read(process)
    waits = sorted(max(0, took - NEWCOMER_US) / 1000 for took in result["took_us"])
    return {"newcomer_wait_p99_ms": waits[min(len(waits) - 1, int(len(waits) * 0.99))],
            "newcomer_wait_max_ms": waits[-1], "newcomer_wait_median_ms": waits[len(waits) // 2],
            "newcomer_waits": len(waits), "newcomer_first_launch_ms": result["first_us"] / 1000}


class Allocator:
    """A client that allocates as it is told (tests/allocator.py)."""

    def __init__(self, host):
        self.process = host.start(0, ["/usr/bin/python3", ALLOCATOR])
        if self.process.stdout.readline() != "ready\n":
            raise measure.Failed(f"an allocating client did not start: {host.cudad.log()}")

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise measure.Failed(f"an allocating client ended at: {words}")
        return line.split()

    def end(self):
        self.process.stdin.close()
        self.process.wait(20)


class Quota:
    """Random allocations by clients of one tenant; what was asked for, and what is beside it.

    What the driver takes unasked (contexts, code) counts too, and may grow when a client uses
    something for the first time. It is read before and behind each allocation: what was granted
    must fit at one of the two moments, what was refused must not fit at one of them.
    """

    def __init__(self, host, limit):
        self.host, self.limit = host, limit
        self.clients = [Allocator(host) for _ in range(QUOTA_CLIENTS)]
        self.ways = self.clients[0].ask("ways")
        self.held = []  # (client, number, bytes)
        self.granted = self.above = self.refused = 0

    def overhead(self):
        return self.host.accounted("overhead")["t0"]

    def asked(self):
        return sum(block[2] for block in self.held)

    def allocate(self, client, way, count):
        before = self.overhead()
        result, number, charged = map(int, client.ask("alloc", way, count))
        if result not in (0, OUT_OF_MEMORY):
            raise measure.Failed(f"{way} says {result}")
        fits = [self.asked() + charged + overhead <= self.limit
                for overhead in (before, self.overhead())]
        self.granted += not result
        self.above += not result and not any(fits)
        self.refused += bool(result) and all(fits)
        if not result:
            self.held.append((client, number, charged))

    def free(self, which):
        client, number, _ = self.held.pop(which)
        client.ask("free", number)

    def info_exact(self):
        """Whether what is left of the quota is what must be."""
        # A program goes on before its free is done: each client's answer comes behind its own.
        left = int([client.ask("info")[0] for client in self.clients][-1])
        return left == self.limit - self.overhead() - self.asked()


def quota(bench):
    """Random allocations by three clients of one tenant, in every way that the driver has."""
    bench.progress(f"{QUOTA_MIXES} random allocations in all ways against a quota")
    chance = random.Random(9)
    with Host(bench, [1]) as host:
        client = Allocator(host)
        client_overhead = host.accounted("overhead")["t0"]
        client.end()
    limit = QUOTA_CLIENTS * client_overhead + QUOTA_BYTES
    with Host(bench, [1], memory=limit) as host:
        mixes = Quota(host, limit)
        for _ in range(QUOTA_MIXES):
            if mixes.held and chance.random() < 0.4:
                mixes.free(chance.randrange(len(mixes.held)))
                continue
            mixes.allocate(chance.choice(mixes.clients), chance.choice(mixes.ways),
                           chance.choice((4096, 65536, 1 << 20, 2 << 20)) * chance.randrange(1, 33))
        exact, overhead = mixes.info_exact(), mixes.overhead()
        for client in mixes.clients:
            client.end()
    return {"quota_mixes": QUOTA_MIXES, "quota_ways": " ".join(mixes.ways),
            "quota_granted": mixes.granted, "quota_above": mixes.above,
            "quota_refused_below": mixes.refused, "quota_info_exact": str(exact),
            "quota_client_overhead_mib": client_overhead / (1 << 20),
            "quota_overhead_mib": overhead / (1 << 20)}


def part(bench, results, name, measured):
    """One part; one that fails is reported as such and does not lose the others."""
    try:
        results[name] = measured()
    except (measure.Failed, daemons.DaemonError, OSError, ValueError) as failure:
        bench.progress(f"{name}: {failure}")
        results[name] = measure.Skipped(f"failed: {failure}")


def run(bench):
    if os.geteuid():
        raise measure.Failed("needs root: each tenant is a user of its own")
    for folder in [daemons.BUILD, *daemons.BUILD.parents]:
        if not pathlib.Path(folder).stat().st_mode & 0o1:
            raise measure.Failed(f"other users cannot read {folder}, where the programs are")
    iterations, device = calibrate(bench)
    bench.progress(f"{choose_driver()}: {device}, {iterations:.0f} iterations a microsecond")
    results = {"device": {"name": device}}
    part(bench, results, "shares", lambda: shares(bench, iterations))
    part(bench, results, "costs", lambda: costs(bench, iterations))
    part(bench, results, "newcomer", lambda: newcomer(bench, iterations))
    part(bench, results, "quota", lambda: quota(bench))
    return results

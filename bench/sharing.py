# SPDX-License-Identifier: Apache-2.0
"""Tenants on one device: shares by device time, weights, newcomers, and what turns cost."""
import json
import os
import pathlib
import subprocess
import time

import daemons
import measure

FIRST_UID = 61000  # one user for each tenant; no such user need exist
SHORT_US, LONG_US, NEWCOMER_US = 100, 10000, 1000
BUSY_US = 5000
SECONDS = 8
DEPTHS = {SHORT_US: 64, LONG_US: 2, BUSY_US: 2}


class Host:
    """causeway-cudad with one tenant for each weight, and their programs."""

    def __init__(self, bench, weights, turns=True, priorities=None):
        self.load = bench.program("bench/share_load")
        priorities = priorities or [0] * len(weights)
        tenants = ", ".join(
            f'{{ name = "t{i}"; users = [{FIRST_UID + i}]; weight = {weight}; priority = {priority}; }}'
            for i, (weight, priority) in enumerate(zip(weights, priorities)))
        self.cudad = daemons.Cudad(settings=f'socket_mode = "666"; turns = {str(turns).lower()};')
        self.cudad.config.write_text(self.cudad.config.read_text() + f"tenants = ( {tenants} );\n")
        self.cudad.folder.chmod(0o755)
        self.cudad.client_config.write_text("")

    def __enter__(self):
        self.cudad.start()
        return self

    def __exit__(self, *end):
        self.cudad.__exit__(*end)

    def start(self, tenant, *words):
        uid = FIRST_UID + tenant
        return self.cudad.start_client("ring", [self.load, *words], stdout=subprocess.PIPE,
                                       user=uid, group=uid, extra_groups=[])

    def device_seconds(self):
        """Device time of each tenant as accounted."""
        (table,) = [t for t in self.cudad.status()["tables"] if t["name"] == "tenant"]
        names = [column["name"] for column in table["columns"]]
        return {row[0]: row[names.index("device")] for row in table["rows"]}


def calibrate(bench):
    """Iterations of a microsecond, on the device directly."""
    program = bench.program("bench/share_load")
    done = daemons.run_natively([program, "calibrate", "1000"])
    if done.returncode:
        raise measure.Failed(done.stderr)
    return float(done.stdout.split()[-1]) / 1000


def read(process):
    line = ""
    for line in process.stdout:
        if line.startswith("{"):
            break
    if process.wait(60) or not line.startswith("{"):
        raise measure.Failed("a tenant's program failed")
    return json.loads(line)


def busy(host, iterations, kernels_us, seconds=SECONDS):
    """All tenants at once, each with kernels of its own length; what each got, and the time."""
    begin = time.monotonic() + 1.5
    end = begin + seconds
    processes = [host.start(i, "run", f"{us * iterations:.0f}", DEPTHS[us], 0, begin, end)
                 for i, us in enumerate(kernels_us)]
    time.sleep(begin + 0.5 - time.monotonic())
    before, at = host.device_seconds(), time.monotonic()
    time.sleep(end - 0.2 - time.monotonic())
    after, until = host.device_seconds(), time.monotonic()
    results = [read(process) for process in processes]
    device = [after[f"t{i}"] - before[f"t{i}"] for i in range(len(kernels_us))]
    work = [result["launches"] * us / 1e6 for result, us in zip(results, kernels_us)]
    return device, work, until - at


def share_error(got, weights):
    """The furthest that a tenant is from its due, as part of its due."""
    due = [sum(got) * weight / sum(weights) for weight in weights]
    return max(abs(g - d) / d for g, d in zip(got, due))


def shares(bench, iterations):
    result = {}
    device_errors, work_errors = [], []
    for count in (2, 4, 8):
        bench.progress(f"{count} equal tenants, kernels of {SHORT_US} and {LONG_US} us")
        with Host(bench, [1] * count) as host:
            device, work, seconds = busy(host, iterations,
                                         [LONG_US if i % 2 else SHORT_US for i in range(count)])
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
            device, _, _ = busy(host, iterations,
                                [LONG_US if i % 2 else SHORT_US for i in range(len(weights))])
        errors.append(share_error(device, weights))
    result["weighted_error_max"] = max(errors)
    return result


def rate(bench, iterations, kernels_us, turns=True):
    """Work done per second by all together, in seconds of kernels."""
    with Host(bench, [1] * len(kernels_us), turns) as host:
        _, work, _ = busy(host, iterations, kernels_us, 3)
    return sum(work) / 3


def costs(bench, iterations):
    """The same load with and without turns, and of one tenant and of several, in turn."""
    alone, without, together = [], [], []
    for index in range(bench.rounds):
        bench.progress(f"alone with and without turns, four together: {index + 1} of {bench.rounds}")
        alone.append(rate(bench, iterations, [SHORT_US]))
        without.append(rate(bench, iterations, [SHORT_US], turns=False))
        together.append(rate(bench, iterations, [SHORT_US] * 4))
    return {"overhead_alone": measure.Samples([1 - a / w for a, w in zip(alone, without)]),
            "conservation": measure.Samples([t / a for t, a in zip(together, alone)])}


def newcomer(bench, iterations):
    bench.progress(f"a newcomer beside seven busy tenants with kernels of {BUSY_US} us")
    begin = time.monotonic() + 1.5
    end = begin + 2 * SECONDS
    with Host(bench, [1] * 8) as host:
        processes = [host.start(i, "run", f"{BUSY_US * iterations:.0f}", DEPTHS[BUSY_US], 0, begin, end)
                     for i in range(7)]
        last = host.start(7, "run", f"{NEWCOMER_US * iterations:.0f}", 1, 90000, begin, end)
        waits = sorted(max(0, took - NEWCOMER_US) / 1000 for took in read(last)["took_us"])
        for process in processes:
            read(process)
    return {"newcomer_wait_p99_ms": waits[min(len(waits) - 1, int(len(waits) * 0.99))],
            "newcomer_wait_median_ms": waits[len(waits) // 2], "newcomer_waits": len(waits)}


def run(bench):
    if os.geteuid():
        raise measure.Failed("needs root: each tenant is a user of its own")
    for folder in [daemons.BUILD, *daemons.BUILD.parents]:
        if not pathlib.Path(folder).stat().st_mode & 0o1:
            raise measure.Failed(f"other users cannot read {folder}, where the programs are")
    iterations = calibrate(bench)
    return {"shares": shares(bench, iterations), "costs": costs(bench, iterations),
            "newcomer": newcomer(bench, iterations)}

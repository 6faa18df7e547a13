# SPDX-License-Identifier: Apache-2.0
"""The software GPU: lane operations per second and core, and against compiled loops of the CPU."""
import json
import os
import re

import daemons
import measure

# As in softgpu_loops.c.
EDGE = 512
ELEMENTS = 1 << 24
BLOCKS, THREADS = 1024, 256


def loop_instructions(kernel):
    """How many PTX instructions the loop of a kernel has, from its label to the branch back."""
    text = (daemons.ROOT / "tests" / "programs" / "driver_kernels.ptx").read_text()
    body = re.search(rf"\.entry {kernel}\(.*?\n\{{(.*?)\n\}}", text, re.S).group(1)
    seen, instructions = {}, 0
    for line in (line.strip() for line in body.splitlines()):
        if label := re.match(r"(\$\w+):$", line):
            seen[label.group(1)] = instructions
        elif line and not line.startswith(("//", ".")):
            instructions += 1
            branch = re.search(r"\bbra\S*\s+(\$\w+);", line)
            if branch and branch.group(1) in seen:
                return instructions - seen[branch.group(1)]
    raise measure.Failed(f"the kernel {kernel} has no loop")


def run(bench):
    # Only what the loops execute is counted: every lane, each instruction once per turn.
    operations = {
        "matmul": EDGE * EDGE * (EDGE // 32) * loop_instructions("matmul"),
        "reduction": ELEMENTS * loop_instructions("reduction"),
    }
    cores = len(os.sched_getaffinity(0))
    program = bench.program("bench/softgpu_loops")
    _, output, _ = bench.run([program, bench.rounds, cores],
                             {"LD_LIBRARY_PATH": str(bench.build / "cuda" / "softgpu")})
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    results = {}
    for what, count in operations.items():
        device = measure.Samples([line["device_us"] for line in lines if line["what"] == what],
                                 "us")
        host = measure.Samples([line["host_us"] for line in lines if line["what"] == what], "us")
        results[what] = {
            "lane_gops_per_core": measure.Samples(
                [count / us / 1e3 / cores for us in device.values], "G/s"),
            # The same by processor time: what a core does while it is not taken by others.
            "lane_gops_per_processor_second": measure.Samples(
                [count / line["device_processor_us"] / 1e3
                 for line in lines if line["what"] == what], "G/s"),
            "device_us": device,
            "host_us": host,
            "time_ratio": measure.ratios(device, host),
            "lane_operations": count,
            "cores": cores,
        }
    return results

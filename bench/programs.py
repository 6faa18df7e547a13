# SPDX-License-Identifier: Apache-2.0
"""Whole run time of each test program: natively on softgpu, and remoted over each link."""
import daemons
import measure

PROGRAMS = ("vectoradd", "matmul", "reduction", "nbody", "driver_vectoradd", "driver_matmul",
            "driver_reduction")


def run(bench):
    native = {"LD_LIBRARY_PATH": str(bench.build / "cuda" / "softgpu")}
    results = {}
    with daemons.Cudad() as cudad:
        ways = {"native": native, **{link: cudad.environment(link) for link in daemons.LINKS}}
        for name in PROGRAMS:
            path = bench.build / "tests" / "programs" / name
            if not path.exists():
                results[name] = measure.Skipped("not built (no nvcc)")
                continue
            bench.progress(name)
            times = {way: [] for way in ways}
            for _ in range(bench.rounds):
                for way, environment in ways.items():
                    times[way].append(bench.run([path], environment)[0] * 1000)
            samples = {way: measure.Samples(values, "ms") for way, values in times.items()}
            results[name] = {f"{way}_ms": value for way, value in samples.items()}
            for link in daemons.LINKS:
                results[name][f"{link}_ratio"] = measure.ratios(samples[link], samples["native"])
    return results

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run unmodified CUDA software natively and through Causeway on a real GPU, and compare.

    tests/gpu/run.py [--link ring] [--only NAME ...] [--jobs 4] [--limit 120] [--logs FOLDER]

Every program of programs/ and of tests/programs prints lines that must be the same both ways, to
the bit. The table says for each: ok, differs, failed (remoted only), or why it was skipped. Exit
status: 0 all the same, 1 otherwise, 77 where there is no GPU or no library to test.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from daemons import CLIENT, Cudad  # noqa: E402

SKIP = 77
# Programs that want arguments: one line of the table each.
ARGUMENTS = {"torch_memory": (["expandable"], ["async"], ["plain"])}


def driver_path():
    """The real libcuda.so.1, or None."""
    folders = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    folders += ["/usr/local/nvidia/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"]
    for folder in folders:
        path = pathlib.Path(folder or "/nonexistent") / "libcuda.so.1"
        if path.exists():
            return path
    return None


class Case:
    """One program: its name and command, and what each way printed."""

    def __init__(self, name, command):
        self.name, self.command = name, command
        self.results = {}

    def run(self, way, environment, limit, logs):
        full = dict(os.environ, PYTHONPATH=f"{HERE}:{os.environ.get('PYTHONPATH', '')}",
                    CUBLAS_WORKSPACE_CONFIG=":4096:8", **environment)
        began = time.monotonic()
        stem = logs / f"{self.name}.{way}"
        if way != "native":
            full["CAUSEWAY_CUDA_LOG"] = f"{stem}.log"
        with open(f"{stem}.out", "w") as out, open(f"{stem}.err", "w") as err:
            process = subprocess.Popen(self.command, env=full, stdin=subprocess.DEVNULL,
                                       stdout=out, stderr=err, start_new_session=True, cwd=logs)
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                code = "time"
            finally:
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                process.wait()
        self.results[way] = (code, pathlib.Path(f"{stem}.out").read_text(),
                             time.monotonic() - began)

    def verdict(self):
        native, remote = self.results.get("native"), self.results["remote"]
        if native and native[0] == SKIP:
            return "skipped", native[1].strip()
        if native and native[0] != 0:
            return "native fails", f"exit {native[0]}"
        if remote[0] != (native[0] if native else 0):
            return "failed", f"exit {remote[0]}"
        if native and native[1] != remote[1]:
            ours, theirs = remote[1].splitlines(), native[1].splitlines()
            for a, b in zip(theirs, ours):
                if a != b:
                    return "differs", f"{a} | {b}"
            return "differs", "number of lines"
        return "ok", f"{len(remote[1].splitlines())} lines"


def cases(logs):
    """Every case of this folder; CUDA C++ programs with either runtime where nvcc is."""
    for path in sorted((HERE / "programs").glob("*.py")):
        for words in ARGUMENTS.get(path.stem, ([],)):
            yield Case("-".join([path.stem] + words), [sys.executable, str(path)] + words)
    compiler = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    if not os.path.exists(compiler):
        return
    sources = [p for folder in (HERE / "programs", HERE.parent / "programs")
               for p in sorted(folder.glob("*.cu")) if p.stem != "driver_kernels"]
    jobs = []
    for source in sources:
        for runtime in ("static", "shared"):
            program = logs / f"{source.stem}-{runtime}"
            command = [compiler, "-std=c++17", "-O2", f"-cudart={runtime}", "-arch=native",
                       "-o", str(program), str(source)]
            jobs.append((program, subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                                   stdout=subprocess.DEVNULL,
                                                   stderr=subprocess.STDOUT)))
    for program, job in jobs:
        job.wait()
        if program.exists():
            yield Case(program.name, [str(program)])


def main():
    parser = argparse.ArgumentParser(description="CUDA software, natively and remoted")
    parser.add_argument("--link", default="ring")
    parser.add_argument("--only", nargs="*", help="names, or beginnings of names")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--limit", type=float, default=120, help="seconds for each run")
    parser.add_argument("--logs", type=pathlib.Path, default=pathlib.Path("/tmp/causeway-gpu"))
    parser.add_argument("--no-native", action="store_true")
    arguments = parser.parse_args()
    driver = driver_path()
    if driver is None:
        print("skipped: no libcuda.so.1 of a real device on this machine")
        return SKIP
    arguments.logs = arguments.logs.resolve()
    arguments.logs.mkdir(parents=True, exist_ok=True)
    chosen = [c for c in cases(arguments.logs) if not arguments.only or
              any(c.name.startswith(word) for word in arguments.only)]
    libraries = os.environ.get("LD_LIBRARY_PATH", "")
    with Cudad(driver=driver) as cudad:
        remote = cudad.environment(arguments.link)
        remote["LD_LIBRARY_PATH"] = f"{CLIENT.parent}:{libraries}"

        def run(case):
            if not arguments.no_native:
                case.run("native", {}, arguments.limit, arguments.logs)
            case.run("remote", remote, arguments.limit, arguments.logs)
            verdict = case.verdict()
            times = " ".join(f"{way} {r[2]:.1f}s" for way, r in case.results.items())
            print(f"{case.name:28} {verdict[0]:12} {verdict[1]:50} {times}", flush=True)
            return verdict[0]

        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            verdicts = list(pool.map(run, chosen))
        (arguments.logs / "cudad.log").write_text(cudad.log())
    print(json.dumps({v: verdicts.count(v) for v in sorted(set(verdicts))}))
    return 0 if all(v in ("ok", "skipped") for v in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())

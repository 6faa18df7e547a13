# SPDX-License-Identifier: Apache-2.0
"""What card-offload and card-reduction share: the program offload on the host and in a guest."""
import os

import daemons
import measure
from testbed.errors import GuestError
from testbed.guest import Guest
from testbed.kbuild import module
from testbed.machines import KINDS as MACHINES

KINDS = {"qemu": "qemu-sid", "uml": "uml-sid"}
THREADS = sorted({1, os.cpu_count()})
ROUNDS_MAX = 3
# What the program tells of a pass, and what the ratio's name has for it.
COLUMNS = {"compute": "", "each_waited": "_each_waited", "with_transfers": "_pcie"}


class Sides:
    """One card, and the same program at it from the host and from a guest."""

    def __init__(self, bench, scifd, guest):
        self.bench, self.scifd, self.guest = bench, scifd, guest
        self.program, self.sink = bench.program("bench/offload"), bench.program("bench/offload_sink")

    def host(self, words):
        _, output, _ = self.bench.run([self.program, *words[:-2], self.sink, *words[-2:]],
                                      {"CAUSEWAY_SCIF_SOCKET": str(self.scifd.host)})
        return self.passes(output)

    def vm(self, words):
        result = self.guest.run(["offload", *words[:-2], "/root/offload_sink", *words[-2:]],
                                timeout=200)
        if result.status:
            raise measure.Failed(f"offload in the guest: {result.stdout.decode()}"
                                 f"{result.stderr.decode()}")
        return self.passes(result.stdout.decode())

    @staticmethod
    def passes(output):
        """Seconds of each pass, and what it says of the result."""
        lines = output.splitlines()
        return [[float(word) for word in line.split()] for line in lines[:-1]], lines[-1]


def seconds_of(bench, sides, kernel, size, threads, passes):
    """Seconds of each column, both sides in turn; the first pass of each run is not counted."""
    words = ["--time", "--threads", str(threads), "--passes", str(passes + 1), kernel, str(size)]
    seconds = {side: {column: [] for column in COLUMNS} for side in ("host", "vm")}
    for _ in range(min(bench.rounds, ROUNDS_MAX)):
        told = set()
        for side in seconds:
            measured, text = getattr(sides, side)(words)
            told.add(text)
            for at, column in enumerate(COLUMNS):
                # The least of some passes: what else this machine does is not the VM's cost.
                seconds[side][column].append(min(one[at] for one in measured[1:]))
        if len(told) != 1:
            raise measure.Failed(f"{kernel}, size {size}: results differ: {told}")
    return {f"{side} {column}": measure.Samples(values, "s")
            for side, columns in seconds.items() for column, values in columns.items()}


def in_guest(bench, kind, runs):
    """{field: samples} of one kind of guest; @runs: kernel, size, passes of a run."""
    files = [bench.program("bench/offload"), bench.program("bench/offload_sink")]
    result = {}
    with daemons.Scifd(vms=["guest"]) as scifd, daemons.Card(scifd), \
            Guest(KINDS[kind], files=files, modules=[module("scif/guest", KINDS[kind])], cpus=1,
                  vhost_user=[f"45={scifd.guest_socket('guest')}"], memory_mib=512,
                  quiet=True) as guest:
        sides = Sides(bench, scifd, guest)
        for kernel, size, passes in runs:
            for threads in THREADS if size > 1 else THREADS[:1]:
                bench.progress(f"{kind}: {kernel}, size {size}, {threads} threads")
                seconds = seconds_of(bench, sides, kernel, size, threads, passes)
                name = f"{kernel}_s{size}" + ("" if threads == 1 else f"_{threads}threads")
                for column, field in COLUMNS.items():
                    result[f"{name}{field}_ratio"] = measure.ratios(seconds[f"host {column}"],
                                                                    seconds[f"vm {column}"])
                result[f"{name}_seconds"] = seconds
    return result


def compare(bench, runs, thesis):
    """The results of a benchmark: each kind of guest, and what the thesis has."""
    results = {}
    for kind in KINDS:
        reason = MACHINES[KINDS[kind]]().unusable() or (
            os.geteuid() and "only root can run causeway-card")
        if reason:
            results[kind] = measure.Skipped(str(reason))
            continue
        try:
            results[kind] = in_guest(bench, kind, runs)
        except GuestError as error:
            raise measure.Failed(f"{kind}: {error}") from None
    results["thesis"] = thesis
    return results

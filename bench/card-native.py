# SPDX-License-Identifier: Apache-2.0
"""dgemm on a software card through micnativeloadex: from a VM, against the same from the host.

Objects qemu and uml. Each figure is a quotient of whole run times (sending program and libraries
included) as a shell on either side sees them, host over VM, both taken in turn: 1 means that the VM costs
nothing. dgemm_ratio is that of
runs of at least a second; dgemm_ratio_by_run names size, repeats and threads. direct_ratio has the
program started on the host without a card instead. The card's cores are this host's: two threads are
two of them. Thesis (figures 5.5 to 5.7): near 1 once the run takes seconds.
"""
import os

import daemons
import measure
from testbed.errors import GuestError
from testbed.guest import Guest
from testbed.kbuild import module
from testbed.machines import KINDS as MACHINES

KINDS = {"qemu": "qemu-sid", "uml": "uml-sid"}
OPENBLAS = "/usr/lib/x86_64-linux-gnu/openblas-pthread"
# N and repeats: a run that is mostly sending, and runs of seconds.
RUNS = ((512, 1), (2048, 12))
THREADS = sorted({1, os.cpu_count()})
LONG_S = 1.0
TIMED = "begin=$EPOCHREALTIME; {}; status=$?; echo $begin $EPOCHREALTIME; exit $status"


class Places:
    """One card; the host, a guest, and the host without the card."""

    def __init__(self, bench, scifd, card, guest):
        self.bench, self.scifd, self.card, self.guest = bench, scifd, card, guest
        self.program = bench.program("bench/card_dgemm")
        self.loader = bench.program("scif/card/micnativeloadex")

    def host(self, words):
        command = f"{self.loader} {self.program} -a '{' '.join(words)}'"
        return self.timed(self.bench.run(["bash", "-c", TIMED.format(command)],
                                         {"CAUSEWAY_SCIF_SOCKET": str(self.scifd.host),
                                          "SINK_LD_LIBRARY_PATH": OPENBLAS})[1])

    def direct(self, words):
        command = f"{self.program} {' '.join(words)}"
        return self.timed(self.bench.run(["bash", "-c", TIMED.format(command)],
                                         {"OPENBLAS_NUM_THREADS": words[2]})[1])

    def vm(self, words):
        command = f"micnativeloadex card_dgemm -a '{' '.join(words)}'"
        result = self.guest.run(["sh", "-c", TIMED.format(command)], timeout=250,
                                env={"SINK_LD_LIBRARY_PATH": "/opt/openblas"})
        if result.status:
            raise measure.Failed(f"micnativeloadex in the guest: {result.stderr.decode()}")
        return self.timed(result.stdout.decode())

    @staticmethod
    def timed(output):
        """Seconds, and what the program says of its result."""
        told, times = output.splitlines()[-2:]
        begin, end = (float(word) for word in times.split())
        return end - begin, told.split()[-1]


def one_run(bench, places, size, repeats, threads):
    """Seconds of the three ways, in turn; their results must be the same."""
    words = [str(size), str(repeats), str(threads)]
    seconds = {"host": [], "vm": [], "direct": []}
    for _ in range(bench.rounds):
        sums = set()
        for way, values in seconds.items():
            took, total = getattr(places, way)(words)
            values.append(took)
            sums.add(total)
        if len(sums) != 1:
            raise measure.Failed(f"dgemm {words}: results differ: {sums}")
    return {way: measure.Samples(values, "s") for way, values in seconds.items()}


def in_guest(bench, kind):
    loader = bench.program("scif/card/micnativeloadex")
    files = [loader, bench.program("bench/card_dgemm"),
             f"{os.path.realpath(OPENBLAS + '/libopenblas.so.0')}:/opt/openblas/libopenblas.so.0"]
    result = {"dgemm_ratio_by_run": {}, "seconds": {}}
    long_runs, direct = [], []
    with daemons.Scifd(vms=["guest"]) as scifd, daemons.Card(scifd) as card, \
            Guest(KINDS[kind], files=files, modules=[module("scif/guest", KINDS[kind])], cpus=1,
                  vhost_user=[f"45={scifd.guest_socket('guest')}"], memory_mib=512,
                  quiet=True) as guest:
        places = Places(bench, scifd, card, guest)
        for size, repeats in RUNS:
            for threads in THREADS:
                name = f"{size}x{repeats}, {threads} thread{'s' if threads > 1 else ''}"
                bench.progress(f"{kind}: {name}")
                seconds = one_run(bench, places, size, repeats, threads)
                ratio = measure.ratios(seconds["host"], seconds["vm"])
                result["dgemm_ratio_by_run"][name] = round(ratio.median, 3)
                result["seconds"][name] = {way: round(samples.median, 3)
                                           for way, samples in seconds.items()}
                if seconds["host"].median >= LONG_S:
                    long_runs += ratio.values
                    direct += measure.ratios(seconds["direct"], seconds["vm"]).values
    if long_runs:
        result["dgemm_ratio"] = measure.Samples(long_runs)
        result["direct_ratio"] = measure.Samples(direct)
    return result


def run(bench):
    if not (bench.build / "bench" / "card_dgemm").exists():
        return {kind: measure.Skipped("libopenblas-dev was not there at the build") for kind in KINDS}
    if os.geteuid():
        return {kind: measure.Skipped("only root can run causeway-card") for kind in KINDS}
    results = {}
    for kind in KINDS:
        reason = MACHINES[KINDS[kind]]().unusable()
        if reason:
            results[kind] = measure.Skipped(str(reason))
            continue
        try:
            results[kind] = in_guest(bench, kind)
        except GuestError as error:
            raise measure.Failed(f"{kind}: {error}") from None
    results["thesis"] = {"dgemm_ratio": "near 1 (runs of seconds; 56, 112 and 224 threads)"}
    return results

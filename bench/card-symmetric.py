# SPDX-License-Identifier: Apache-2.0
"""Symmetric mode: what messages between MPI ranks take, by the places of the two ranks.

Objects host_card, vm_card and vm_vm: MPICH over causeway-scifnet, in the pattern of the OSU
micro-benchmarks (tests/card/mpi_osu.c). latency_us is half a round trip of one byte,
latency_us_by_bytes of more; bandwidth_mb_s is one way, of the largest message; latency and bandwidth
are curves over the size. VMs are User-Mode Linux with one processor, and a rank spins while it waits.
"""
import contextlib
import os
import subprocess
import time

import daemons
import measure
import mpi_site
from testbed.errors import GuestError
from testbed.guest import Guest
from testbed.kbuild import module
from testbed.machines import KINDS

KIND = "uml-sid"
WORDS = "262144 50"
SIZES = [8 ** exponent for exponent in range(7)]
ROUNDS_MAX = 3
PATIENCE_S = 100
ENDING = ["killall", "-q", "-9", "mpiexec.mpich", "hydra_pmi_proxy", "mpi_osu", "micnativeloadex"]


def parse(output):
    """{bytes: (microseconds, MB/s)} of the lines that are whole."""
    lines = [line.split() for line in output.splitlines(keepends=True) if line.endswith("\n")]
    return {int(words[0]): (float(words[1]), float(words[2])) for words in lines if len(words) == 3}


def on_host(scifd):
    """Ranks on the host, in a network of its own, and on the card."""
    script = mpi_site.job("mpi_osu", WORDS, [(0, mpi_site.PROGRAMS), (1, "/home")],
                          folder=mpi_site.PROGRAMS, launcher=mpi_site.LAUNCHER)
    path = f"{mpi_site.LOADER.parent}:{os.environ['PATH']}"
    job = scifd.start_program(
        scifd.host, ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c",
                     # MPI looks for its interface in /sys.
                     f"mount -t sysfs sysfs /sys; ip link set lo up; {mpi_site.NET} & {script}"],
        {"PATH": path}, stdout=subprocess.PIPE)
    told, deadline = "", time.monotonic() + PATIENCE_S
    try:
        while len(parse(told)) < len(SIZES):
            line = job.stdout.readline()
            if not line or time.monotonic() > deadline:
                raise measure.Failed(f"ranks on host and card: {told}")
            told += line
    finally:  # MPICH may hang at its end (tests/vm/test_card.py)
        job.kill()
        job.communicate()
    return parse(told)


def in_guest(guests, places):
    """Ranks at two places, of which the first is the first guest."""
    job = guests[0].start(["sh", "-c", mpi_site.job("mpi_osu", WORDS, places)])
    job.expect(rf"(?m)^{SIZES[-1]} \S+ \S+\n".encode(), PATIENCE_S)
    told = parse(bytes(job.stdout).decode())
    for guest in guests:
        guest.run(ENDING)
    job.wait(PATIENCE_S)
    return told


def fields_of(rounds):
    latency = {size: measure.Samples([told[size][0] for told in rounds], "us") for size in SIZES}
    speed = {size: measure.Samples([told[size][1] for told in rounds], "MB/s") for size in SIZES}
    return {"latency_us": latency[1], "bandwidth_mb_s": speed[SIZES[-1]],
            "latency_us_by_bytes": {str(size): round(latency[size].median, 1) for size in SIZES},
            "latency": measure.Curves({"us": [[size, latency[size].median] for size in SIZES]},
                                      "bytes", "us"),
            "bandwidth": measure.Curves({"MB/s": [[size, speed[size].median] for size in SIZES]},
                                        "bytes", "MB/s")}


def run(bench):
    reason = mpi_site.unusable("mpi_osu") or KINDS[KIND]().unusable() or (
        os.geteuid() and "only root can run causeway-card")
    if reason:
        return {name: measure.Skipped(str(reason)) for name in ("host_card", "vm_card", "vm_vm")}
    told = {"host_card": [], "vm_card": [], "vm_vm": []}
    with contextlib.ExitStack() as stack:
        scifd = stack.enter_context(daemons.Scifd(vms=["a,sees=mic0+b", "b,sees=mic0+a"]))
        stack.enter_context(daemons.Card(scifd, mpi_site.CARD))
        guests = [stack.enter_context(
            Guest(KIND, files=mpi_site.guest_files("mpi_osu"), quiet=True, cpus=1, memory_mib=512,
                  modules=[module("scif/guest", KIND), "tun"],
                  vhost_user=[f"45={scifd.guest_socket(name)}"])) for name in ("a", "b")]
        try:
            for node, guest in enumerate(guests, 17):
                mpi_site.serve(guest, node)
            for number in range(min(bench.rounds, ROUNDS_MAX)):
                bench.progress(f"round {number + 1}")
                told["host_card"].append(on_host(scifd))
                told["vm_card"].append(in_guest(guests, [(17, "/root"), (1, "/home")]))
                told["vm_vm"].append(in_guest(guests, [(17, "/root"), (18, "/root")]))
        except GuestError as error:
            raise measure.Failed(str(error)) from None
    return {name: fields_of(rounds) for name, rounds in told.items()}

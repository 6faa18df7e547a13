#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Soak of the CUDA call on softgpu: clients come, go and die; the daemon serves on as on its first day.

usage: [CAUSEWAY_BUILD=FOLDER] tests/soak_cuda.py [--seconds N] [--clients N] [--seed N]

So many clients at a time, over all links. Of each ten, six run a program to its end, whose output
must be that of a run without Causeway; two are killed in the middle; one's worker is killed, after
which it must end with an error code in time; one ends with a kernel at a wrong address, which must
be its own affair. At the end no worker, no socket and no descriptor is left, and the supervisor
has not grown. Half an hour with 16 clients is the long form; tests/conformance runs a short one.
"""
import argparse
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent)]

import daemons  # noqa: E402  (found through the path set above)

CLIENT = daemons.PROGRAMS / "driver_client"
PROGRAMS = ["driver_vectoradd", "driver_matmul", "driver_reduction", "driver_copies"]
CUDA_PROGRAMS = ["vectoradd", "histogram", "printf", "threads", "errors", "nbody"]
END_SECONDS = 180    # a program's whole run beside so many others
NOTICE_SECONDS = 60  # for a client to notice that its worker is gone, on a machine this busy
FATES = ["run"] * 6 + ["killed"] * 2 + ["orphaned"] + ["faults"]


class SoakFailed(Exception):
    """What did not hold; the text says of whom."""


def resident_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


class Client:
    """One client process with its fate."""

    def __init__(self, soak):
        choice = soak.random.choice
        self.fate = choice(FATES)
        # Whose worker it is, the daemon knows of clients of this host's sockets alone.
        self.link = choice(daemons.LINKS if self.fate != "orphaned" else ("unix", "ring"))
        self.start = time.monotonic()
        self.act_at = None
        if self.fate == "run":
            self.program = choice(soak.programs)
            command = [daemons.PROGRAMS / self.program]
        else:
            self.program = "driver_client " + (
                "fault" if self.fate == "faults" else choice(["copy", "hold"]))
            command = [CLIENT, self.program.split()[1]]
            self.act_at = self.start + soak.random.uniform(0.05, 1.5)
        self.limit = self.start + END_SECONDS
        self.process = soak.cudad.start_client(self.link, command, stdout=subprocess.PIPE,
                                               stderr=subprocess.PIPE)

    def describe(self):
        return f"{self.program} over {self.link}, {self.fate}"

    def act(self, soak):
        """Its fate, when its time has come."""
        if self.act_at is None or time.monotonic() < self.act_at:
            return
        if self.fate == "killed":
            self.act_at = None
            self.process.kill()
        elif self.fate == "orphaned":
            worker = soak.worker_of(self.process.pid)
            if worker:
                self.act_at = None
                self.limit = time.monotonic() + NOTICE_SECONDS
                try:
                    os.kill(worker, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def ended(self, soak):
        """Whether it is over; SoakFailed where it ended otherwise than it should."""
        if self.process.poll() is None:
            if time.monotonic() > self.limit:
                self.process.kill()
                raise SoakFailed(f"{self.describe()}: hangs")
            return False
        output, error = self.process.communicate()
        status = self.process.returncode
        good = True
        if self.fate == "run":
            good = status == 0 and output == soak.expected[self.program]
        elif self.fate == "orphaned":
            # Killed before it had begun, its cuInit fails instead.
            good = ("later calls fail too" in output if status == 0 else "CUDA_ERROR_" in error)
        elif self.fate == "faults":
            good = status == 0 and "CUDA_ERROR_ILLEGAL_ADDRESS" in output
        if not good:
            raise SoakFailed(f"{self.describe()}: status {status}: {output[-500:]} {error[-500:]}")
        return True


class Soak:
    """The clients that are there, and what became of those that were."""

    def __init__(self, cudad, clients, seed):
        self.cudad = cudad
        self.random = random.Random(seed)
        self.count = clients
        self.programs = [name for name in PROGRAMS + CUDA_PROGRAMS
                         if (daemons.PROGRAMS / name).exists()]
        self.expected = {name: self.natively(name) for name in self.programs}
        self.clients = []
        self.fates = dict.fromkeys(FATES, 0)

    @staticmethod
    def natively(name):
        done = daemons.run_natively([daemons.PROGRAMS / name])
        if done.returncode:
            raise SoakFailed(f"{name} fails without Causeway: {done.stderr}")
        return done.stdout

    def worker_of(self, pid):
        for client in self.cudad.status()["clients"]:
            if client["identity"].endswith(f" pid {pid}"):
                return client["worker"]
        return None

    def round(self, more):
        """Look after everyone once; start new ones while @more."""
        for client in list(self.clients):
            client.act(self)
            if client.ended(self):
                self.clients.remove(client)
                self.fates[client.fate] += 1
        while more and len(self.clients) < self.count:
            self.clients.append(Client(self))
        time.sleep(0.02)

    def run(self, seconds):
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                self.round(True)
            while self.clients:
                self.round(False)
        except SoakFailed as failure:
            print(f"soak: failed: {failure}", file=sys.stderr, flush=True)
            raise
        finally:
            for client in self.clients:
                client.process.kill()
                client.process.communicate()


def check_daemon(cudad, files_before, kib_before):
    """The supervisor after all clients are gone."""
    daemons.wait_until(lambda: not cudad.workers(), 10, "no worker is left")
    daemons.wait_until(lambda: not cudad.status()["clients"], 10, "no client is listed")
    daemons.wait_until(lambda: len(os.listdir(f"/proc/{cudad.pid}/fd")) <= files_before, 10,
                       f"no more than {files_before} descriptors")
    kib = resident_kib(cudad.pid)
    # AddressSanitizer keeps what was freed for a while.
    if kib > kib_before + 2048 and "CAUSEWAY_PRELOAD" not in os.environ:
        raise SoakFailed(f"the supervisor has grown from {kib_before} to {kib} KiB")
    return kib


def soak(seconds, clients, seed):
    """Returns what to print; SoakFailed or AssertionError where something did not hold."""
    with daemons.Cudad() as cudad:
        state = Soak(cudad, clients, seed)
        warm = cudad.run("ring", [CLIENT, "launch"])
        if warm.returncode:
            raise SoakFailed(f"the first client fails: {warm.stderr}")
        daemons.wait_until(lambda: not cudad.workers(), 10, "no worker is left")
        files, kib = len(os.listdir(f"/proc/{cudad.pid}/fd")), resident_kib(cudad.pid)
        state.run(seconds)
        kib_after = check_daemon(cudad, files, kib)
        return (f"{sum(state.fates.values())} clients: " +
                ", ".join(f"{count} {fate}" for fate, count in state.fates.items()) +
                f"; supervisor {kib} KiB before, {kib_after} KiB after")


def main():
    parser = argparse.ArgumentParser(description="Soak of the CUDA call on softgpu.")
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print(f"soak: {arguments.clients} clients, {arguments.seconds:.0f} s, seed {arguments.seed}",
          flush=True)
    try:
        print(soak(arguments.seconds, arguments.clients, arguments.seed))
    except (SoakFailed, AssertionError) as failure:
        print(f"soak: failed: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

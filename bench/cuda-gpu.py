# SPDX-License-Identifier: Apache-2.0
"""CUDA on this machine's GPU through Causeway against the driver directly: copies, launches, PyTorch."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

import daemons
import measure
from testbed import cache
from testbed.errors import GuestError
from testbed.guest import Guest
from testbed.kbuild import module
from testbed.machines import KINDS

ROOT = pathlib.Path(__file__).resolve().parent.parent
HERE = pathlib.Path(__file__).resolve().parent
RUN_SECONDS = 240
SMALL_LINKS = ("ring", "unix", "tcp")
TORCH_LINKS = ("ring",)


def has_torch():
    """Whether this Python has PyTorch, without importing it here."""
    done = subprocess.run(["python3", "-c",
                           "import importlib.util as u; print(bool(u.find_spec('torch')))"],
                          capture_output=True, text=True, check=False)
    return done.stdout.strip() == "True"


class Place:
    """Where a program runs: natively, or as a client over a link."""

    def __init__(self, name, environment, counters=None):
        self.name = name
        self.environment = environment
        self.counters = counters

    def run(self, bench, command):
        """The last line of JSON that the program prints."""
        _, output, _ = bench.run(command, self.environment, RUN_SECONDS)
        lines = [line for line in output.splitlines() if line.startswith("{")]
        if not lines:
            raise measure.Failed(f"{command[0]} printed no figures ({self.name})")
        return json.loads(lines[-1])


def collect(bench, places, rounds, command):
    """Run the command @rounds times in each place in turn: {place: {figure: median of each run}}."""
    found = {place.name: {} for place in places}
    for number in range(rounds):
        for place in places:
            bench.progress(f"{pathlib.Path(str(command()[0])).name}, round {number + 1}: "
                           f"{place.name}")
            for key, value in place.run(bench, command()).items():
                if isinstance(value, list):
                    value = measure.Samples(value).median
                found[place.name].setdefault(key, []).append(value)
    return found


def ratio(client, native):
    return measure.Samples([c / n for c, n in zip(client, native)])


def difference(client, native, unit):
    return measure.Samples([c - n for c, n in zip(client, native)], unit)


def driver_figures(client, native):
    """The fields that cuda_gpu measures, of one link."""
    fields = {"matmul_total_ratio": ratio(client["matmul_total_ms"], native["matmul_total_ms"])}
    for kind, size in (("pageable", 34), ("pageable", 256), ("pinned", 256)):
        for way in ("h2d", "d2h"):
            name = f"{way}_{kind}_{size}"
            fields[f"{way}_{kind}_ratio_{size}"] = ratio(client[name], native[name])
    fields["launch_issue_ratio"] = ratio(client["launch_issue_us"], native["launch_issue_us"])
    fields["launch_sync_extra_us"] = difference(client["launch_sync_us"],
                                                native["launch_sync_us"], "us")
    for way in ("h2d", "d2h"):
        name = f"small_{way}_us"
        fields[f"small_copy_extra_us_{way}"] = difference(client[name], native[name], "us")
    return fields


def torch_figures(client, native):
    """The fields that cuda_gpu_torch.py measures, of one link."""
    fields = {}
    for name in native:
        if name.startswith("sgemm_"):
            fields["cublas_sgemm_ratio_" + name.split("_")[1]] = ratio(client[name], native[name])
    for size in ("small", "large"):
        name = f"{size}_step_ms"
        if name not in native:
            continue
        fields[f"torch_step_ratio_{size}"] = ratio(client[name], native[name])
        # A model whose native runs differ among themselves says nothing.
        losses = set(native[f"{size}_loss"])
        fields[f"torch_losses_identical_{size}"] = (
            str(losses == set(client[f"{size}_loss"])) if len(losses) == 1
            else "native runs differ")
        counters = client.get(f"{size}_counters")
        if counters:
            fields[f"torch_step_round_trips_{size}"] = counters[-1]["round_trips"]
            fields[f"torch_step_counters_{size}"] = counters[-1]
    fields["torch_import_to_first_result_extra_s"] = difference(
        client["import_to_first_result_s"], native["import_to_first_result_s"], "s")
    return fields


def as_samples(figures):
    """Raw medians of one place, for the record."""
    return {key: measure.Samples(values) if isinstance(values[0], (int, float)) else values[-1]
            for key, values in figures.items() if not isinstance(values[0], dict)}


def measure_links(bench, native, cudad, scale):
    program = bench.program("bench/cuda_gpu")
    places = [native] + [Place(link, cudad.environment(link)) for link in SMALL_LINKS]
    found = collect(bench, places, bench.rounds, lambda: [program, scale])
    results = {"native": as_samples(found["native"])}
    for link in SMALL_LINKS:
        results[link] = driver_figures(found[link], found["native"])
        results[f"{link} raw"] = as_samples(found[link])
    return results


def measure_torch(bench, native, cudad):
    counters = cudad.folder / "counters"
    places = [native]
    for link in TORCH_LINKS:
        environment = {**cudad.environment(link), "CAUSEWAY_CUDA_COUNTERS": str(counters)}
        places.append(Place(link, environment, counters))
    found = collect(bench, places, min(bench.rounds, 3),
                    lambda: ["python3", HERE / "cuda_gpu_torch.py", repr(time.time())])
    results = {"torch native": as_samples(found["native"])}
    for link in TORCH_LINKS:
        results[f"torch {link}"] = torch_figures(found[link], found["native"])
        results[f"torch {link} raw"] = as_samples(found[link])
    return results


class GuestPlace(Place):
    """A program of this machine's root folder inside a guest that has no device."""

    ENTER = ("mkdir -p /host && mount -t hostfs none /host && mount -t proc proc /host/proc && "
             "mount -t devtmpfs dev /host/dev && mount -t tmpfs tmp /host/dev/shm; "
             'exec chroot /host env "$@"')

    entered = set()  # guests whose root is mounted

    def __init__(self, name, guest, environment):
        super().__init__(name, environment)
        self.guest = guest

    def run(self, bench, command):
        words = [f"{name}={value}" for name, value in self.environment.items()]
        script = self.ENTER if self.guest not in self.entered else 'exec chroot /host env "$@"'
        self.entered.add(self.guest)
        done = self.guest.run(["sh", "-c", script, "sh", *words, *map(str, command)],
                              timeout=RUN_SECONDS)
        output = done.stdout.decode(errors="replace")
        lines = [line for line in output.splitlines() if line.startswith("{")]
        if done.status or not lines:
            raise measure.Failed(f"in the guest: {done.status} {output[-300:]} "
                                 f"{done.stderr.decode(errors='replace')[-600:]}")
        return json.loads(lines[-1])


# The link whose goals are to be held comes first, with medians; the other one is slow.
VM_LINKS = {"vm scif": ("scif", 3), "vm": ("vsock", 1)}


def measure_vm(bench, native, cudad, scifd, scale, with_torch):
    """The same from a User-Mode Linux guest over vsock and over scif, its root this machine's."""
    if (ROOT / "cache").exists():  # of a bundle
        os.environ.setdefault("CAUSEWAY_CACHE", str(ROOT / "cache"))
    reason = KINDS["uml-sid"]().unusable()
    if reason or not cache.present_version("uml-sid"):
        return {"vm": measure.Skipped(reason or "uml-sid is not in the cache of guests")}
    environment = {"LD_LIBRARY_PATH": str(daemons.CLIENT.parent), "HOME": "/root",
                   "PATH": os.environ["PATH"], "CAUSEWAY_CUDA_CONFIG": "/dev/null"}
    memory_mib = min(16384, os.sysconf("SC_PHYS_PAGES") * 4096 // (4 << 20))
    results = {}
    with daemons.Switch(cudad) as switch, \
            Guest("uml-sid", memory_mib=memory_mib, cpus=2, quiet=True,
                  modules=[module("scif/guest", "uml-sid")],
                  vhost_user=[f"45={scifd.guest_socket('bench')}"],
                  vhost_user_vsock=switch.guest_socket(3)) as guest:
        for name, (link, rounds) in VM_LINKS.items():
            server = f"{link}:2:{daemons.Switch.port}"
            place = GuestPlace(name, guest, {**environment, "CAUSEWAY_CUDA_SERVER": server})
            part(bench, results, name,
                 lambda place=place, rounds=rounds: measure_guest(
                     bench, native, place, min(bench.rounds, rounds), scale, with_torch))
    return results


def measure_guest(bench, native, place, rounds, scale, with_torch):
    """One link of the guest's."""
    found = collect(bench, [native, place], rounds, lambda: [bench.program("bench/cuda_gpu"), scale])
    results = {place.name: driver_figures(found[place.name], found["native"]),
               f"{place.name} raw": as_samples(found[place.name])}
    if with_torch:
        place.environment["CAUSEWAY_CUDA_COUNTERS"] = "/dev/shm/counters"
        found = collect(bench, [native, place], 1,
                        lambda: [shutil.which("python3"), HERE / "cuda_gpu_torch.py",
                                 repr(time.time()), "first", "small", "large"])
        results[f"torch {place.name}"] = torch_figures(found[place.name], found["native"])
        results[f"torch {place.name} raw"] = as_samples(found[place.name])
    return results


def part(bench, results, name, measured):
    """One part; one that fails is reported as such and does not lose the others."""
    try:
        results.update(measured())
    except (measure.Failed, GuestError, daemons.DaemonError) as failure:
        bench.progress(f"{name}: {failure}")
        results[name] = measure.Skipped(f"failed: {failure}")


def run(bench):
    driver = measure.system_driver()
    if not driver:
        return {"ring": measure.Skipped("this machine has no libcuda.so.1 of its own")}
    native = Place("native", {"LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")})
    with daemons.Scifd(vms=["bench,sees=host"]) as scifd, \
            daemons.Cudad(driver=driver, scifd=scifd) as cudad:
        # A device made of this processor is for trying the benchmark itself.
        scale = 16 if os.path.realpath(driver).startswith(str(bench.build)) else 1
        results = measure_links(bench, native, cudad, scale)
        with_torch = has_torch() and scale == 1
        if with_torch:
            part(bench, results, "torch ring", lambda: measure_torch(bench, native, cudad))
        else:
            results["torch ring"] = measure.Skipped("this Python has no PyTorch")
        part(bench, results, "vm",
             lambda: measure_vm(bench, native, cudad, scifd, scale, with_torch))
    return results

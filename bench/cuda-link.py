# SPDX-License-Identifier: Apache-2.0
"""CUDA over each link, on softgpu: round trips, the cost of a launch, copies, memory."""
import json
import os
import subprocess

import daemons
import measure
import pingpong
from testbed.errors import GuestError
from testbed.guest import Guest
from testbed.machines import MACHINES

GUEST_LIBRARY = "/usr/lib/x86_64-linux-gnu/libcuda.so.1"
GUEST_MEMORY_MIB = 512  # two buffers of 64 MiB beside the system
RUN_SECONDS = 240


def figures(line, link):
    """What cuda_link measured, as the benchmark's fields."""
    bare, call = (measure.Samples(line[name], "us") for name in ("bare_us", "call_us"))
    plain = measure.Samples(line["memcpy_gbps"], "GB/s")
    to_device, from_device = (measure.Samples(line[name], "GB/s")
                              for name in ("to_gbps", "from_gbps"))
    result = {"rtt_ratio": measure.ratios(call, bare)}
    if link == "ring":
        result["extra_rtt_us"] = measure.Samples(
            [c - b for c, b in zip(call.values, bare.values)], "us")
    result["launch_issue_us"] = measure.Samples(line["launch_us"], "us")
    # The slower way counts.
    result["copy_ratio"] = min((measure.ratios(way, plain) for way in (to_device, from_device)),
                               key=lambda ratio: ratio.median)
    return {**result, "call_us": call, "bare_us": bare, "to_gbps": to_device,
            "from_gbps": from_device, "memcpy_gbps": plain,
            "start_ms": measure.Samples([line["start_ms"]], "ms")}


def resident_mib(pid, without=None):
    """A process's resident memory, and the part of it that maps files whose path has @without."""
    total = part = 0
    named = False
    with open(f"/proc/{pid}/smaps") as file:
        for line in file:
            words = line.split()
            if not words[0].endswith(":"):
                named = bool(without) and without in line
            elif words[0] == "Rss:":
                total += int(words[1])
                part += int(words[1]) if named else 0
    return total / 1024, part / 1024


def start(program, address, environment):
    return subprocess.Popen([str(program), address], env=dict(os.environ, **environment),
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def read_figures(process):
    """The line of figures, after which the program waits with everything still open."""
    for line in process.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise measure.Failed(f"cuda_link ended with {process.wait()}")


def finish(process):
    process.stdin.close()
    process.stdout.read()
    process.wait(30)


def driver_mib(bench, program):
    """What the driver itself takes in a process that does the same without any link."""
    process = start(program, "-", {"LD_LIBRARY_PATH": str(bench.build / "cuda" / "softgpu")})
    line = read_figures(process)
    finish(process)
    return line["rss_mib"]


def on_host(program, server, cudad, link, driver):
    """The figures of one link for a program of this host, with the memory of all processes."""
    process = start(program, server.address(link), cudad.environment(link))
    line = read_figures(process)
    (worker,) = cudad.workers()
    worker_mib, worker_ring_mib = resident_mib(worker, "causeway-ring")
    result = figures(line, link)
    result["rss_mib"] = {
        "client": round(line["rss_mib"] - line["ring_mib"], 1),
        "supervisor": round(resident_mib(cudad.pid)[0], 1),
        "worker": round(worker_mib - driver, 1),
        "driver": driver,
        "ring": round(worker_ring_mib, 1),
    }
    finish(process)
    return result


def in_guest(bench, program, server, cudad, kind):
    """The same over vsock from a guest; its client's memory is what the guest says."""
    reason = MACHINES[kind]().unusable()
    if reason:
        return measure.Skipped(str(reason))
    files = [program, f"{daemons.CLIENT}:{GUEST_LIBRARY}"]
    environment = {"CAUSEWAY_CUDA_SERVER": f"vsock:2:{daemons.Switch.port}"}
    with daemons.Switch(cudad, services=[server.service]) as switch:
        try:
            with Guest(kind, files=files, memory_mib=GUEST_MEMORY_MIB, quiet=True,
                       vhost_user_vsock=switch.guest_socket(3)) as guest:
                bench.progress("  booted")
                done = guest.run([program.name, f"vsock:2:{pingpong.VSOCK_PORT}"],
                                 env=environment, timeout=RUN_SECONDS)
        except GuestError as error:
            raise measure.Failed(f"guest of kind {kind}: {error}") from None
    output = done.stdout.decode(errors="replace")
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if done.status or not lines:
        raise measure.Failed(f"in the guest: {done.status} {output} "
                             f"{done.stderr.decode(errors='replace')}")
    line = json.loads(lines[0])
    return {**figures(line, "vsock"),
            "rss_mib": {"client": round(line["rss_mib"] - line["ring_mib"], 1),
                        "supervisor": round(resident_mib(cudad.pid)[0], 1)}}


def run(bench):
    program = bench.program("bench/cuda_link")
    driver = driver_mib(bench, program)
    results = {}
    with pingpong.Server(bench) as server, daemons.Cudad() as cudad:
        for link in daemons.LINKS:
            bench.progress(link)
            results[link] = on_host(program, server, cudad, link, driver)
        bench.progress("vsock, from a guest of kind qemu")
        results["vsock"] = in_guest(bench, program, server, cudad, "qemu")
        bench.progress("vsock, from a guest of kind uml")
        results["vsock-uml"] = in_guest(bench, program, server, cudad, "uml")
    return results

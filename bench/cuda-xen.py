# SPDX-License-Identifier: Apache-2.0
"""CUDA between Xen's guests: over Argo, over TCP on netfront, and directly in the server's guest.

One boot, the same guests; bench/cuda_gpu on softgpu in all three ways, in turn in each round. The
client's virtual processor is pinned to one processor, the server's to the other.

total_overhead_argo, total_overhead_tcp   two matrices of 2112/SCALE x 4224/SCALE to the device, their
                                          product, the product back: whole time over the direct one
h2d_ratio         copies of 2112 x 4224 floats to the device, pageable: Argo over TCP, bytes a second
h2d_of_direct     and Argo over direct
scale             what the edges of the product's matrices are divided by: 8, since on a translated
                  processor one product of the full size takes 13 minutes, and each figure five of
                  them. CAUSEWAY_CUDA_XEN_SCALE=1 is the full size, of which each figure takes one

Without KVM all of it is translated: compare the ratios, not the times.
"""
import json
import os
import pathlib
import sys

import daemons
import measure

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "vm"))

import xen_host  # noqa: E402  (found through the path set above)

SCALE = int(os.environ.get("CAUSEWAY_CUDA_XEN_SCALE") or 8)
# Five products of an eighth take 8 s on a translated processor.
TIMEOUT = 200 + 8 * (8 / SCALE) ** 3 * 2
SAMPLES = 3 if SCALE > 1 else 1  # of each figure in a round, after two that warm up
# Three matrices of 36, 36 and 18 MB, twice in the guest that runs the program and the device; more
# than a guest is given for its programs alone.
GUEST_MIB = 512
TCP_PORT = 7001
TOKEN = "a token of this benchmark alone"
SETUP = ("echo $0 >/run/token; echo token_file = /run/token >/run/client.conf; "
         "chmod 600 /run/token")


def start_server(guest):
    guest.run(["sh", "-c", SETUP, TOKEN], check=True)
    command = guest.start(
        ["sh", "-c", "exec causeway-cudad --driver $0 --socket /run/cuda.sock --vsock-port $1 "
         "--tcp 0.0.0.0:$2 --token-file /run/token 2>&1", xen_host.SOFTGPU,
         str(xen_host.CUDA_PORT), str(TCP_PORT)])
    command.expect(rb"listening|vsock")
    return command


def figures(guest, environment):
    done = guest.run(["cuda_gpu", str(SCALE), str(SAMPLES)], env=environment, timeout=TIMEOUT)
    if done.status:
        raise measure.Failed(f"cuda_gpu ended with {done.status}: "
                             f"{done.stderr.decode(errors='replace').strip()}")
    found = json.loads(done.stdout[done.stdout.index(b"{"):done.stdout.rindex(b"}") + 1])
    return {name: measure.Samples(values) for name, values in found.items()}


def run(bench):
    if reason := xen_host.missing():
        return {"xen": measure.Skipped(reason)}
    build = bench.build
    programs = [bench.program("bench/cuda_gpu"), build / "cuda/server/causeway-cudad",
                build / "cuda/server/causeway-cuda-worker", f"{daemons.CLIENT}:{xen_host.LIBRARY}",
                f"{daemons.SOFTGPU}:{xen_host.SOFTGPU}"]
    totals = {"argo": [], "tcp": [], "direct": []}
    copies = {"argo": [], "tcp": [], "direct": []}
    with xen_host.start(2, programs=programs, cpus=2, quiet=True,
                        guest_memory_mib=GUEST_MIB) as host:
        client, server = host.guests
        xen_host.pin(host, [(client, server)])
        client.run(["sh", "-c", SETUP, TOKEN], check=True)
        start_server(server)
        config = {"CAUSEWAY_CUDA_CONFIG": "/run/client.conf"}
        ways = {
            "direct": (server, {"LD_LIBRARY_PATH": "/opt/softgpu"}),
            "argo": (client, {"CAUSEWAY_CUDA_SERVER":
                              f"vsock:{xen_host.cid(server)}:{xen_host.CUDA_PORT}", **config}),
            "tcp": (client, {"CAUSEWAY_CUDA_SERVER": f"tcp:{server.address}:{TCP_PORT}", **config}),
        }
        for number in range(bench.rounds):
            for way, (guest, environment) in ways.items():
                bench.progress(f"round {number + 1}: {way}")
                found = figures(guest, environment)
                bench.progress(f"matmul {found['matmul_total_ms']} ms, copies "
                               f"{found['h2d_pageable_34']} GB/s")
                totals[way].append(found["matmul_total_ms"].median)
                copies[way].append(found["h2d_pageable_34"].median)
    total = {way: measure.Samples(values, "ms") for way, values in totals.items()}
    copy = {way: measure.Samples(values, "GB/s") for way, values in copies.items()}
    return {"xen": {
        "total_overhead_argo": measure.ratios(total["argo"], total["direct"]),
        "total_overhead_tcp": measure.ratios(total["tcp"], total["direct"]),
        "h2d_ratio": measure.ratios(copy["argo"], copy["tcp"]),
        "h2d_of_direct": measure.ratios(copy["argo"], copy["direct"]),
        "scale": SCALE,
    }, **{way: {"total_ms": total[way], "h2d_gb_s": copy[way]} for way in totals}}

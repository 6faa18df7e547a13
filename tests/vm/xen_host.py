# SPDX-License-Identifier: Apache-2.0
"""The Xen host that tests and benchmarks share: dom0 and guests with vsock_argo.ko and our programs."""
import os
import shutil
import time

import daemons
import kernel_module

from testbed import cache
from testbed.xen import XenHost

LIBRARY = "/usr/lib/x86_64-linux-gnu/libcuda.so.1"
SOFTGPU = "/opt/softgpu/libcuda.so.1"
MEMORY = "/sys/kernel/debug/vsock_argo/memory"
CUDA_PORT = 7000
# Which of Debian's kernels the tests' domains run.
KERNEL = os.environ.get("CAUSEWAY_XEN_KERNEL", cache.KERNELS[0])


def missing():
    """Why there is no Xen host here, or None."""
    wanted = ["qemu-system-x86_64", "make", "gcc"]
    if not cache.present_version("xen"):
        wanted += ["flex", "bison", "dpkg-source"]
    absent = [name for name in wanted if not shutil.which(name)]
    return f"missing to build and start the hypervisor: {', '.join(absent)}" if absent else None


def files():
    """What every domain gets: the programs of our tests, and CUDA's both sides."""
    build = daemons.BUILD
    programs = [daemons.PROGRAMS / name for name in [*daemons.program_names(), "driver_client"]]
    found = [build / "tests/vm/vsock_types", build / "tests/vm/vsock_peer", *programs,
             f"{daemons.CLIENT}:{LIBRARY}", f"{daemons.SOFTGPU}:{SOFTGPU}",
             build / "cuda/server/causeway-cudad", build / "cuda/server/causeway-cuda-worker",
             build / "bench/sockets_load", build / "vsock/wrap/libcauseway-wrap.so"]
    return found + [path for path in map(shutil.which, ("ss", "ip")) if path]


def start(guests, kernel=None, programs=None, **options):
    """A XenHost (not yet started) whose domains have loaded the module.

    @programs: in place of all of files()
    """
    module = kernel_module.build("vsock/argo", "vsock_argo", kernel)
    others = ["vsock_diag", "vsockmon"]
    found = files() if programs is None else programs
    return XenHost(guests=guests, files=found, modules=[module, *others], guest_files=found,
                   guest_modules=[module, *others], kernel=kernel, **options)


def pin(host, pairs):
    """For measurements: the first of each pair runs on processor 0, the second on 1."""
    for pair in pairs:
        for processor, guest in enumerate(pair):
            host.run(["xl", "vcpu-pin", str(guest.domid), "all", str(processor)], check=True)


def cid(place):
    """The CID of dom0 or of a guest."""
    return 2 + (getattr(place, "domid", 0) or 0)


def memory(place):
    """The module's debugfs file: ({name: number}, {domain: {field: value}})."""
    place.run(["sh", "-c", f"test -e {MEMORY} || mount -t debugfs debugfs /sys/kernel/debug"])
    numbers, peers = {}, {}
    for line in place.run(["cat", MEMORY], check=True).stdout.decode().splitlines():
        words = line.split()
        if words[0] == "peer":
            fields = dict(zip(words[2::2], words[3::2]))
            peers[int(words[1])] = {name: int(value) if value.isdigit() else value
                                    for name, value in fields.items()}
        else:
            numbers[words[0]] = int(words[1])
    return numbers, peers


def wait_memory(place, condition, seconds, what):
    """Until condition(numbers, peers) of the debugfs file; what it was then."""
    end = time.monotonic() + seconds
    while not condition(*(found := memory(place))):
        assert time.monotonic() < end, f"after {seconds} s still not: {what}; {found}"
        time.sleep(0.05)
    return found


class Server:
    """vsock_types serve in a domain."""

    def __init__(self, place, port):
        self.place, self.port = place, port

    def __enter__(self):
        self.command = self.place.start(["vsock_types", "serve", str(self.port)])
        self.command.expect(rb"listening")
        return self

    def __exit__(self, kind, value, traceback):
        if self.place.alive():
            self.command.close_input()
            status = self.command.wait(30)
            if not kind:
                assert status == 0, self.command.stdout

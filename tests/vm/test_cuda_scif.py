# SPDX-License-Identifier: Apache-2.0
"""CUDA over the link of medium scif: ring and pinned memory in SCIF windows of a guest's program."""
import contextlib

import daemons
import pytest
from conftest import counters_begin, counters_fetch
from scif_site import CARRIERS, boot

LIBRARIES = "/usr/lib/x86_64-linux-gnu"
LIBSCIF = daemons.BUILD / "scif" / "lib" / "libscif.so.0"
NAMES = ("driver_vectoradd", "driver_matmul", "driver_reduction", "driver_copies")
SERVER = {"CAUSEWAY_CUDA_SERVER": f"scif:2:{daemons.Switch.port}",
          "CAUSEWAY_CUDA_LOG": "/tmp/log"}


class Setting:
    """A guest that sees the host's SCIF node and has vsock, with everything that serves it."""

    def __init__(self, carrier, stack):
        self.scifd = stack.enter_context(daemons.Scifd(vms=["a,sees=host"]))
        self.cudad = stack.enter_context(daemons.Cudad(scifd=self.scifd))
        self.switch = stack.enter_context(daemons.Switch(self.cudad))
        programs = [daemons.PROGRAMS / name for name in [*NAMES, "driver_client", "monitor"]]
        self.guest = stack.enter_context(boot(
            carrier, self.scifd, "a",
            [*programs, f"{daemons.CLIENT}:{LIBRARIES}/libcuda.so.1",
             f"{daemons.CLIENT.parent / 'libnvidia-ml.so.1'}:{LIBRARIES}/libnvidia-ml.so.1",
             f"{LIBSCIF}:{LIBRARIES}/libscif.so.0"],
            memory_mib=768, cpus=2 if carrier == "qemu-sid" else 1,
            vhost_user_vsock=self.switch.guest_socket(3)))

    def run(self, *words, timeout=120, **variables):
        return self.guest.run(list(words), env={**SERVER, **variables}, timeout=timeout)


@pytest.fixture(scope="module", params=CARRIERS)
def setting(request):
    with contextlib.ExitStack() as stack:
        made = Setting(request.param, stack)
        counters_begin(made.guest)
        yield made
        counters_fetch(made.guest, f"cuda-{request.param}")


@pytest.mark.parametrize("name", NAMES)
def test_program(setting, name):
    native = daemons.run_natively([daemons.PROGRAMS / name])
    assert native.returncode == 0, native.stdout + native.stderr
    result = setting.run(name)
    log = setting.guest.run(["cat", "/tmp/log"]).stdout.decode(errors="replace")
    assert result.status == 0, (result.stdout + result.stderr).decode(errors="replace") + log + \
        setting.cudad.log()
    assert result.stdout.decode() == native.stdout
    daemons.wait_until(lambda: setting.scifd.nodes()["a"]["endpoints"] == 0, 20,
                       "no endpoint is left")


def test_monitor(setting):
    result = setting.run("monitor")
    assert b"Causeway softgpu" in result.stdout

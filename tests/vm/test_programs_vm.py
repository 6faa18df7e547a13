# SPDX-License-Identifier: Apache-2.0
"""The test programs in guests without a device, over vsock: as on softgpu directly."""
import subprocess
import time

import pytest

import daemons
from testbed.guest import Guest
from testbed.machines import MACHINES

GUEST_LIBRARY = "/usr/lib/x86_64-linux-gnu/libcuda.so.1"
NAMES = daemons.program_names()


class Setting:
    """A guest of one kind with all programs, the switch and cudad that serve it."""

    def __init__(self, kind, cudad, switch):
        self.kind = kind
        self.cudad = cudad
        self.switch = switch
        programs = [daemons.PROGRAMS / name for name in [*NAMES, "driver_client"]]
        self.guest = Guest(kind, files=[*programs, f"{daemons.CLIENT}:{GUEST_LIBRARY}"],
                           vhost_user_vsock=switch.guest_socket(3), quiet=True)

    environment = {"CAUSEWAY_CUDA_SERVER": f"vsock:2:{daemons.Switch.port}"}

    def run(self, *words, timeout=120):
        return self.guest.run(list(words), env=self.environment, timeout=timeout)


@pytest.fixture(scope="module", params=sorted(MACHINES))
def setting(request):
    reason = MACHINES[request.param]().unusable()
    if reason:
        pytest.skip(reason)
    with daemons.Cudad() as cudad, daemons.Switch(cudad) as switch:
        made = Setting(request.param, cudad, switch)
        with made.guest:
            yield made


@pytest.mark.parametrize("name", NAMES)
def test_program(setting, name):
    native = daemons.run_natively([daemons.PROGRAMS / name])
    assert native.returncode == 0, native.stdout + native.stderr
    result = setting.run(name)
    assert result.status == 0, (result.stdout + result.stderr).decode(errors="replace")
    assert result.stdout.decode() == native.stdout


def test_workers_end_with_their_clients(setting):
    daemons.wait_until(lambda: not setting.cudad.workers(), 2, "all workers gone")


def test_idle_guest_costs_nothing(setting):
    """An idle client in a guest: no CPU for cudad, its worker, the switch and the guest itself."""
    command = setting.guest.start(["driver_client", "idle"], env=setting.environment)
    command.expect(rb"ready")
    time.sleep(0.5)
    processes = {"switch": setting.switch.pid, "supervisor": setting.cudad.pid,
                 "worker": setting.cudad.workers()[0]}
    processes |= {f"guest {pid}": pid for pid in setting.guest.pids()}
    before = {name: daemons.cpu_seconds(pid) for name, pid in processes.items()}
    time.sleep(3)
    used = {name: daemons.cpu_seconds(pid) - before[name] for name, pid in processes.items()}
    command.close_input()
    assert command.wait(30) == 0
    # CPU time is counted in steps of 10 ms; a guest's kernel has housekeeping of its own.
    assert all(seconds <= (0.031 if name.startswith("guest") else 0.011)
               for name, seconds in used.items()), used


def test_guest_killed(kind):
    """Its worker goes within a second; a client on the host notices nothing."""
    with daemons.Cudad() as cudad, daemons.Switch(cudad) as switch:
        setting = Setting(kind, cudad, switch)
        with setting.guest as guest:
            command = guest.start(["driver_client", "copy"], env=setting.environment)
            command.expect(rb"ready")
            (worker,) = cudad.workers()
            other = cudad.start_client("ring", [daemons.PROGRAMS / "driver_client", "hold"],
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            while "ready" not in other.stdout.readline():
                assert other.poll() is None
            guest.kill()
            daemons.wait_until(lambda: worker not in cudad.workers(), 1, "the worker gone")
            assert other.poll() is None
            assert cudad.run("unix", [daemons.PROGRAMS / "driver_client", "launch"]).returncode == 0
            other.kill()
            other.communicate()
        assert switch.alive() and cudad.alive()

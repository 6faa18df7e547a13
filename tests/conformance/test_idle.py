# SPDX-License-Identifier: Apache-2.0
"""An idle client and its idle worker cost no measurable CPU."""
import subprocess
import time

import pytest

import daemons

MEASURED_SECONDS = 3
SETTLE_SECONDS = 0.5  # for what the start left to do
# CPU time is counted in steps of 10 ms; one step may be the rest of something older.
TOLERATED_SECONDS = 0.011


@pytest.mark.parametrize("link", daemons.LINKS)
def test_idle_client_costs_nothing(link):
    with daemons.Cudad() as cudad:
        client = cudad.start_client(link, [daemons.PROGRAMS / "driver_client", "idle"],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        while "ready" not in (line := client.stdout.readline()):
            assert line, "the client ended at its start"
        time.sleep(SETTLE_SECONDS)
        processes = {"client": client.pid, "supervisor": cudad.pid, "worker": cudad.workers()[0]}
        before = {name: daemons.cpu_seconds(pid) for name, pid in processes.items()}
        time.sleep(MEASURED_SECONDS)
        used = {name: daemons.cpu_seconds(pid) - before[name] for name, pid in processes.items()}
        output, _ = client.communicate("", timeout=20)
        assert client.returncode == 0, output
        assert all(seconds <= TOLERATED_SECONDS for seconds in used.values()), used

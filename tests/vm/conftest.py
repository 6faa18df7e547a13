# SPDX-License-Identifier: Apache-2.0
"""What the tests with guests share."""

import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
sys.dont_write_bytecode = True

from testbed.machines import MACHINES  # noqa: E402


# Where the programs of scripts/coverage's build keep what they executed, there and in guests.
COUNTERS = pathlib.Path(os.environ["CAUSEWAY_BUILD"]) / "counters"


def counters_begin(guest):
    if COUNTERS.is_dir():
        guest.run(["mkdir", "-p", COUNTERS], check=True)


def counters_fetch(guest, name):
    """Lay the guest's counters to the host's, under its name."""
    if COUNTERS.is_dir():
        for counters in guest.run(["ls", COUNTERS], check=True).stdout.decode().split():
            (COUNTERS / f"{name}-{counters}").write_bytes(guest.run(["cat", COUNTERS / counters], check=True).stdout)


@pytest.fixture(scope="session")
def xen():
    """Dom0 with two guests and everything of ours: one boot for all files that one pytest runs."""
    import xen_host
    if reason := xen_host.missing():
        pytest.skip(reason)
    checks = os.environ.get("CAUSEWAY_XEN_OPTIONS", "")
    with xen_host.start(guests=2, kernel=xen_host.KERNEL, quiet=True, kernel_options=checks,
                        guest_options=checks) as made:
        yield made


def pytest_generate_tests(metafunc):
    """A test with an argument `kind` runs with every kind of guest."""
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", [
            pytest.param(name, marks=pytest.mark.skipif(bool(reason), reason=str(reason)))
            for name, reason in ((name, machine().unusable())
                                 for name, machine in MACHINES.items())])

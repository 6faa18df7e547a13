# SPDX-License-Identifier: Apache-2.0
"""Xen with dom0 and PV guests, as the testbed offers them."""

import pytest


@pytest.fixture(scope="module")
def host(xen):
    return xen


def test_output_and_status_of_commands(host):
    for place in (host, *host.guests):
        done = place.run(["sh", "-c", "cat; echo err >&2; exit 7"], input=b"some input")
        assert done == (7, b"some input", b"err\n")


def test_every_guest_is_a_machine_of_its_own(host):
    names = set()
    for number, place in enumerate((host, *host.guests)):
        place.run(["sh", "-c", f"echo {number} >/tmp/mine"], check=True)
    for place in (host, *host.guests):
        names.add(place.run(["cat", "/tmp/mine"]).stdout)
    assert names == {b"0\n", b"1\n", b"2\n"}


def test_guests_reach_each_other_through_the_bridge(host):
    first, second = host.guests[:2]
    done = first.run(["ping", "-c", "1", "-w", "20", second.address])
    assert done.status == 0, done



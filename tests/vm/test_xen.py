# SPDX-License-Identifier: Apache-2.0
"""Xen with dom0 and PV guests: one boot for all tests of this file."""

import shutil

import pytest

from testbed import cache
from testbed.xen import XenHost


@pytest.fixture(scope="module")
def host():
    """Dom0 with two guests. Where the hypervisor cannot be built, all tests here are skipped."""
    wanted = ["qemu-system-x86_64"]
    if not cache.present_version("xen"):
        wanted += ["flex", "bison", "make", "gcc", "dpkg-source"]
    missing = [name for name in wanted if not shutil.which(name)]
    if missing:
        pytest.skip(f"missing to build and start the hypervisor: {', '.join(missing)}")
    with XenHost(guests=2, quiet=True) as made:
        yield made


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


def test_a_guest_goes_and_another_comes(host):
    third = host.create_guest()
    assert third.run(["echo", "here"]).stdout == b"here\n"
    name = third.name.encode()
    third.destroy()
    assert name not in host.run(["xl", "list"], check=True).stdout


def test_a_guest_is_saved_and_restored(host):
    guest = host.guests[0]
    before = guest.domid
    command = guest.start(["sh", "-c", "echo before; read -r line; echo after $line"])
    command.expect(rb"before\n")
    guest.save("/tmp/saved")
    guest.restore("/tmp/saved")
    host.run(["rm", "/tmp/saved"])
    assert guest.domid != before
    command.write(b"it\n")
    command.expect(rb"after it\n")
    assert command.wait(20) == 0

# SPDX-License-Identifier: Apache-2.0
"""Xen with dom0 and PV guests, as the testbed offers them."""

import json
import pathlib
import re

import pytest

SNIPPETS = pathlib.Path(__file__).resolve().parent.parent.parent / "docs" / "snippets"


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


@pytest.mark.parametrize("name", ["xl-server.cfg", "xl-client.cfg"])
def test_the_guides_configurations_are_xls(host, name, tmp_path):
    """xl itself reads what docs/guide-xen.md has for the server's guest and for the others."""
    host.send_file(SNIPPETS / name, f"/tmp/{name}")
    done = host.run(["xl", "create", "--dryrun", f"/tmp/{name}"])
    assert done.status == 0, done
    read = json.loads(done.stdout[done.stdout.index(b"{"):])
    written = dict(re.findall(r"^(\w+) = (.*)$", (SNIPPETS / name).read_text(), re.M))
    assert read["c_info"]["name"] == json.loads(written["name"])
    assert read["c_info"]["type"] == json.loads(written["type"])
    assert read["b_info"]["max_vcpus"] == int(written["vcpus"])
    assert read["b_info"]["max_memkb"] == 1024 * int(written["memory"])
    assert read["disks"][0]["pdev_path"] in written["disk"]
    assert ("pcidevs" in read) == ("pci" in written)

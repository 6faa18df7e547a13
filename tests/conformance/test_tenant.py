# SPDX-License-Identifier: Apache-2.0
"""causeway tenant: shows all that a tenant may have, and changes it while the daemon runs."""
import os
import re

import pytest

import daemons
from tenants import BLUE, MIB, NOBODY, RED, Allocator, Host, others_can_read, red_and_blue  # noqa: F401

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be several users")


def settings(host):
    """The table of settings, by tenant."""
    answer = daemons.ask_control(host.control, "tenant-list")
    (table,) = [table for table in answer["tables"] if table["name"] == "settings"]
    names = [column["name"] for column in table["columns"]]
    return {row[0]: dict(zip(names, row)) for row in table["rows"]}


def test_everything_of_the_file_is_shown():
    with Host([f'{{ name = "red"; cids = [3, 7]; users = ({RED}, "nobody"); weight = 5; priority = 2; '
               'memory = "3G"; clients = 4; devices = [0, 2]; watchdog_ms = 900; }',
               f'{{ name = "blue"; users = [{BLUE}]; }}']) as host:
        red, blue = settings(host)["red"], settings(host)["blue"]
        assert red["cids"] == "3,7" and red["users"].startswith(f"{RED},")
        assert (red["weight"], red["priority"], red["memory"], red["clients"], red["devices"],
                red["watchdog_ms"]) == (5, 2, 3 << 30, 4, "0,2", 900)
        assert (blue["cids"], blue["users"], blue["devices"]) == ("", str(BLUE), "all")
        listed = host.tenant("list").stdout
        assert re.search(r"^ +red +3,7 +61001,\d+ +5 +2 +3\.0 GiB +4 +0,2 +900", listed, re.M), listed


def test_who_belongs_is_changed():
    with Host(red_and_blue("64M")) as host:
        assert host.tenant("set", "red", f"users={RED},{NOBODY}", "cids=3,4").returncode == 0
        assert settings(host)["red"]["users"] == f"{RED},{NOBODY}"
        assert settings(host)["red"]["cids"] == "3,4"
        client = Allocator(host, NOBODY)
        assert client.ask("info")[1] == 64 * MIB
        assert host.table()["red"]["clients"] == 1
        # Who is connected keeps its tenant; who comes later has another.
        assert host.tenant("set", "red", f"users={RED}").returncode == 0
        assert host.table()["red"]["clients"] == 1
        other = Allocator(host, NOBODY)
        assert host.table()[f"uid {NOBODY}"]["clients"] == 1
        for one in (client, other):
            one.end()
        taken = host.tenant("set", "red", f"users={BLUE}")
        assert taken.returncode == 1
        assert f"user {BLUE} belongs to tenant 'blue' already" in taken.stderr
        assert settings(host)["red"]["users"] == str(RED)
        assert host.tenant("set", "red", "users=").returncode == 0
        assert settings(host)["red"]["users"] == ""
        assert host.tenant("reload").returncode == 0
        assert settings(host)["red"]["users"] == str(RED)


def test_devices_are_changed():
    place = ("import ctypes; c = ctypes.CDLL('libcuda.so.1'); n = ctypes.c_int(); c.cuInit(0); "
             "c.cuDeviceGetCount(ctypes.byref(n)); print(n.value)")
    host = Host(red_and_blue())
    host.environment_added = {"SOFTGPU_DEVICES": "3", "SOFTGPU_MEMORY_MIB": "512"}
    with host:
        for words, shown, expected in (("devices=1,2", "1,2", "2"), ("devices=all", "all", "3")):
            assert host.tenant("set", "red", words).returncode == 0
            assert settings(host)["red"]["devices"] == shown
            output, errors = host.start_as(RED, ["/usr/bin/python3", "-c", place]).communicate()
            assert output.strip() == expected, errors


@pytest.mark.parametrize("word, sentence", (
    ("cids=x", 'cids: "x": expected a number'),
    ("users=no such user", 'users: "no such user": expected a user\'s name or number'),
    ("devices=16", "devices: expected numbers from 0 to 15"),
    ("cids=2", "cids: expected numbers from 3 to 4294967294"),
    ("weight=0", "expected a number from 1 to 1000"),
    ("colour=1", "expected weight=N"),
))
def test_bad_changes_are_refused(word, sentence):
    with Host(red_and_blue()) as host:
        before = settings(host)
        refused = host.tenant("set", "red", word)
        assert refused.returncode != 0
        assert sentence in " ".join(refused.stderr.split()), refused.stderr
        assert settings(host) == before

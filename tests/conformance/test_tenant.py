# SPDX-License-Identifier: Apache-2.0
"""causeway tenant: shows all that a tenant may have, and changes it while the daemon runs."""
import os
import re
import subprocess

import pytest

import daemons
from tenants import (ALLOCATOR, BLUE, MIB, NOBODY, RED, Allocator, Host,  # noqa: F401
                     others_can_read, red_and_blue)

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


def test_tokens_are_changed():
    host = Host(red_and_blue("64M"))
    files = []
    for name in ("first", "second", "open"):
        path = host.folder / name
        path.write_text(f"the token {name}\n")
        path.chmod(0o600)
        files.append(path)
    files[2].chmod(0o644)
    first, second, readable = files

    def total(token):
        """What a client that shows the token sees of its tenant's memory; None: it is refused."""
        host.client_config.write_text(f"token_file = {token}\n")
        words = ["/usr/bin/python3", ALLOCATOR]
        client = host.start_client("tcp", words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        output, errors = client.communicate("info\n", timeout=20)
        assert output or "CUDA says 100" in errors, errors
        return int(output.split()[2]) if output else None

    with host:
        assert total(first) is None
        assert host.tenant("set", "red", f"token_files={first}").returncode == 0
        assert settings(host)["red"]["tokens"] == 1
        assert (total(first), total(second)) == (64 * MIB, None)
        assert host.tenant("set", "red", f"token_files={second},{first}").returncode == 0
        assert (total(first), total(second)) == (64 * MIB, 64 * MIB)
        for name, file, sentence in (("blue", second, "is one of tenant 'red' already"),
                                     ("red", readable, "others may read it"),
                                     ("red", host.folder / "none", "No such file")):
            refused = host.tenant("set", name, f"token_files={file}")
            assert refused.returncode == 1 and sentence in refused.stderr, refused.stderr
        assert (total(first), total(second)) == (64 * MIB, 64 * MIB)
        assert host.tenant("set", "red", "token_files=").returncode == 0
        assert (total(first), settings(host)["red"]["tokens"]) == (None, 0)


def test_a_socket_of_its_own_is_changed():
    with Host(red_and_blue("64M")) as host:
        paths = [host.folder / name / "cuda.sock" for name in ("one", "two")]

        def total(path):
            client = host.start_client("unix", ["env", f"CAUSEWAY_CUDA_SERVER=unix:{path}",
                                                "/usr/bin/python3", ALLOCATOR],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            return int(client.communicate("info\n", timeout=20)[0].split()[2])

        assert host.tenant("set", "red", f"socket={paths[0]}").returncode == 0
        assert settings(host)["red"]["socket"] == str(paths[0])
        assert total(paths[0]) == 64 * MIB  # root, who is no member
        assert host.tenant("set", "red", f"socket={paths[1]}").returncode == 0
        assert total(paths[1]) == 64 * MIB and not paths[0].exists()
        taken = host.tenant("set", "blue", f"socket={paths[1]}")
        assert taken.returncode == 1 and "belongs to tenant 'red' already" in taken.stderr
        # One that cannot be opened leaves the other as it was, and all else of the change undone.
        refused = host.tenant("set", "red", "memory=32M", "socket=/proc/none/cuda.sock")
        assert refused.returncode == 1 and "/proc/none/cuda.sock" in refused.stderr
        assert total(paths[1]) == 64 * MIB
        assert host.tenant("set", "red", "socket=").returncode == 0
        assert not paths[1].exists() and settings(host)["red"]["socket"] == ""
        assert host.tenant("set", "red", f"socket={paths[0]}").returncode == 0
        assert host.tenant("reload").returncode == 0
        assert not paths[0].exists()  # the file has none


def test_the_workers_user_is_changed():
    def owner(host):
        client = Allocator(host, RED)
        (pid,) = host.workers()
        uid = int(next(line for line in open(f"/proc/{pid}/status")
                       if line.startswith("Uid:")).split()[1])
        client.end()
        daemons.wait_until(lambda: not host.workers(), 10, "it has left")
        return uid

    with Host(red_and_blue()) as host:
        assert owner(host) == 0
        assert host.tenant("set", "red", f"user={NOBODY}").returncode == 0
        assert settings(host)["red"]["runs_as"] == str(NOBODY)
        assert owner(host) == NOBODY
        assert host.tenant("set", "red", "user=").returncode == 0
        assert owner(host) == 0


@pytest.mark.parametrize("word, sentence", (
    ("token_files=here", 'token_files: "here": expected a path from / on'),
    ("socket=here", 'socket: "here": expected a path from / on'),
    ("socket=/" + "long" * 30, "expected a path from / on, of at most 107 bytes"),
    ("user=no such user", "expected a user's name or number"),
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

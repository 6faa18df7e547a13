# SPDX-License-Identifier: Apache-2.0
"""Tenants: who belongs, what memory each may have, turns on the device."""
import os
import random
import signal
import subprocess
import time

import pytest

import daemons
from tenants import (ALLOCATOR, BLUE, MIB, RED, Allocator, Host, busy,  # noqa: F401
                     others_can_read, red_and_blue)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be several users")

OUT_OF_MEMORY, INVALID_VALUE = 2, 1


@pytest.mark.parametrize("link", ("ring", "unix"))
def test_programs_run_in_turns(link):
    with Host(red_and_blue()) as host:
        result = host.run(link, [daemons.BUILD / "tests" / "conformance" / "driver_api"])
        assert result.returncode == 0, result.stdout + result.stderr


def test_memory_is_counted_over_all_clients():
    with Host(red_and_blue("64M")) as host:
        first, second, other = (Allocator(host, uid) for uid in (RED, RED, BLUE))
        assert first.ask("info") == [64 * MIB, 64 * MIB]
        assert first.alloc(40 * MIB)[0] == 0
        assert second.ask("info") == [24 * MIB, 64 * MIB]
        assert second.alloc(25 * MIB)[0] == OUT_OF_MEMORY
        assert second.alloc(24 * MIB)[0] == 0
        assert other.alloc(256 * MIB)[0] == 0
        assert host.table()["red"]["memory"] == 64 * MIB
        first.process.kill()
        first.process.wait()
        daemons.wait_until(lambda: second.ask("info")[0] == 40 * MIB, 10, "what it had is free")
        assert second.alloc(40 * MIB)[0] == 0
        second.end()
        other.end()


def test_memory_is_never_above_and_never_refused_below():
    limit = 48 * MIB
    chance = random.Random(9)
    with Host(red_and_blue("48M")) as host:
        clients = [Allocator(host, RED, link) for link in ("ring", "unix", "ring")]
        held = []  # (client, number, bytes)
        for _ in range(1000):
            used = sum(block[2] for block in held)
            if held and chance.random() < 0.45:
                client, number, _ = held.pop(chance.randrange(len(held)))
                assert client.ask("free", number) == [0]
                continue
            client = chance.choice(clients)
            count = chance.choice((1, 4096, 65536, MIB)) * chance.randrange(1, 17)
            result, number = client.alloc(count)
            assert result == (0 if used + count <= limit else OUT_OF_MEMORY), (used, count)
            if not result:
                held.append((client, number, count))
        used = sum(block[2] for block in held)
        daemons.wait_until(lambda: host.table()["red"]["memory"] == used, 10, "it is on the books")
        for client in clients:
            client.end()


def with_contexts(memory, context_mib):
    """A host whose device gives up so much for each context."""
    host = Host(red_and_blue(memory))
    host.environment_added = {"SOFTGPU_CONTEXT_MIB": str(context_mib)}
    return host


def test_contexts_count():
    with with_contexts("64M", 20) as host:
        first = Allocator(host, RED)
        assert first.ask("info") == [44 * MIB, 64 * MIB]
        row = host.table()["red"]
        assert (row["memory"], row["overhead"]) == (20 * MIB, 20 * MIB)
        assert first.alloc(5 * MIB)[0] == 0
        second = Allocator(host, RED)
        assert second.ask("info") == [19 * MIB, 64 * MIB]
        assert second.ask("context")[0] == OUT_OF_MEMORY
        third = host.start_as(RED, ["/usr/bin/python3", ALLOCATOR])
        assert f"CUDA says {OUT_OF_MEMORY}" in third.communicate(timeout=20)[1]
        # What was refused has left nothing behind, on the books or on the device.
        assert second.ask("info") == [19 * MIB, 64 * MIB]
        assert second.alloc(19 * MIB)[0] == 0
        other = Allocator(host, BLUE)
        result, number = other.ask("context")
        assert result == 0
        assert host.table()["blue"]["overhead"] == 40 * MIB
        assert other.ask("uncontext", number) == [0]
        other.ask("info")
        assert host.table()["blue"]["overhead"] == 20 * MIB
        for client in (first, second, other):
            client.end()
        daemons.wait_until(lambda: host.table()["red"]["memory"] == 0, 10, "all have left")


def test_modules_count():
    with with_contexts("64M", 0) as host:
        red = Allocator(host, RED)
        result, number = red.ask("load", 16 * MIB)
        assert result == 0 and red.ask("info") == [48 * MIB, 64 * MIB]
        assert host.table()["red"]["overhead"] == 16 * MIB
        assert red.ask("load", 49 * MIB)[0] == OUT_OF_MEMORY
        assert red.ask("info") == [48 * MIB, 64 * MIB]
        assert red.ask("unload", number) == [0] and red.ask("info") == [64 * MIB, 64 * MIB]
        red.end()


def overhead_becomes(host, wanted):
    daemons.wait_until(lambda: host.table()["red"]["overhead"] == wanted, 10, f"{wanted} bytes")


def test_code_counts_once_it_has_run():
    """Of a device that loads a kernel's code when that is first launched."""
    host = Host(red_and_blue("64M"))
    host.environment_added = {"SOFTGPU_CODE_MIB": "20"}
    with host:
        red, second = Allocator(host, RED), Allocator(host, RED)
        one, other = (red.ask("load", MIB)[1] for _ in range(2))
        assert host.table()["red"]["overhead"] == 2 * MIB
        assert red.ask("launch", one) == [0]
        overhead_becomes(host, 22 * MIB)
        assert second.ask("info") == [42 * MIB, 64 * MIB]
        assert second.alloc(43 * MIB)[0] == OUT_OF_MEMORY
        # A second launch takes nothing; also while another client allocates.
        assert second.alloc(8 * MIB)[0] == 0
        assert red.ask("launch", one) == [0] and red.ask("launch", other) == [0]
        overhead_becomes(host, 42 * MIB)
        assert second.ask("info") == [14 * MIB, 64 * MIB]
        # It goes with its module.
        assert red.ask("unload", one) == [0]
        overhead_becomes(host, 21 * MIB)
        assert second.alloc(35 * MIB)[0] == 0
        red.end()
        second.end()


def test_what_a_pool_keeps_counts_until_it_is_needed():
    reserved, reserved_high, used, used_high = 5, 6, 7, 8
    with with_contexts("64M", 0) as host:
        red, second = Allocator(host, RED), Allocator(host, RED)
        assert red.ask("keep", 24 * MIB) == [0]
        result, number = red.ask("alloc", "async", 40 * MIB)[:2]
        assert result == 0 and red.ask("free", number) == [0]
        assert red.ask("pool", reserved) == [0, 24 * MIB]
        assert red.ask("pool", used) == [0, 0]
        assert red.ask("info") == [40 * MIB, 64 * MIB]
        assert host.table()["red"]["overhead"] == 24 * MIB
        # Another client cannot have it; from the pool itself it costs nothing more.
        assert second.alloc(41 * MIB)[0] == OUT_OF_MEMORY
        assert red.ask("alloc", "async", 24 * MIB)[0] == 0
        assert red.ask("info") == [40 * MIB, 64 * MIB]
        assert host.table()["red"]["overhead"] == 0
        assert red.ask("free", 1) == [0] and red.ask("info") == [40 * MIB, 64 * MIB]
        # Rather than refuse, its own client's pools keep nothing.
        assert red.alloc(64 * MIB)[0] == 0
        assert red.ask("pool", reserved) == [0, 0]
        assert red.ask("alloc", "async", MIB)[0] == OUT_OF_MEMORY
        assert red.ask("pool", reserved_high) == [0, 40 * MIB]
        assert red.ask("pool", used_high) == [0, 40 * MIB]
        red.end()
        second.end()


def test_clients_are_limited_for_each_tenant():
    with Host(red_and_blue(more="clients = 2;")) as host:
        first, second = Allocator(host, RED), Allocator(host, RED)
        third = host.start_as(RED, ["/usr/bin/python3", ALLOCATOR])
        assert "CUDA says 100" in third.communicate()[1]
        assert "2 of 2 clients of tenant 'red' connected" in host.log()
        Allocator(host, BLUE).end()
        first.end()
        daemons.wait_until(lambda: host.table()["red"]["clients"] == 1, 10, "one has left")
        Allocator(host, RED).end()
        second.end()


def holder(host):
    """The tenant whose turn it is."""
    (table,) = [t for t in host.status()["tables"] if t["name"] == "device"]
    return table["rows"][0][[column["name"] for column in table["columns"]].index("holder")]


def stop_in_turn(host, tenant):
    """Stop all workers while it is that tenant's turn."""
    def stopped():
        for pid in host.workers():
            os.kill(pid, signal.SIGSTOP)
        # What they had said before they stopped was heard when the second answer comes.
        if [holder(host), holder(host)] == [tenant, tenant]:
            return True
        for pid in host.workers():
            os.kill(pid, signal.SIGCONT)
        return False
    daemons.wait_until(stopped, 30, "the turn is " + tenant)


def test_who_dies_with_the_turn_holds_up_nobody():
    with Host(red_and_blue()) as host:
        red, blue = busy(host, RED, 60), busy(host, BLUE, 60)
        daemons.wait_until(lambda: all(row["launches"] > 50 for row in host.table().values())
                           and len(host.table()) == 2, 30, "both run")
        stop_in_turn(host, "red")
        red.kill()
        red.communicate()
        daemons.wait_until(lambda: host.table()["red"]["clients"] == 0, 20, "its worker is gone")
        for pid in host.workers():
            os.kill(pid, signal.SIGCONT)
        before = host.table()["blue"]["launches"]
        daemons.wait_until(lambda: host.table()["blue"]["launches"] > before + 50, 30, "blue goes on")
        assert holder(host) == "blue"
        blue.kill()
        blue.communicate()


def pages_words(host):
    """Of each client's page (proto/share-page.h), device 0: how often it was told that it is next,
    and the last turn of which it said that it is about to end."""
    words = []
    for fd in sorted(os.listdir(f"/proc/{host.pid}/fd"), key=int):
        path = f"/proc/{host.pid}/fd/{fd}"
        if "causeway-share-page" in os.readlink(path):
            with open(path, "rb") as file:
                page = file.read(192)
            words.append([int.from_bytes(page[at:at + 4], "little")
                          for at in (64 + 16, 64 + 64 + 40)])
    return words


@pytest.mark.parametrize("spins", (True, False))
def test_turns_are_handed_over_without_sleeping(spins):
    """With the control: fewer processors than asked for, and nobody is told beforehand."""
    host = Host(red_and_blue(more="weight = 3;"))
    host.environment_added = {"CAUSEWAY_SPIN_PROCESSORS": "1" if spins else "4096"}
    with host:
        red, blue = busy(host, RED, 60), busy(host, BLUE, 60)
        daemons.wait_until(lambda: all(row["launches"] > 50 for row in host.table().values())
                           and len(host.table()) == 2, 30, "both run")
        begin = host.table()
        daemons.wait_until(lambda: all(row["waits"] > begin[name]["waits"] + 20
                                       for name, row in host.table().items()), 30, "turns change")
        end, told = host.table(), pages_words(host)
        for process in (red, blue):
            process.kill()
            process.communicate()
        # Whoever waits gets its share either way: at least half of what is due to it.
        got = {name: end[name]["device"] - begin[name]["device"] for name in ("red", "blue")}
        assert got["blue"] > sum(got.values()) / 8, got
        assert len(told) == 2 and all(bool(word) == spins for words in told for word in words), told


def test_a_newcomer_gets_in():
    with Host(red_and_blue()) as host:
        red = busy(host, RED, 6, iterations=350000)
        daemons.wait_until(lambda: host.table()["red"]["launches"] > 20, 20, "it runs")
        blue = host.start_as(BLUE, [daemons.PROGRAMS / "driver_client", "launch"])
        assert "PASSED" in blue.communicate(timeout=20)[0]
        assert red.poll() is None
        red.kill()
        red.communicate()


def test_a_bomb_of_clients_harms_nobody_else():
    with Host(red_and_blue(more="clients = 3;")) as host:
        words = ["/usr/bin/python3", ALLOCATOR]
        bomb = [host.start_as(RED, words) for _ in range(24)]
        blue = host.start_as(BLUE, [daemons.PROGRAMS / "driver_client", "launch"])
        assert "PASSED" in blue.communicate(timeout=40)[0]
        answers = [process.communicate(timeout=40) for process in bomb]
        served = sum("ready" in output for output, _ in answers)
        assert all("ready" in output or "CUDA says 100" in errors for output, errors in answers)
        assert 3 <= served < 24
        daemons.wait_until(lambda: host.table()["red"]["clients"] == 0, 20, "all have left")
        Allocator(host, RED).end()


def test_the_lower_class_starves_only_while_the_higher_one_works():
    with Host(red_and_blue(more="priority = 1;")) as host:
        # Much of it queued: also on a busy host the higher class always has the next kernel.
        red, blue = busy(host, RED, 4, depth=64), busy(host, BLUE, 6)
        daemons.wait_until(lambda: red.poll() is not None, 40, "the higher class has ended")
        table = host.table()
        assert table["red"]["device"] > 1.5 * table["blue"]["device"], table
        output, _ = blue.communicate(timeout=40)
        assert blue.returncode == 0 and '"launches"' in output
        assert host.table()["blue"]["device"] > table["blue"]["device"]
        red.communicate()


def test_reload_during_load():
    with Host(red_and_blue()) as host:
        red, blue = busy(host, RED, 5), busy(host, BLUE, 5)
        daemons.wait_until(lambda: all(row["launches"] > 20 for row in host.table().values())
                           and len(host.table()) == 2, 30, "both run")
        for weight in range(1, 101):
            host.write(red_and_blue(more=f"weight = {weight};"))
            assert host.tenant("reload").returncode == 0
        assert host.table()["red"]["weight"] == 100
        for process in (red, blue):
            output, errors = process.communicate(timeout=40)
            assert process.returncode == 0 and '"launches"' in output, errors


def test_a_tenant_sees_its_devices_alone():
    place = ("import ctypes; c = ctypes.CDLL('libcuda.so.1'); n = ctypes.c_int(); c.cuInit(0); "
             "c.cuDeviceGetCount(ctypes.byref(n)); b = ctypes.create_string_buffer(32); "
             "c.cuDeviceGetPCIBusId(b, 32, 0); print(n.value, b.value.decode())")
    host = Host(red_and_blue(more="devices = [2, 1];"))
    host.environment_added = {"SOFTGPU_DEVICES": "3", "SOFTGPU_MEMORY_MIB": "512"}
    with host:
        for uid, expected in ((RED, "2 0000:02:00.0"), (BLUE, "3 0000:01:00.0")):
            output, errors = host.start_as(uid, ["/usr/bin/python3", "-c", place]).communicate()
            assert output.strip() == expected, errors


def test_devices_are_shared_by_their_place_whatever_a_tenant_calls_them():
    """The only device that red sees is its device 0, and the host's device 1."""
    host = Host(red_and_blue(more="devices = [1];"))
    host.environment_added = {"SOFTGPU_DEVICES": "2", "SOFTGPU_MEMORY_MIB": "512"}
    with host:
        output, errors = busy(host, RED, 1).communicate(timeout=40)
        assert '"launches"' in output, errors
        (table,) = [t for t in host.status()["tables"] if t["name"] == "device"]
        names = [column["name"] for column in table["columns"]]
        used = {int(row[0]): row[names.index("used")] for row in table["rows"]}
    assert used[1] > 0 and not used.get(0), used


def test_watchdog_ends_who_keeps_the_device():
    with Host(red_and_blue(more="watchdog_ms = 300;")) as host:
        red = busy(host, RED, 30, iterations=2000000000, depth=1)
        daemons.wait_until(lambda: host.table()["red"]["launches"] > 0, 20, "it runs")
        time.sleep(1)  # alone it may
        assert red.poll() is None
        blue = host.start_as(BLUE, [daemons.PROGRAMS / "driver_client", "launch"])
        assert "PASSED" in blue.communicate(timeout=30)[0]
        assert red.wait(10) != 0
        assert "kept the device for more than 300 ms" in host.log()
        red.communicate()


@pytest.mark.parametrize("protected", (True, False))
@pytest.mark.parametrize("way", ("plain", "pitch", "async", "pool"))
def test_nobody_reads_what_another_left(way, protected):
    """With the control: without the protection a device that clears nothing gives it away."""
    host = Host(red_and_blue(), more=f"clear_memory = {str(protected).lower()};")
    remnants = host.folder / "remnants"
    remnants.touch()
    host.plain = host.plain.replace("turns =", f'worker_paths = ["{remnants}"]; turns =')
    host.write(red_and_blue())
    host.environment_added = {"SOFTGPU_REMNANTS": str(remnants)}
    with host:
        red = Allocator(host, RED)
        result, number = red.ask("alloc", way, 4 * MIB)[:2]
        assert result == 0 and red.ask("fill", number, 0x5a) == [0]
        red.end()
        blue = Allocator(host, BLUE)
        result, number = blue.ask("alloc", way, 4 * MIB)[:2]
        assert result == 0
        result, dirty = blue.ask("dirty", number)
        assert result == 0
        assert dirty == 0 if protected else dirty > MIB
        blue.end()


def secret(host, name, text):
    """A file with a token."""
    path = host.folder / name
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


def test_handles_of_memory_are_good_for_their_tenant():
    """What a driver would open for any process of its user (test_handles.c has one that does)."""
    with Host(red_and_blue()) as host:
        red, second, blue = Allocator(host, RED), Allocator(host, RED), Allocator(host, BLUE)
        number = red.alloc(MIB)[1]
        result, handle = red.ask("export", number)
        assert result == 0
        result, opened = second.ask("open", handle)
        assert result == 0 and second.ask("free", opened) == [0]
        assert blue.ask("open", handle)[0] == INVALID_VALUE
        assert second.ask("open", handle + 1)[0] == INVALID_VALUE
        assert red.ask("free", number) == [0] and red.ask("info")
        assert second.ask("open", handle)[0] == INVALID_VALUE
        for client in (red, second, blue):
            client.end()


def test_tokens_name_tenants():
    host = Host([])
    red, green, wrong = (secret(host, name, f"the token {name}") for name in "rgw")
    host.write([f'{{ name = "red"; token_files = ["{green}", "{red}"]; memory = "64M"; }}',
                f'{{ name = "blue"; users = [{BLUE}]; memory = "32M"; }}'])

    def client(token):
        host.client_config.write_text(f"token_file = {token}\n")
        return host.start_client("tcp", ["/usr/bin/python3", ALLOCATOR], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    with host:
        known = []
        for token in (red, green, host.folder / "token"):
            known.append(client(token))
            assert known[-1].stdout.readline() == "ready\n", known[-1].stderr.read()
        table = host.table()
        assert (table["red"]["clients"], table["tcp 127.0.0.1"]["clients"]) == (2, 1)
        assert table["blue"]["clients"] == 0
        refused = client(wrong)
        assert "CUDA says 100" in refused.communicate(timeout=20)[1]
        assert "wrong token" in host.log()
        for process in known:
            process.communicate()
        # The same secret for two tenants would let one be taken for the other.
        again = secret(host, "again", "the token r")
        host.write([f'{{ name = "red"; token_files = ["{red}"]; }}',
                    f'{{ name = "blue"; token_files = ["{again}"]; }}'])
        answer = host.tenant("reload")
        assert answer.returncode == 1 and "one of tenant 'red' already" in answer.stderr
        again.chmod(0o644)
        answer = host.tenant("reload")
        assert answer.returncode == 1 and "others may read it" in answer.stderr


def test_changes_while_it_runs():
    with Host(red_and_blue("64M")) as host:
        client = Allocator(host, RED)
        assert host.tenant("set", "red", "memory=32M", "weight=7").returncode == 0
        assert client.ask("info") == [32 * MIB, 32 * MIB]
        assert host.table()["red"]["weight"] == 7
        host.write(red_and_blue("16M"))
        host.process.send_signal(signal.SIGHUP)
        daemons.wait_until(lambda: client.ask("info")[1] == 16 * MIB, 10, "the file is read")
        host.write(red_and_blue("16 potatoes"))
        refused = host.tenant("reload")
        assert refused.returncode == 1
        assert 'memory: expected bytes, as in "8G"' in refused.stderr
        assert client.ask("info")[1] == 16 * MIB
        host.write(red_and_blue("80M"))
        assert host.tenant("reload").returncode == 0
        assert client.ask("info")[1] == 80 * MIB
        listed = host.tenant("list")
        assert "red" in listed.stdout and "blue" in listed.stdout
        unknown = host.tenant("set", "green", "weight=2")
        assert unknown.returncode == 1 and "there is no tenant 'green'" in unknown.stderr
        client.end()


@pytest.mark.parametrize("tenants, sentence", (
    (['{ users = [1]; }'], "name is '': expected 1 to 63 bytes"),
    (['{ name = "a"; }', '{ name = "a"; }'], "there are two tenants 'a'"),
    (['{ name = "a"; users = [7]; }', '{ name = "b"; users = [7]; }'],
     "user 7 belongs to tenant 'a' already"),
    (['{ name = "a"; cids = [2]; }'], "expected CIDs of guests"),
    (['{ name = "a"; weight = 0; }'], "weight is 0: expected 1 to 1000"),
    (['{ name = "a"; priority = 4; }'], "priority is 4: expected 0 to 3"),
    (['{ name = "a"; users = ["no such user"]; }'], "there is no user 'no such user'"),
    (['{ name = "a"; colour = 1; }'], "unknown setting 'colour'"),
    (['{ name = "a"; memory = "8Q"; }'], "memory: expected bytes"),
    (['{ name = "a"; devices = [16]; }'], "expected numbers of devices, 0 to 15"),
    (['7'], "expected a group"),
))
def test_bad_tenants_are_refused(tenants, sentence):
    host = Host(tenants)
    with pytest.raises(daemons.DaemonError) as error:
        host.start()
    assert sentence in str(error.value)

# SPDX-License-Identifier: Apache-2.0
"""Accounts: what was used is counted, written into the journal, and told by `causeway usage`."""
import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import time

import pytest

import daemons
from tenants import BLUE, MIB, RED, Allocator, Host, busy, others_can_read, red_and_blue  # noqa: F401

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be several users")

CAUSEWAY = daemons.BUILD / "cli" / "causeway"
SUMS = ("launches", "calls", "copied_in_bytes", "copied_out_bytes", "copied_within_bytes",
        "device_s", "memory_byte_s", "waits", "waited_s")


class Accounted(Host):
    """The same with a journal, which outlives a daemon where @folder is another's."""

    def __init__(self, journal=None, more="", turns=True, tenants=None):
        super().__init__(tenants or red_and_blue(), turns=turns)
        self.journal = journal or self.folder / "usage.db"
        self.plain += f'accounting = {{ journal = "{self.journal}"; interval_s = 1; {more} }};\n'
        self.write(tenants or red_and_blue())

    def usage(self, *words):
        result = usage("--journal", self.journal, "--json", *words)
        assert result.returncode == 0, result.stderr
        return {(row["tenant"], row.get("identity")): row
                for row in json.loads(result.stdout)["rows"]}

    def written(self, tenant, **expected):
        """Waits until the journal has at least that; the tenant's row."""
        def row():
            found = self.journal.exists() and self.usage("--since", "1h").get((tenant, None))
            return found and all(found[name] >= value for name, value in expected.items()) and found
        return daemons.wait_until(row, 20, f"the journal has {expected}")


def usage(*words, **environment):
    return daemons.run_program([CAUSEWAY, "usage", *words], environment)


def works(host, uid, link="ring", rounds=1):
    """Known work of one client; what the accounts must say about it."""
    client = Allocator(host, uid, link)
    numbers = [client.alloc(4 * MIB) for _ in range(2)]
    assert [result for result, _ in numbers] == [0, 0]
    one, other = (number for _, number in numbers)
    for _ in range(rounds):
        assert client.ask("put", one, 3 * MIB) == [0]
        assert client.ask("put", one, 100) == [0]
        assert client.ask("get", one, 2 * MIB) == [0]
        assert client.ask("move", one, other, MIB) == [0]
        assert client.ask("fill", one, 7) == [0]
    client.end()
    return {"copied_in_bytes": rounds * (3 * MIB + 100), "copied_out_bytes": rounds * 2 * MIB,
            "copied_within_bytes": rounds * MIB}


@pytest.mark.parametrize("turns", (True, False))
@pytest.mark.parametrize("link", ("ring", "unix"))
def test_sums_match_known_work(link, turns):
    with Accounted(turns=turns) as host:
        expected = works(host, RED, link, rounds=3)
        works(host, BLUE, link)
        row = host.written("red", **expected)
        assert {name: row[name] for name in expected} == expected
        # Copies (4 a round) and a fill: pieces of work, counted in turns alone.
        assert row["launches"] >= 15 if turns else row["launches"] == 0
        assert row["calls"] >= 15
        table = host.table()["red"]
        assert (table["copied_in"], table["copied_out"], table["copied_within"]) == \
            tuple(expected.values())
        assert table["calls"] == row["calls"] and table["launches"] == row["launches"]
        assert abs(table["device"] - row["device_s"]) < 1e-6
        assert abs(table["memory_time"] - row["memory_byte_s"]) < 1e-2
        clients = list(host.usage("--clients").values())
        assert sorted(row["tenant"] for row in clients) == ["blue", "red"]
        assert all(re.fullmatch(r"uid \d+ pid \d+", row["identity"]) for row in clients)
        for name in expected:
            assert sum(row[name] for row in clients) == expected[name] * 4 // 3


def test_memory_over_time():
    with Accounted() as host:
        client = Allocator(host, RED)
        begin = time.monotonic()
        _, number = client.alloc(32 * MIB)
        allocated = time.monotonic()
        time.sleep(1)
        least = time.monotonic() - allocated
        assert client.ask("free", number) == [0]
        most = time.monotonic() - begin
        client.end()
        row = host.written("red", memory_byte_s=1)
        assert least - 0.01 < row["memory_byte_s"] / (32 * MIB) < most + 0.01


def test_device_time_and_waits_of_two():
    """What the journal has is what the daemon reports, which is what the device did."""
    with Accounted() as host:
        loads = [busy(host, RED, 3), busy(host, BLUE, 3)]
        began = time.monotonic()
        done = [json.loads(load.communicate(timeout=60)[0].splitlines()[-1]) for load in loads]
        took = time.monotonic() - began
        rows = [host.written(tenant, launches=1) for tenant in ("red", "blue")]
        daemons.wait_until(lambda: not host.status()["clients"], 10, "both have left")
        time.sleep(1.5)
        rows = [host.written(tenant, launches=1) for tenant in ("red", "blue")]
        assert all(row["launches"] >= load["launches"] for row, load in zip(rows, done))
        assert all(row["waits"] > 0 and row["waited_s"] > 0 for row in rows)
        used = sum(row["device_s"] for row in rows)
        assert 1 < used < 1.1 * took
        for tenant, row in zip(("red", "blue"), rows):
            assert abs(host.table()[tenant]["device"] - row["device_s"]) < 1e-6
        (device,) = [dict(zip([c["name"] for c in table["columns"]], table["rows"][0]))
                     for table in host.status()["tables"] if table["name"] == "device"]
        assert abs(device["used"] - used) < 1e-5 and device["turns"] > 10


def test_it_survives_restart():
    with Accounted() as first:
        expected = works(first, RED)
        kept = first.folder.with_name(first.folder.name + "-journal.db")
        first.written("red", **expected)
        first.process.terminate()
        assert first.process.wait(10) == 0
        assert not first.journal.with_name("usage.db-wal").exists()
        first.journal.rename(kept)
    try:
        with Accounted(journal=kept) as second:
            works(second, RED)
            twice = {name: 2 * value for name, value in expected.items()}
            row = second.written("red", **twice)
            assert {name: row[name] for name in twice} == twice
            assert len(second.usage("--clients")) == 2
    finally:
        for path in kept.parent.glob(kept.name + "*"):
            path.unlink()


def test_a_client_that_is_still_there_is_written_too():
    with Accounted() as host:
        client = Allocator(host, RED)
        _, number = client.alloc(MIB)
        assert client.ask("put", number, MIB) == [0]
        first = host.written("red", copied_in_bytes=MIB)
        host.written("red", memory_byte_s=first["memory_byte_s"] + MIB)
        assert client.ask("put", number, MIB) == [0]
        row = host.written("red", copied_in_bytes=2 * MIB)
        client.end()
        daemons.wait_until(lambda: not host.status()["clients"], 10, "it has left")
        assert host.usage()[("red", None)]["copied_in_bytes"] == 2 * MIB == row["copied_in_bytes"]


def test_killed_at_any_moment_the_journal_is_whole(tmp_path):
    """cudad is killed in the middle of load, again and again; no minute is lost or counted twice."""
    tmp_path.chmod(0o755)
    journal, chance, before = tmp_path / "usage.db", random.Random(5), 0
    for _ in range(8):
        host = Accounted(journal=journal, turns=False)
        host.start()
        try:
            finished = sum(works(host, RED)["copied_in_bytes"] for _ in range(chance.randrange(1, 3)))
            row = host.written("red", copied_in_bytes=before + finished)
            clients = [Allocator(host, RED) for _ in range(2)]
            for client in clients:
                _, number = client.alloc(MIB)
                client.ask("put", number, MIB)
            time.sleep(chance.random() * 1.3)
            host.process.kill()
            for client in clients:
                client.process.kill()
                client.process.communicate()
        finally:
            host.kill()
        with contextlib.closing(sqlite3.connect(journal)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            ((total,),) = database.execute("SELECT sum(copied_in) FROM usage").fetchall()
        assert row["copied_in_bytes"] <= total <= row["copied_in_bytes"] + 2 * MIB
        assert row["copied_in_bytes"] == before + finished
        before = total


def test_an_unwritable_journal_is_said_and_harms_nobody():
    with Accounted(journal="/proc/usage.db") as host:
        works(host, RED)
        works(host, RED)
        daemons.wait_until(lambda: "the journal of usage cannot be written" in host.log(), 10,
                           "it is said")
        assert host.log().count("cannot be written") == 1 and "/proc/usage.db" in host.log()


def test_a_disk_that_is_full_for_a_while(tmp_path):
    """A small file system: full, then not; nothing of what was used meanwhile is lost."""
    tmp_path.chmod(0o755)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", tmp_path],
                      capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a file system here")
    try:
        filler = tmp_path / "filler"
        with open(filler, "wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(bytes(4096))
        with Accounted(journal=tmp_path / "usage.db") as host:
            expected = works(host, RED)
            daemons.wait_until(lambda: "cannot be written" in host.log(), 10, "it is said")
            filler.unlink()
            row = host.written("red", **expected)
            assert {name: row[name] for name in expected} == expected
            daemons.wait_until(lambda: "written again" in host.log(), 10, "it is said")
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_a_journal_that_is_none(tmp_path):
    tmp_path.chmod(0o755)
    journal = tmp_path / "usage.db"
    journal.write_text("this is no database, " * 100)
    with Accounted(journal=journal) as host:
        works(host, RED)
        daemons.wait_until(lambda: "file is not a database" in host.log(), 10, "it is said")
    assert journal.read_text().startswith("this is no database")
    result = usage("--journal", journal)
    assert result.returncode == 1 and "file is not a database" in result.stderr


def journal_of(path, rows):
    """A journal with (minute, tenant, client number, copied in) as a daemon would have made it."""
    with Accounted(journal=path) as host:
        works(host, RED)
        host.written("red", copied_in_bytes=1)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM usage")
        database.execute("DELETE FROM client")
        for minute, tenant, number, copied in rows:
            database.execute("INSERT OR IGNORE INTO client VALUES (?, 1, ?, 'cudad', ?, 'uid 1 pid 2',"
                             " 0)", (number, number, tenant))
            database.execute("INSERT INTO usage VALUES (?, ?, 0, 0, 0, ?, 0, 0, 0, 0, 0)",
                             (minute, number, copied))


def test_since_until_and_tenant(tmp_path):
    tmp_path.chmod(0o755)
    zone = {"TZ": "Europe/Athens"}
    now = int(time.time())
    minute = now - now % 60
    noon = 1793523600  # 2026-11-01 11:00 +0200
    journal = tmp_path / "usage.db"
    journal_of(journal, [(noon, "red", 1, 1), (noon + 60, "red", 1, 10), (noon + 120, "blue", 2, 100),
                         (minute - 7200, "red", 1, 1000), (minute, "blue", 2, 10000)])

    def sums(*words):
        result = usage("--journal", journal, "--json", *words, **zone)
        assert result.returncode == 0, result.stderr
        return {row["tenant"]: row["copied_in_bytes"] for row in json.loads(result.stdout)["rows"]}

    assert sums("--since", "@0") == {"red": 1011, "blue": 10100}
    assert sums("--since", "2026-11-01 11:00", "--until", "2026-11-01 11:01") == {"red": 1}
    assert sums("--since", "2026-11-01T11:01", "--until", "2026-11-01 11:03:00") == {"red": 10,
                                                                                    "blue": 100}
    assert sums("--since", "2026-11-01", "--until", "2026-11-02") == {"red": 11, "blue": 100}
    assert sums("--since", "90m") == {"blue": 10000}
    assert sums("--since", "3h") == {"red": 1000, "blue": 10000}
    assert sums("--since", "3h", "--tenant", "red") == {"red": 1000}
    assert sums("--since", "@0", "--until", "3h") == {"red": 11, "blue": 100}
    assert sums("--since", "yesterday", "--until", "today").get("blue") is None
    text = usage("--journal", journal, "--since", "3h", **zone)
    assert re.search(r"^cudad +red .* 1000 B ", text.stdout, re.M), text.stdout
    assert re.search(r"^ +all .* 10\.7 KiB ", text.stdout, re.M), text.stdout
    assert "nothing was used in that time" in usage("--journal", journal, "--since", "@9999999999",
                                                    "--until", "@9999999999").stdout


@pytest.mark.parametrize("when", ("tomorrow", "", "2026-13-01", "2026-02-31", "2h3", "-2h", "@x",
                                  "99999999999999999999d"))
def test_what_is_no_time_is_refused(when):
    result = usage("--since", when)
    assert result.returncode == 2
    assert f'--since is "{when}": expected "now", "today"' in " ".join(result.stderr.split())


def test_a_journal_that_is_empty_yet(tmp_path):
    (tmp_path / "usage.db").write_bytes(b"")
    result = usage("--journal", tmp_path / "usage.db")
    assert result.returncode == 0 and "nothing was used in that time" in result.stdout


def test_no_journal():
    result = usage("--journal", "/nonexistent/usage.db")
    assert result.returncode == 1
    assert "/nonexistent/usage.db: No such file or directory" in result.stderr


def test_old_rows_and_too_many_are_removed(tmp_path):
    tmp_path.chmod(0o755)
    journal = tmp_path / "usage.db"
    now = int(time.time()) // 60 * 60
    rows = [(now - 10 * 86400, "old", 1, 1), (now - 3600, "red", 2, 1)]
    journal_of(journal, rows)
    with Accounted(journal=journal, more="keep_days = 9;") as host:
        works(host, BLUE)
        host.written("blue", copied_in_bytes=1)
        daemons.wait_until(lambda: ("old", None) not in host.usage("--since", "@0"), 10, "it is old")
        assert ("red", None) in host.usage("--since", "@0")
    with contextlib.closing(sqlite3.connect(journal)) as database, database:
        database.executemany("INSERT INTO usage VALUES (?, 2, 0, 0, 0, ?, 0, 0, 0, 0, 0)",
                             ((now - 60 * i, i) for i in range(61, 60061)))
    assert journal.stat().st_size > 1 << 20
    with Accounted(journal=journal, more="keep_mib = 1;") as host:
        for _ in range(12):
            works(host, BLUE)
        host.written("blue", copied_in_bytes=12 * (3 * MIB + 100))
        daemons.wait_until(lambda: journal.stat().st_size <= 1.2 * (1 << 20), 10, "it is small")
        assert ("blue", None) in host.usage("--since", "1h")  # the newest are kept


def test_a_locked_journal_is_waited_for(tmp_path):
    """As a daemon locks it for a moment when it starts or ends."""
    tmp_path.chmod(0o755)
    journal = tmp_path / "usage.db"
    journal_of(journal, [(int(time.time()) // 60, "red", 2, 1)])
    with contextlib.closing(sqlite3.connect(journal, isolation_level=None)) as database:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("BEGIN EXCLUSIVE")
        database.execute("DELETE FROM usage WHERE minute = 0")
        process = subprocess.Popen([CAUSEWAY, "usage", "--journal", journal, "--json"], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        database.execute("COMMIT")
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 0 and "rows" in output, errors


@pytest.mark.parametrize("settings, sentence", (
    ('journal = "usage.db";', "accounting.journal is 'usage.db': expected a path from the root"),
    ('journal = "/x"; keep_days = 0;', "keep_days is 0: expected 1 to 36500"),
    ('journal = "/x"; keep = 1;', "unknown setting 'keep'"),
))
def test_bad_settings_are_refused(settings, sentence):
    host = Host(red_and_blue())
    host.plain += f"accounting = {{ {settings} }};\n"
    host.write(red_and_blue())
    with pytest.raises(daemons.DaemonError) as error:
        host.start()
    assert sentence in str(error.value)


def test_metrics_have_it_for_tenants_and_clients():
    port = daemons.free_tcp_port()
    host = Host(red_and_blue(), more=f'metrics = "127.0.0.1:{port}";')
    with host:
        client = Allocator(host, RED)
        _, number = client.alloc(MIB)
        assert client.ask("put", number, MIB) == [0]

        def metrics():
            return subprocess.run(["curl", "-s", f"http://127.0.0.1:{port}/metrics"],
                                  capture_output=True, text=True, check=True).stdout
        assert re.search(r'^causeway_cudad_tenant_copied_in_bytes_total\{tenant="red"\} 1048576$',
                         metrics(), re.M)
        assert re.search(r'^causeway_cudad_client_usage_copied_in_bytes_total\{client="1",'
                         r'tenant="red",identity="uid \d+ pid \d+"\} 1048576$', metrics(), re.M)
        for name in ("device_seconds", "launches", "calls", "memory_time_byte_seconds", "waits",
                     "waited_seconds"):
            assert f"causeway_cudad_tenant_{name}_total" in metrics()
        client.end()

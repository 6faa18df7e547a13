# SPDX-License-Identifier: Apache-2.0
"""Launches are recorded, and replayed by the simulator: what it says is what was measured."""
import json
import os
import pathlib
import signal
import struct
import subprocess
import time

import pytest

import daemons
from tenants import BLUE, RED, Allocator, Host, busy, others_can_read, red_and_blue  # noqa: F401

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be several users")

CAUSEWAY = daemons.BUILD / "cli" / "causeway"
RECORD = 88
SECONDS = 3  # that are recorded
SLOW = 20 if os.environ.get("CAUSEWAY_PRELOAD") else 1  # what a sanitizer makes of a kernel


def simulate(*words):
    return daemons.run_program([CAUSEWAY, "simulate", *words], {})


def replayed(path, *words):
    result = simulate("--recorded", path, "--json", *words)
    assert result.returncode == 0, result.stderr
    return {tenant["name"]: tenant for tenant in json.loads(result.stdout)["tenants"]}


def record(host, path, seconds):
    return subprocess.Popen([CAUSEWAY, "tenant", "--control", host.control, "record", path,
                             f"seconds={seconds}"], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


@pytest.fixture(scope="module", name="recording")
def fixture_recording(tmp_path_factory):
    """Two tenants, 3 to 1, with kernels of unlike lengths; one has two clients."""
    folder = tmp_path_factory.mktemp("recorded")
    path = folder / "launches"
    with Host(red_and_blue(more="weight = 3;")) as host:
        loads = [busy(host, RED, 6, iterations=40000 // SLOW, depth=16),
                 busy(host, RED, 6, iterations=40000 // SLOW, depth=16),
                 busy(host, BLUE, 6, iterations=400000 // SLOW, depth=4)]
        daemons.wait_until(lambda: len(host.table()) == 2 and all(
            row["launches"] > 20 for row in host.table().values()), 30, "both run")
        start = time.monotonic()
        before = {name: row["device"] for name, row in host.table().items()}
        output, errors = record(host, path, SECONDS).communicate(timeout=40)
        after = {name: row["device"] for name, row in host.table().items()}
        # The part of the time that was measured and not recorded: there shares may be any.
        besides = 1 - SECONDS / (time.monotonic() - start)
        assert errors == ""
        for load in loads:
            load.communicate(timeout=60)
    used = {name: after[name] - before[name] for name in after}
    yield path, output, {name: value / sum(used.values()) for name, value in used.items()}, besides


def test_a_replay_gives_the_shares_that_were_measured(recording):
    path, output, measured, besides = recording
    assert " launches of 3 clients in " in output and "0 pieces were lost" in output
    tenants = replayed(path)
    assert set(tenants) == {"red", "blue"}
    for name, tenant in tenants.items():
        assert abs(tenant["recorded_share"] - measured[name]) < 0.03 + besides, (name, measured)
        assert abs(tenant["share"] - measured[name]) < 0.05 + besides, (tenants, measured)
    assert tenants["red"]["due"] == 0.75


def test_policies_are_compared(recording):
    path, *_ = recording
    fair = replayed(path)
    equal = replayed(path, "--tenant", "red,weight=1")
    assert equal["red"]["due"] == 0.5
    assert equal["red"]["share"] < fair["red"]["share"] - 0.1, (equal, fair)
    higher = replayed(path, "--tenant", "blue,priority=1")
    assert higher["blue"]["share"] > fair["blue"]["share"]
    for policy in ("virtual-time", "first-come"):
        assert set(replayed(path, "--policy", policy)) == {"red", "blue"}
    table = simulate("--recorded", path)
    assert "recorded" in table.stdout.splitlines()[0] and "red" in table.stdout


def test_the_file_is_bounded_by_its_records(recording, tmp_path):
    """Cut anywhere, it is read up to there; damaged, it is refused with the record's number."""
    content = recording[0].read_bytes()
    assert (len(content) - 32) % RECORD == 0
    cut = tmp_path / "cut"
    cut.write_bytes(content[:32 + 20 * RECORD + 50])
    assert replayed(cut)
    for at, value, sentence in (
            (0, b"x", "it is no file of recorded launches"),
            (8, struct.pack("<I", 9), "it is of version 9, expected 1"),
            (32, struct.pack("<I", 7), "record 1: unknown kind"),
            (32 + 8, struct.pack("<I", 0), "record 1: a tenant's weight or priority"),
            (32 + 16, bytes(64), "record 1: expected a tenant's name")):
        damaged = tmp_path / "damaged"
        damaged.write_bytes(content[:at] + value + content[at + len(value):])
        result = simulate("--recorded", damaged)
        assert result.returncode == 2 and sentence in result.stderr, result.stderr
    result = simulate("--recorded", recording[0], "--device", "3")
    assert result.returncode == 2 and "no launch on device 3" in result.stderr


def test_a_program_that_waits_is_one_in_the_replay(tmp_path):
    """Alone, each of its kernels waited for, it issues no faster in the replay than it did."""
    path = tmp_path / "launches"
    with Host(red_and_blue()) as host:
        load = busy(host, RED, 4, iterations=100000, depth=1)
        daemons.wait_until(lambda: host.table()["red"]["launches"] > 20, 30, "it runs")
        before = host.table()["red"]["launches"]
        output, _ = record(host, path, 2).communicate(timeout=40)
        launches = host.table()["red"]["launches"] - before
        load.communicate(timeout=60)
    assert " launches of 1 clients in " in output
    tenant = replayed(path)["red"]
    assert 0.8 * launches <= tenant["launches"] <= 1.05 * launches, (tenant, launches)
    # Twice as many of it want more than there is: a program that did not wait would take it all.
    alone = replayed(path, "--seconds", "1")["red"]
    assert alone["launches"] < 0.7 * tenant["launches"]


def test_what_is_refused(tmp_path):
    path = tmp_path / "launches"
    path.write_text("")
    with Host(red_and_blue()) as host:
        refused = host.tenant("record", path)
        assert refused.returncode == 1 and "File exists" in refused.stderr
        first = record(host, tmp_path / "one", 60)
        daemons.wait_until((tmp_path / "one").exists, 10, "it has begun")
        second = host.tenant("record", tmp_path / "two", "seconds=1")
        assert second.returncode == 1 and "recorded already" in second.stderr
        client = Allocator(host, BLUE)
        client.alloc(4096)
        client.end()
        time.sleep(0.1)
        first.send_signal(signal.SIGINT)
        output, errors = first.communicate(timeout=20)
        assert first.returncode == 0 and "of 1 clients" in output, errors
        assert host.tenant("record", "x", "seconds=0").returncode == 2
        assert (tmp_path / "one").stat().st_mode & 0o777 == 0o600
    with Host(red_and_blue(), turns=False) as host:
        refused = host.tenant("record", tmp_path / "three")
        assert refused.returncode == 1 and "set turns = true" in refused.stderr
        assert not pathlib.Path(tmp_path / "three").exists()

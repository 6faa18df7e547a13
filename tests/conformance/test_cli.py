# SPDX-License-Identifier: Apache-2.0
"""The causeway command: misuse is answered with a sentence and status 2."""
import json
import subprocess

import pytest

import daemons

CAUSEWAY = daemons.BUILD / "cli" / "causeway"


@pytest.mark.parametrize("words, sentence", (
    ([], "usage: causeway COMMAND"),
    (["nonsense"], 'there is no command "nonsense"'),
    (["demo", "--kind", "nonsense"], 'no kind of virtual machine "nonsense"'),
    (["demo", "--nonsense"], "unrecognized option"),
))
def test_misuse(words, sentence):
    result = daemons.run_program([CAUSEWAY, *words], {})
    assert result.returncode == 2
    assert sentence in result.stderr


@pytest.mark.parametrize("words, sentence", (
    ([], "no --tenant"),
    (["--tenant", "a"], "expected either trace=FILE or kernel=US"),
    (["--tenant", "a,kernel=1,weight=0"], 'weight is "0": expected a number from 1 to 1000'),
    (["--tenant", "a,kernel=1", "--policy", "lottery"], 'policy is "lottery"'),
    (["--tenant", "a,trace=/nonexistent"], "cannot read '/nonexistent'"),
))
def test_simulate_misuse(words, sentence):
    result = daemons.run_program([CAUSEWAY, "simulate", *words], {})
    assert result.returncode == 2
    assert sentence in result.stderr


def test_simulate_replays_a_trace(tmp_path):
    trace = tmp_path / "steps.trace"
    trace.write_text("# a step of three kernels, waited for\n5 900\n5 40\n5 60 wait\n")
    words = ["--seconds", "5", "--tenant", f"steps,weight=3,trace={trace}",
             "--tenant", "batch,kernel=10000", "--json"]
    result = daemons.run_program([CAUSEWAY, "simulate", *words], {})
    assert result.returncode == 0
    answer = json.loads(result.stdout)
    steps, batch = answer["tenants"]
    assert steps["share"] == pytest.approx(0.75, rel=0.02)
    assert batch["share"] == pytest.approx(0.25, rel=0.02)
    assert steps["launches"] > 1000
    first_come = json.loads(daemons.run_program(
        [CAUSEWAY, "simulate", "--policy", "first-come", *words], {}).stdout)
    assert first_come["tenants"][0]["share"] < 0.6


def test_help():
    result = daemons.run_program([CAUSEWAY, "--help"], {})
    assert result.returncode == 0
    assert "demo" in result.stdout and "status" in result.stdout


def test_user_program_that_cannot_start():
    result = daemons.run_program([CAUSEWAY, "demo", "--driver", "softgpu", "--", "./no-such"], {})
    assert result.returncode == 125
    assert "cannot start ./no-such" in result.stderr


def test_status_shows_clients():
    with daemons.Cudad() as cudad:
        client = cudad.start_client("ring", [daemons.PROGRAMS / "driver_client", "idle"],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        while "ready" not in (line := client.stdout.readline()):
            assert line, "the client ended at its start"
        (worker,) = cudad.workers()
        shown = daemons.run_program([CAUSEWAY, "status", "--socket", cudad.control], {})
        assert shown.returncode == 0, shown.stderr
        assert "clients 1, max clients 256" in shown.stdout and str(worker) in shown.stdout
        raw = daemons.run_program([CAUSEWAY, "status", "--json", "--socket", cudad.control], {})
        assert json.loads(raw.stdout)["clients"][0]["worker"] == worker
        client.communicate("", timeout=20)


def test_status_without_a_daemon(tmp_path):
    result = daemons.run_program([CAUSEWAY, "status", "--socket", tmp_path / "none"], {})
    assert result.returncode == 1
    assert "No such file" in result.stderr


def test_cuda_coverage():
    """The table has a line a function; a name's beginning picks some of them."""
    full = subprocess.run([CAUSEWAY, "cuda", "coverage", "--tsv"], capture_output=True, text=True,
                          check=True).stdout.splitlines()
    assert full[0].split("\t") == ["function", "implemented", "cached", "reply-less", "tested by"]
    rows = {line.split("\t")[0]: line.split("\t") for line in full[1:]}
    assert rows["cuGraphLaunch"][1] == "by hand"
    assert rows["cuEventRecord"][3] == "yes" and rows["cuMemAlloc_v2"][3] == "no"
    assert rows["cuDeviceCanAccessPeer"][2] == "yes"
    some = subprocess.run([CAUSEWAY, "cuda", "coverage", "cuGraph"], capture_output=True, text=True,
                          check=True).stdout.splitlines()[1:]
    assert some and all(line.startswith("cuGraph") for line in some)
    none = subprocess.run([CAUSEWAY, "cuda", "coverage", "cuNone"], capture_output=True, text=True,
                          check=False)
    assert none.returncode == 1

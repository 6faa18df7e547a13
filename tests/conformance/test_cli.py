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

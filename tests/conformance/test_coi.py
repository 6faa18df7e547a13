# SPDX-License-Identifier: Apache-2.0
"""Offload mode on this host: COI's calls against a card, and what faults leave."""
import os
import signal
import subprocess

import daemons
import pytest

PROGRAMS = daemons.BUILD / "tests" / "coi"
CASES = [PROGRAMS / "coi_cases", PROGRAMS / "coi_sink"]
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can run causeway-card"),
    pytest.mark.skipif("CAUSEWAY_PRELOAD" in os.environ,
                       reason="a card has no sanitizers' libraries, nor room for their shadows")]


@pytest.fixture(name="card", scope="module")
def start_card():
    with daemons.Scifd() as scifd, daemons.Card(scifd, ["--memory", "1G"]) as card:
        yield card


def start(card, arguments, **options):
    return card.scifd.start_program(card.scifd.host, arguments, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, **options)


def run(card, arguments, timeout=120, **options):
    program = start(card, arguments, **options)
    output, _ = program.communicate(timeout=timeout)
    return program.returncode, output


def assert_nothing_left(card):
    """No program on the card, no endpoint of host processes, nothing pinned."""
    daemons.wait_until(lambda: card.report()["card"][0]["running"] == 0, 20, "programs are gone")
    daemons.wait_until(lambda: card.scifd.nodes()["host"]["endpoints"] == 0, 20, "endpoints gone")
    host = card.scifd.nodes()["host"]
    assert (host["windows"], host["pinned"]) == (0, 0)


def test_cases(card):
    status, output = run(card, CASES)
    failures = [line for line in output.splitlines() if line.startswith(("FAILED", "skip"))]
    assert status == 0 and not failures, output[-3000:]
    assert int(output.splitlines()[-1].split()[0]) >= 35, output[-300:]
    assert "sink says hello" in output
    assert_nothing_left(card)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_source_leaves_nothing(card, number):
    program = start(card, [PROGRAMS / "coi_faults", PROGRAMS / "coi_sink", "hold"])
    assert program.stdout.readline() == "holding\n"
    assert card.report()["card"][0]["running"] == 1
    program.send_signal(number)
    program.wait(20)
    assert_nothing_left(card)


def test_the_sink_is_killed(card):
    """From outside, in the middle of a run function: what waits gets COI_PROCESS_DIED."""
    program = start(card, [PROGRAMS / "coi_faults", PROGRAMS / "coi_sink", "hold"])
    assert program.stdout.readline() == "holding\n"
    sink = next(int(entry) for entry in os.listdir("/proc") if entry.isdigit()
                and command_line(entry).startswith("coi_sink"))
    os.kill(sink, signal.SIGKILL)
    output, _ = program.communicate(timeout=20)
    assert output.splitlines() == ["run: COI_PROCESS_DIED", "write: COI_PROCESS_DIED",
                                   "destroy: COI_SUCCESS", "ended by 9"]
    assert_nothing_left(card)


def command_line(entry):
    try:
        with open(f"/proc/{entry}/cmdline", encoding="utf-8", errors="replace") as file:
            return file.read().split("\0")[0].rsplit("/", 1)[-1]
    except OSError:
        return ""


def test_the_card_is_reset(card):
    program = start(card, [PROGRAMS / "coi_faults", PROGRAMS / "coi_sink", "hold"])
    assert program.stdout.readline() == "holding\n"
    assert card.scifd.ask("card-down", name="mic0") == {}
    output, _ = program.communicate(timeout=20)
    status, alone = run(card, CASES + ["engines"])
    assert (status, alone) == (2, "coi_cases: there is no card\n")
    assert card.scifd.ask("card-up", name="mic0") == {}
    assert output.splitlines() == ["run: COI_PROCESS_DIED", "write: COI_PROCESS_DIED",
                                   "destroy: COI_SUCCESS", "ended by 9"]
    daemons.wait_until(lambda: run(card, CASES + ["main_returns"])[0] == 0, 30, "the card is back")
    assert_nothing_left(card)


def test_missing_libraries(card):
    """COI_MISSING_DEPENDENCY when the program needs what is neither here nor on the card."""
    linked = PROGRAMS / "coi_linked_sink"
    status, output = run(card, [PROGRAMS / "coi_faults", linked, "start"])
    assert (status, output) == (1, "start: COI_MISSING_DEPENDENCY\n")
    status, output = run(card, [PROGRAMS / "coi_faults", linked, "start"],
                         environment={"SINK_LD_LIBRARY_PATH": str(PROGRAMS)})
    assert (status, output) == (0, "start: COI_SUCCESS\n")
    assert_nothing_left(card)


def test_a_full_card():
    with daemons.Scifd() as scifd, daemons.Card(scifd, ["--programs", "1", "--queue", "0"]) as card:
        program = start(card, [PROGRAMS / "coi_faults", PROGRAMS / "coi_sink", "hold"])
        assert program.stdout.readline() == "holding\n"
        status, output = run(card, [PROGRAMS / "coi_faults", PROGRAMS / "coi_sink", "start"])
        assert (status, output) == (1, "start: COI_RESOURCE_EXHAUSTED\n")
        program.kill()
        program.wait()
        assert_nothing_left(card)

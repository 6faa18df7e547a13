# SPDX-License-Identifier: Apache-2.0
"""causeway-card and micnativeloadex on this host: native mode, the sandbox, errors, sharing."""
import os
import re
import signal
import subprocess

import daemons
import pytest

PROGRAMS = daemons.BUILD / "tests" / "card"
HELLO = PROGRAMS / "card_hello"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run causeway-card")


@pytest.fixture(name="card", scope="module")
def start_card():
    with daemons.Scifd() as scifd, daemons.Card(scifd, ["--memory", "256M"]) as card:
        yield card


def run(card, *arguments, stdin=None, timeout=60, env=None, program=HELLO):
    """One program on the card to its end: status, standard output, standard error."""
    words = [program, *arguments]
    started = card.load(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE, environment=env)
    output, errors = started.communicate(stdin, timeout=timeout)
    return started.returncode, output, errors


def start(card, *arguments):
    return card.load([HELLO, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                     stderr=subprocess.PIPE)


def assert_nothing_left(card):
    """No worker, no sandbox, no mount and no endpoint is left."""
    acceptor, = daemons.children(card.pid)
    daemons.wait_until(lambda: not daemons.children(acceptor), 20, "workers are gone")
    daemons.wait_until(lambda: not sandboxed(), 20, "programs are gone")
    daemons.wait_until(lambda: card.scifd.nodes()["mic0"]["windows"] == 0, 20, "windows are gone")
    assert card.report()["card"][0]["clients"] == 0


def sandboxed():
    """Processes of users that programs of a card run as."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if 60000 <= os.stat(f"/proc/{pid}").st_uid < 60064:
                found.append(int(pid))
        except OSError:
            pass
    return found


def test_output_and_status(card):
    status, output, errors = run(card)
    assert (status, output, errors) == (7, "hello from the card\n", "and a word aside\n")
    assert_nothing_left(card)


def test_input_reaches_the_program(card):
    text = "".join(f"line {number}\n" for number in range(100000))
    assert run(card, "-a", "echo", stdin=text) == (0, text, "")


def test_console_proxy_can_be_switched_off(card):
    assert run(card, "-p") == (7, "", "")


def test_environment(card):
    status, output, _ = run(card, "-a", "environment", "-e", "ONE=1 TWO='a b' LD_LIBRARY_PATH=/x")
    lines = output.splitlines()
    assert status == 0 and {"ONE=1", "TWO=a b", "LD_LIBRARY_PATH=/home/lib:/x"} <= set(lines)
    assert f"OMP_NUM_THREADS={os.cpu_count()}" in lines


def test_libraries_are_sent(card):
    program = PROGRAMS / "card_linked"
    status, _, errors = run(card, program=program)
    assert status == 1 and "libcard_extra.so, which is neither along" in errors, errors
    status, output, _ = run(card, program=program, env={"SINK_LD_LIBRARY_PATH": str(PROGRAMS)})
    assert (status, output) == (0, "extra says 42\n")
    status, output, _ = run(card, "-l", program=program,
                            env={"SINK_LD_LIBRARY_PATH": f"/nowhere:{PROGRAMS}"})
    found, missing = output.split("Dependencies Not Found Locally")
    assert status == 0 and f"{PROGRAMS}/libcard_extra.so" in found and "libc.so.6" in missing
    assert_nothing_left(card)


def test_the_sandbox_shows_nothing_of_the_host(card):
    _, output, _ = run(card, "-a", "where")
    lines = dict(line.split(":", 1) for line in output.splitlines() if ":" in line)
    assert output.startswith("host mic0 user 60000 process 2 ")
    assert all(int(lines[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd"))
    assert sorted(lines["/"].split()) == ["dev", "etc", "home", "lib", "lib64", "proc", "run",
                                         "sys", "tmp"]
    assert sorted(lines["/home"].split()) == ["card_hello", "lib"]
    assert sorted(filter(str.isdigit, lines["/proc"].split())) == ["1", "2"]
    assert lines["/run"].split() == ["scif.sock"]


def test_the_sandbox_refuses(card):
    status, output, _ = run(card, "-a", "forbidden")
    assert status == 0 and len(output.splitlines()) == 9
    assert not [line for line in output.splitlines() if line.endswith("allowed")], output


def test_memory_is_bounded(card):
    assert run(card, "-a", "memory 100")[0] == 0
    status, output, _ = run(card, "-a", "memory 300")
    assert status == 3 and output == "no memory\n"


@pytest.mark.parametrize("content, expected", [
    (b"#!/bin/sh\necho hello\n", "a script; the card runs x86-64 programs"),
    (b"nonsense", "not an ELF file"),
    (b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb5\x00" + bytes(60), "Knights Corner"),
])
def test_bad_executables(card, tmp_path, content, expected):
    bad = tmp_path / "bad"
    bad.write_bytes(content)
    status, output, errors = run(card, program=bad)
    assert (status, output) == (1, "") and str(bad) in errors and expected in errors


def test_missing_executable(card):
    status, _, errors = run(card, program="/nowhere/program")
    assert (status, errors) == (1, "micnativeloadex: /nowhere/program: No such file or directory\n")


def test_crash_is_told(card):
    status, _, errors = run(card, "-a", "crash")
    assert status == 128 + signal.SIGSEGV and "Exit reason: SIGNAL - Segmentation fault" in errors


def test_time_limit(card):
    status, output, errors = run(card, "-a", "sleep", "-t", "1")
    assert status == 124 and output == "sleeping\n" and "within 1 seconds" in errors
    assert_nothing_left(card)


def test_a_signal_to_the_whole_service_ends_it_in_order():
    """A service manager sends it to each process: who accepts leaves the end to the supervisor."""
    with daemons.Scifd() as scifd, daemons.Card(scifd) as card:
        acceptor, = daemons.children(card.pid)
        os.kill(acceptor, signal.SIGTERM)
        assert run(card)[0] == 7
        card.process.terminate()
        assert card.process.wait(20) == 0, card.log()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_killed_clients_leave_nothing(card, number):
    program = start(card, "-a", "sleep")
    assert program.stdout.readline() == "sleeping\n"
    assert len(sandboxed()) == 2
    program.send_signal(number)
    assert program.wait(20) == (-number if number == signal.SIGKILL else 128 + number)
    assert_nothing_left(card)


def test_the_card_is_lost():
    with daemons.Scifd() as scifd, daemons.Card(scifd) as card:
        program = start(card, "-a", "sleep")
        assert program.stdout.readline() == "sleeping\n"
        card.process.send_signal(signal.SIGKILL)
        card.process.wait()
        _, errors = program.communicate(timeout=20)
        assert program.returncode == 1 and "card 0 is lost" in errors
        daemons.wait_until(lambda: not sandboxed(), 20, "programs are gone")
        status, _, errors = run(card)
        assert status == 1 and "causeway-card is not running there" in errors
        status, _, errors = run(card, "-d", "7")
        assert status == 1 and "there is no card 7" in errors


def test_reset_and_restart():
    with daemons.Scifd() as scifd, daemons.Card(scifd) as card:
        for command in ("reset", "restart"):
            program = start(card, "-a", "sleep")
            assert program.stdout.readline() == "sleeping\n"
            assert card.ask(command) == {}
            _, errors = program.communicate(timeout=20)
            assert program.returncode in (1, 128 + signal.SIGKILL), errors
            daemons.wait_until(lambda: not sandboxed(), 20, "programs are gone")
            daemons.wait_until(card.ready, 20, "the card is back")
            daemons.wait_until(lambda: run(card)[0] == 7, 20, "it runs programs")


def test_the_card_is_full():
    with daemons.Scifd() as scifd, daemons.Card(scifd, ["--programs", "1", "--queue", "1"]) as card:
        first = start(card, "-a", "sleep")
        assert first.stdout.readline() == "sleeping\n"
        second = start(card, "-a", "hello")
        assert second.stderr.readline() == "The card is busy; 0 before this one.\n"
        status, _, errors = run(card)
        assert status == 1 and "the card is full: 1 program is there, and 1 wait" in errors
        first.send_signal(signal.SIGKILL)
        first.wait()
        output, _ = second.communicate(timeout=20)
        assert (second.returncode, output) == (7, "hello from the card\n")
        assert card.report()["vm"][0]["refused"] == 1


def test_space_gives_cores_of_ones_own():
    with daemons.Scifd() as scifd, daemons.Card(scifd, ["--policy", "space", "--cores", "0"]) as card:
        first = start(card, "-a", "sleep")
        assert first.stdout.readline() == "sleeping\n"
        second = start(card, "-a", "where")
        assert "busy" in second.stderr.readline()
        first.send_signal(signal.SIGTERM)
        first.wait(20)
        output, _ = second.communicate(timeout=20)
        assert re.match(r"host mic0 user 60000 process 2 cores 1\n", output)


def test_core_seconds_are_counted():
    with daemons.Scifd() as scifd, daemons.Card(scifd) as card:
        assert run(card, "-a", "spin 0.5")[0] == 0
        assert 0.5 <= card.report()["vm"][0]["core_seconds"] < 0.6
        program = start(card, "-a", "spin 100")
        assert program.stdout.readline() == "spinning\n"
        daemons.wait_until(lambda: card.report()["vm"][0]["core_seconds"] > 0.8, 20,
                           "a program that runs is counted")
        used = card.report()["vm"][0]["core_seconds"]
        program.kill()
        program.wait()
        assert_nothing_left(card)
        assert card.report()["vm"][0]["core_seconds"] >= used  # and so is one that was killed

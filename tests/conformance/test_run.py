# SPDX-License-Identifier: Apache-2.0
"""causeway run: its options, its rules' errors, and programs that no library can be loaded into."""
import os
import shutil
import subprocess

import pytest

import daemons

CAUSEWAY = daemons.BUILD / "cli" / "causeway"
LIBRARY = daemons.BUILD / "vsock" / "wrap" / "libcauseway-wrap.so"
ASKS_FOR_A_SOCKET = ("import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); "
                     "print(s.getsockname()[0])")


def run(*words, env=None):
    return daemons.run_program([CAUSEWAY, "run", *words], env or {})


@pytest.fixture
def rules(tmp_path):
    """rules(text): the path of a file with it."""
    def write(text):
        path = tmp_path / "wrap.rules"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("words, sentence", (
    ([], "expected a program"),
    (["--map"], "requires an argument"),
    (["--nonsense", "true"], "unrecognized option"),
))
def test_misuse(words, sentence):
    result = run(*words)
    assert result.returncode == 2
    assert sentence in result.stderr


def test_a_bad_rule_is_named(rules):
    path = rules("map 10.0.0.0/8 host\nuse sdp any * *\n")
    result = run("--map", path, "true")
    assert result.returncode == 125
    assert f'{path}:2: "use sdp": expected tcp, vsock or both' in result.stderr


def test_rules_that_are_not_there(tmp_path):
    result = run("--map", tmp_path / "none", "true")
    assert result.returncode == 125
    assert "none: No such file" in result.stderr


def test_statuses():
    assert run("sh", "-c", "exit 7").returncode == 7
    missing = run("no-such-program")
    assert missing.returncode == 127 and "no-such-program: No such file" in missing.stderr


def test_options_behind_the_program_are_its_own():
    result = run("echo", "--map", "--explain")
    assert result.stdout == "--map --explain\n"


def test_environment(rules):
    """The library goes behind those that are preloaded already; the rules travel as text."""
    before = os.environ.get("CAUSEWAY_PRELOAD") or "libm.so.6"
    result = run("--map", rules("use tcp any * *\n"), "env", env={"LD_PRELOAD": before})
    lines = result.stdout.splitlines()
    assert f"LD_PRELOAD={before}:{LIBRARY}" in lines
    at = lines.index("CAUSEWAY_WRAP_RULES=")
    assert lines[at + 1] == "use tcp any * *"
    assert any(line.startswith("CAUSEWAY_WRAP_LOG=refused:") for line in lines)
    twice = run(CAUSEWAY, "run", "env").stdout
    assert twice.count(str(LIBRARY)) == 1


@pytest.mark.parametrize("rule, line", (
    ("use tcp any * *", "on TCP alone (by rule)"),
    ("use both any nginx *", ""),
    ("use both client * *", "on TCP alone (no rule)"),
    ("map 10.0.0.1 cid 9\nuse both any * 10.0.0.0/8", "on TCP alone (no rule)"),
    ("use both any * *:1-9\nuse both client * *", "on TCP alone (no rule)"),
))
def test_explain_says_why_a_socket_stays(rules, rule, line):
    path = rules("use vsock client sleep *\n" + rule)
    result = run("--explain", "--map", path, "/usr/bin/python3", "-c", ASKS_FOR_A_SOCKET)
    assert result.stdout == "127.0.0.1\n"
    # A program that only has rules for tcp, or none, is left alone altogether.
    assert line in result.stderr if "use tcp" not in rule else result.stderr == ""
    quiet = run("--map", path, "/usr/bin/python3", "-c", ASKS_FOR_A_SOCKET)
    assert quiet.stdout == "127.0.0.1\n" and quiet.stderr == ""


def test_lines_do_not_go_into_a_program_s_own_files(tmp_path, rules):
    """It closes the descriptor that lines go to by other means, and opens a file there."""
    script = ("import os, socket\n"
              "fd = int(os.environ['CAUSEWAY_WRAP_LOG'].split(':')[1])\n"
              f"os.dup2(os.open({str(tmp_path / 'own')!r}, os.O_CREAT | os.O_WRONLY), fd)\n"
              + ASKS_FOR_A_SOCKET)
    result = run("--explain", "--map", rules("use both client * *"), "/usr/bin/python3", "-c",
                 script)
    assert result.stdout == "127.0.0.1\n" and result.stderr == ""
    assert (tmp_path / "own").read_bytes() == b""


def test_lines_without_a_reader_do_not_end_the_program(rules):
    """Its standard error is a pipe that nobody reads any more."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as broken:
        result = subprocess.run(
            [CAUSEWAY, "run", "--explain", "--map", rules("use both client * *"),
             "/usr/bin/python3", "-c",
             f"import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL); {ASKS_FOR_A_SOCKET}"],
            env=daemons.client_environment({}), stderr=broken, stdout=subprocess.PIPE, text=True,
            check=True)
    assert result.stdout == "127.0.0.1\n"


@pytest.fixture
def compiled(tmp_path):
    """compiled(options): a program of the C compiler."""
    source = tmp_path / "main.c"
    source.write_text("int main(void) { return 0; }\n")

    def build(*options):
        subprocess.run(["cc", "-o", tmp_path / "program", source, *options], check=True)
        return tmp_path / "program"

    return build


def refusal(*words):
    result = run(*words)
    assert result.returncode == 126, result.stderr
    assert "so it is not started" in result.stderr
    return result.stderr


@pytest.mark.parametrize("options", (["-static"], ["-static-pie"]))
def test_static_programs_are_refused(compiled, options):
    assert "is statically linked" in refusal(compiled(*options))


def test_go_programs_are_refused(compiled, tmp_path):
    program = compiled()
    subprocess.run(["objcopy", "--add-section", f".go.buildinfo={tmp_path / 'main.c'}", program],
                   check=True)
    assert "is a Go program" in refusal(program)


@pytest.mark.skipif(not shutil.which("patchelf"), reason="patchelf is missing")
def test_programs_of_another_libc_are_refused(compiled):
    program = compiled()
    subprocess.run(["patchelf", "--set-interpreter", "/lib/ld-musl-x86_64.so.1", program],
                   check=True)
    assert "another C library" in refusal(program)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make such files")
@pytest.mark.parametrize("mode, owner", ((0o4755, (65534, 0)), (0o2755, (0, 65534))))
def test_programs_with_rights_of_their_own_are_refused(compiled, mode, owner):
    program = compiled()
    os.chown(program, *owner)
    program.chmod(mode)
    assert "rights of its own" in refusal(program)


def test_scripts_are_as_good_as_their_interpreter(compiled, tmp_path):
    script = tmp_path / "script"
    script.write_text(f"#!{compiled('-static')} -x\n")
    script.chmod(0o755)
    assert "program is statically linked" in refusal(script)
    script.write_text("#!/bin/sh\nexit 5\n")
    assert run(script).returncode == 5


def test_a_file_that_is_no_program(tmp_path):
    path = tmp_path / "text"
    path.write_text("no program")
    path.chmod(0o644)
    result = run(path)
    assert result.returncode == 126 and "Permission denied" in result.stderr

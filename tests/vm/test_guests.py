# SPDX-License-Identifier: Apache-2.0
"""Guests of every kind: commands, output, files, time limits, and that nothing stays behind."""

import contextlib
import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
import time
import uuid

import pytest
from conftest import ROOT

from testbed import cache
from testbed.errors import GuestError, GuestTimeout
from testbed.guest import Guest
from testbed.machines import KvmProbe, Qemu

GUEST = ROOT / "testbed" / "guest"


def run(*arguments, **options):
    return subprocess.run([GUEST, "run", "--timeout", "120", *map(str, arguments)],
                          capture_output=True, timeout=180, **options)


def marked(mark):
    """The processes that were started with the mark in their environment."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def guests():
    """guests(kind): a running guest, kept for all tests of this file that need no other."""
    with contextlib.ExitStack() as stack:
        running = {}

        def get(kind):
            if kind not in running:
                running[kind] = stack.enter_context(Guest(kind, quiet=True))
            return running[kind]

        yield get


def test_output_and_status_of_a_command(kind):
    done = run("--kind", kind, "--env", "NAME=a value", "--",
               "sh", "-c", 'echo "out $NAME"; echo err >&2; exit 7')
    assert done.returncode == 7
    assert done.stdout == b"out a value\n"
    lines = done.stderr.decode().splitlines()
    assert "err" in lines
    assert all(line.startswith("testbed: ") for line in lines if line != "err")


@pytest.mark.parametrize("script, status", [
    ("exit 0", 0), ("exit 255", 255), ("kill -9 $$", 137), ("kill -15 $$", 143),
    ("exec /nothing/here", 127), ("exec /etc/passwd", 126)])
def test_statuses(kind, guests, script, status):
    assert guests(kind).run(["sh", "-c", script]).status == status


def test_a_command_that_does_not_exist(kind, guests):
    result = guests(kind).run(["no-such-program"])
    assert result.status == 127
    assert b"no-such-program" in result.stderr


def test_output_arrives_while_the_command_runs(kind, guests):
    command = guests(kind).start(["sh", "-c", "echo one; read -r line; echo two $line; exit 3"])
    command.expect(rb"one\n")
    assert command.status is None
    command.write(b"more\n")
    command.expect(rb"two more\n")
    assert command.wait(10) == 3


def test_programs_bring_their_libraries_and_files_their_modes(kind, tmp_path):
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "script").write_text("#!/root/bash\necho from $BASH\n")
    (folder / "below" / "script").chmod(0o755)
    (folder / "plain").write_text("content\n")
    done = run("--kind", kind, "--file", "/bin/bash", "--file", f"{folder}:/opt/folder", "--",
               "bash", "-c", "/opt/folder/below/script && cat /opt/folder/plain && "
               "test ! -x /opt/folder/plain")
    assert (done.returncode, done.stdout) == (0, b"from /root/bash\ncontent\n"), done.stderr


def test_a_folder_of_the_host_is_seen_and_not_written(kind, tmp_path):
    (tmp_path / "file").write_text("of the host")
    with Guest(kind, folders=[tmp_path], quiet=True) as guest:
        assert guest.run(["cat", tmp_path / "file"]).stdout == b"of the host"
        refused = guest.run(["sh", "-c", f"echo x >{tmp_path}/new"])
        assert refused.status and b"Read-only" in refused.stderr
        (tmp_path / "later").write_text("also")
        assert guest.run(["cat", tmp_path / "later"]).stdout == b"also"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "later"]


def test_large_binary_output_is_intact(kind, guests):
    guest = guests(kind)
    made = guest.run(["sh", "-c", "dd if=/dev/urandom of=/tmp/large bs=64k count=256 && "
                      "sha256sum /tmp/large"], check=True)
    output = guest.run(["cat", "/tmp/large"]).stdout
    assert len(output) == 16 << 20
    assert hashlib.sha256(output).hexdigest() == made.stdout.split()[0].decode()


def test_large_binary_input_is_intact(kind, guests, tmp_path):
    guest = guests(kind)
    data = os.urandom((1 << 20) + 1)
    digest = hashlib.sha256(data).hexdigest()
    assert guest.run(["sha256sum"], input=data).stdout.split()[0].decode() == digest
    (tmp_path / "file").write_bytes(data)
    guest.send_file(tmp_path / "file", "/tmp/sent", 0o751)
    sent = guest.run(["sh", "-c", "sha256sum </tmp/sent; stat -c %a /tmp/sent"]).stdout.split()
    assert sent == [digest.encode(), b"-", b"751"]


def test_standard_input_of_the_command_line(kind):
    done = run("--kind", kind, "--stdin", "--quiet", "--", "wc", "-c", input=b"x" * 100000)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"100000\n", b"")


def test_a_command_that_reads_no_input_holds_up_nobody(kind, guests):
    guest = guests(kind)
    deaf = guest.start(["sleep", "100"])
    deaf.write(bytes(64 << 10))  # all of its credit
    assert guest.run(["echo", "still here"], timeout=20).stdout == b"still here\n"
    deaf.signal(signal.SIGTERM)
    assert deaf.wait(10) == 128 + signal.SIGTERM


def test_input_that_the_command_does_not_want_is_lost(kind, guests):
    command = guests(kind).start(["sh", "-c", "exec <&-; echo closed; sleep 100"])
    command.expect(rb"closed\n")
    command.write(bytes(300 << 10), timeout=20)
    command.signal(signal.SIGKILL)
    assert command.wait(10) == 128 + signal.SIGKILL


def test_ctrl_c_while_nobody_takes_the_output(kind):
    testbed = subprocess.Popen([GUEST, "run", "--kind", kind, "--", "yes"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert testbed.stdout.read(2) == b"y\n"
    testbed.send_signal(signal.SIGINT)
    assert testbed.wait(20) == 130
    testbed.stdout.close()


def test_many_commands_at_once(kind, guests):
    guest = guests(kind)
    commands = [guest.start(["sh", "-c", f"read -r line; echo $line {number}; exit {number}"])
                for number in range(20)]
    for command in reversed(commands):
        command.write(b"hello\n")
    for number, command in enumerate(commands):
        assert command.wait(30) == number
        assert command.stdout == b"hello %d\n" % number


def test_the_end_of_a_command_does_not_wait_for_what_it_left_behind(kind, guests):
    result = guests(kind).run(["sh", "-c", "sleep 100 & echo done"], timeout=20)
    assert (result.status, result.stdout) == (0, b"done\n")


def test_two_guests_at_once(kind):
    with Guest(kind, quiet=True) as one, Guest(kind, quiet=True) as two:
        first = one.start(["sh", "-c", "echo first >/tmp/mine; read -r line; cat /tmp/mine"])
        second = two.start(["sh", "-c", "echo second >/tmp/mine; read -r line; cat /tmp/mine"])
        for command in (first, second):
            command.write(b"go\n")
        assert (first.wait(20), second.wait(20)) == (0, 0)
        assert (first.stdout, second.stdout) == (b"first\n", b"second\n")


def test_time_limit_shows_the_console(kind):
    started = time.monotonic()
    done = subprocess.run([GUEST, "run", "--kind", kind, "--timeout", "20", "--", "sh", "-c",
                           "echo a word on the console >/dev/console; sleep 1000"],
                          capture_output=True, timeout=60)
    assert done.returncode == 124
    assert b"time limit of 20 s" in done.stderr
    assert b"a word on the console" in done.stderr
    assert time.monotonic() - started < 30


def test_a_guest_that_does_not_boot_is_an_error_with_its_console(kind):
    with pytest.raises(GuestError, match="(?s)the guest has ended.*[Pp]anic"):
        Guest(kind, kernel_options="rdinit=/nothing", quiet=True).start_guest()


def test_a_guest_that_hangs_in_its_boot_is_killed(kind, tmp_path, monkeypatch):
    mark = f"mark-{uuid.uuid4()}"
    monkeypatch.setenv("CAUSEWAY_TEST_MARK", mark)
    guest = Guest(kind, kernel_options="rdinit=/sbin/init", boot_timeout=5, quiet=True)
    with pytest.raises(GuestTimeout, match="did not boot within 5 s"):
        guest.start_guest()
    assert [pid for pid in marked(mark) if pid != os.getpid()] == []


def test_an_argument_that_makes_no_sense_is_a_sentence(kind):
    for wrong, sentence in ((["--file", "/nothing/here"], b"/nothing/here: no such file"),
                            (["--module", "no_such"], b"has no module no_such"),
                            (["--vhost-user-vsock", "/nothing/socket"], b"/nothing/socket")):
        done = run("--kind", kind, *wrong, "--", "true")
        assert done.returncode == 125
        assert sentence in done.stderr


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143),
                                            (signal.SIGKILL, -9)])
def test_nothing_stays_behind_when_the_testbed_is_ended(kind, number, status, tmp_path):
    mark = f"mark-{uuid.uuid4()}"
    testbed = subprocess.Popen(
        [GUEST, "run", "--kind", kind, "--", "sh", "-c", "echo ready; sleep 1000"],
        env=dict(os.environ, TMPDIR=str(tmp_path), CAUSEWAY_TEST_MARK=mark),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    assert testbed.stdout.readline() == b"ready\n"
    assert len(marked(mark)) >= 3  # the testbed, the guest, its keeper
    assert list(tmp_path.iterdir())
    testbed.send_signal(number)
    assert testbed.wait(20) == status
    testbed.stdout.close()
    if number == signal.SIGKILL:  # then the keeper does it, and we wait for the keeper
        end = time.monotonic() + 10
        while marked(mark) and time.monotonic() < end:
            time.sleep(0.01)
    assert marked(mark) == []
    assert list(tmp_path.iterdir()) == []


def test_cut_power(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    guest = Guest(kind, quiet=True).start_guest()
    command = guest.start(["sleep", "1000"])
    pids = guest.pids()
    assert pids
    guest.kill()
    guest.kill()
    assert not any(alive(pid) for pid in pids)
    with pytest.raises(GuestError):
        command.wait(5)
    with pytest.raises(GuestError, match="not running"):
        guest.run(["true"])


def test_a_guest_that_powers_off_by_itself_is_an_error(kind):
    with Guest(kind, quiet=True) as guest:
        command = guest.start(["sh", "-c", "poweroff -f"])
        with pytest.raises(GuestError, match="the guest has ended"):
            command.wait(20)


def test_a_full_disk_for_the_guest_is_a_sentence(kind, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system over a folder needs root here")
    script = f"""mount -t tmpfs -o size=1m tmpfs "{tmp_path}" &&
        TMPDIR="{tmp_path}" "{GUEST}" run --kind {kind} -- true; echo "$?"; ls -A "{tmp_path}" """
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True)
    assert done.stdout == "125\n", done.stdout
    assert "the guest cannot be started" in done.stderr and "No space left" in done.stderr


@pytest.mark.parametrize("script", ["exec sleep 1000", "echo no such feature; exit 1"])
def test_kvm_that_does_not_boot_is_found_out_once(script, tmp_path, monkeypatch):
    for part in ("kernel", "busybox"):
        (tmp_path / part).symlink_to(cache.part(part))
    monkeypatch.setenv("CAUSEWAY_CACHE", str(tmp_path))
    program = tmp_path / "qemu"
    program.write_text(f"#!/bin/sh\necho tried >>{tmp_path}/tries\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(Qemu, "program", str(program))
    monkeypatch.setattr(KvmProbe, "device", str(tmp_path / "tries"))
    monkeypatch.setattr(KvmProbe, "seconds", 2)
    (tmp_path / "tries").touch()
    assert KvmProbe().accelerator() == "tcg"
    assert KvmProbe().accelerator() == "tcg"
    assert (tmp_path / "tries").read_text() == "tried\n"


def test_modules_load_with_those_they_need_and_with_parameters(kind):
    with Guest(kind, modules=["dummy numdummies=3", "vsock_diag"], quiet=True) as guest:
        listed = guest.run(["sh", "-c", "ls /sys/class/net /sys/module"]).stdout.split()
    assert {b"dummy2", b"vsock", b"vsock_diag"} <= set(listed)


def test_modules_of_ours_build_and_load(tmp_path):
    if not shutil.which("make") or not shutil.which("gcc"):
        pytest.skip("building a kernel module needs make and gcc")
    (tmp_path / "Makefile").write_text("obj-m := ours.o\n")
    (tmp_path / "ours.c").write_text(
        '#include <linux/module.h>\nstatic int number;\nmodule_param(number, int, 0444);\n'
        'static int __init start(void) { return 0; }\nmodule_init(start);\n'
        'static void __exit end(void) { }\nmodule_exit(end);\nMODULE_LICENSE("GPL");\n')
    headers = subprocess.run([GUEST, "headers"], check=True, capture_output=True).stdout.strip()
    subprocess.run(["make", "-s", "-C", headers, f"M={tmp_path}", "modules"], check=True,
                   capture_output=True)
    done = run("--module", f"{tmp_path}/ours.ko number=7", "--",
               "cat", "/sys/module/ours/parameters/number")
    assert (done.returncode, done.stdout) == (0, b"7\n"), done.stderr


def test_two_kernels_of_debian_over_a_cable(tmp_path):
    cable = tmp_path / "cable"
    with Guest("qemu", kernel="6.12", network=f"listen={cable}", quiet=True) as newer, \
            Guest("qemu", network=f"connect={cable}", quiet=True) as older:
        releases = [guest.run(["uname", "-r"]).stdout.decode() for guest in (older, newer)]
        assert [release.split(".")[:2] for release in releases] == [["6", "1"], ["6", "12"]]
        server = newer.start(["nc", "-l", "-p", "5000"])
        sent = older.run(["sh", "-c", "until echo over the cable | nc 10.77.0.1 5000; "
                          "do sleep 0.1; done"], timeout=60)
        assert sent.status == 0
        assert server.wait(20) == 0 and server.stdout == b"over the cable\n"


def test_a_choice_that_a_kind_does_not_have_is_a_sentence():
    with pytest.raises(GuestError, match="uml have no kernel 6.12"):
        Guest("uml", kernel="6.12")
    with pytest.raises(GuestError, match="no network device"):
        Guest("uml", network="listen=/nowhere")
    with pytest.raises(GuestError, match="expected listen=PATH or connect=PATH"):
        Guest("qemu", network="cable")


def test_an_idle_guest_costs_nothing_measurable(kind, guests):
    def ticks():
        total = 0
        for pid in guest.pids():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total

    guest = guests(kind)
    guest.run(["true"])
    time.sleep(1)  # what the kernel does after its boot
    before = ticks()
    time.sleep(5)
    share = (ticks() - before) / os.sysconf("SC_CLK_TCK") / 5
    print(f"idle {kind}: {share:.2%} of a processor")
    assert share < 0.02

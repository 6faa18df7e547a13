# SPDX-License-Identifier: Apache-2.0
"""The parts of the testbed that need no guest: cache, archive, modules, frames."""

import io
import os
import shutil
import socket
import subprocess

import pytest
from conftest import ROOT

from testbed import cache, channel
from testbed.errors import CacheError, GuestError
from testbed.guest import VhostUser
from testbed.initramfs import Initramfs
from testbed.modules import Modules

NAMESPACE = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]


@pytest.fixture
def debian(tmp_path):
    """A folder for PATH whose apt-get "downloads" packages of a few MiB; no network."""
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    for path in ("bin/busybox", "usr/bin/linux.uml"):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(os.urandom(6 << 20))
    (tree / "DEBIAN/control").write_text("Package: any\nVersion: 1\nArchitecture: amd64\n"
                                         "Maintainer: none <none@localhost>\nDescription: none\n")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, tmp_path / "any.deb"],
                   check=True, stdout=subprocess.DEVNULL)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "apt-get").write_text(
        f'#!/bin/sh\nfor package; do :; done\nexec cp {tmp_path}/any.deb "./${{package}}_1_amd64.deb"\n')
    (programs / "apt-get").chmod(0o755)
    shutil.rmtree(tree)
    return programs


@pytest.fixture
def home(tmp_path, monkeypatch, debian):
    monkeypatch.setenv("CAUSEWAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{debian}:{os.environ['PATH']}")
    return tmp_path / "cache"


# The part needs 12 MiB for its package and then 6 MiB: the first size is full while the package
# is downloaded, the second while it is extracted.
@pytest.mark.parametrize("mebibytes", [5, 15])
def test_a_full_disk_is_a_sentence_and_the_cache_stays_usable(home, tmp_path, mebibytes):
    if subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("this user may not mount a small file system (unshare)")
    home.mkdir()
    script = f"""
        mount -t tmpfs -o size={mebibytes}m tmpfs "$CAUSEWAY_CACHE" || exit 99
        "{ROOT}/testbed/guest" fetch --kind uml; echo "first $?"
        find "$CAUSEWAY_CACHE" -mindepth 1 -not -name '.lock-*'
        mount -o remount,size=40m "$CAUSEWAY_CACHE" || exit 99
        "{ROOT}/testbed/guest" fetch --kind uml; echo "second $?"
        ls "$CAUSEWAY_CACHE"
    """
    done = subprocess.run([*NAMESPACE, "sh", "-c", script], capture_output=True, text=True)
    assert "the disk of the cache" in done.stderr and "is full" in done.stderr, done.stderr
    assert "CAUSEWAY_CACHE" in done.stderr and "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["first 125", f"the cache is {home}"], done.stdout
    assert lines[2:] == ["second 0", "busybox", "uml"]


def test_a_damaged_part_is_made_again(home):
    part = cache.part("busybox")
    whole = (part / "busybox").read_bytes()
    os.truncate(part / "busybox", 100)
    cache._checked.clear()  # as another process would find it
    assert cache.part("busybox") == part
    assert (part / "busybox").read_bytes() == whole


def test_a_part_that_is_there_needs_no_tools(home, monkeypatch):
    cache.part("busybox")
    cache._checked.clear()
    monkeypatch.setenv("PATH", "/nothing")
    assert (cache.part("busybox") / "busybox").exists()
    with pytest.raises(CacheError, match="apt-get is missing"):
        cache.part("uml")


def test_two_processes_fill_the_cache_at_once(home):
    fetches = [subprocess.Popen([ROOT / "testbed" / "guest", "fetch", "--kind", "uml"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
               for _ in range(2)]
    messages = [fetch.communicate(timeout=60)[1] for fetch in fetches]
    assert [fetch.returncode for fetch in fetches] == [0, 0], messages
    assert "".join(messages).count("uml 1 is in the cache") == 1
    assert sorted(path.name for path in home.iterdir()) == [
        ".lock-busybox", ".lock-uml", "busybox", "uml"]


def test_what_a_killed_process_left_is_removed(home):
    left = home / ".new-busybox-abc"
    left.mkdir(parents=True)
    (left / "vmlinux").write_bytes(b"half")
    cache.part("busybox")
    assert not left.exists()


def test_the_archive_is_what_cpio_reads(tmp_path):
    (tmp_path / "script").write_text("text")
    (tmp_path / "script").chmod(0o750)
    root = Initramfs()
    root.add_host(tmp_path / "script", "/bin/script")
    root.add_bytes("/bin/script", b"the first content stays")
    root.add_link("/a/deep/link", "target")
    written = io.BytesIO()
    root.write(written)
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["cpio", "-id", "--quiet", "--no-absolute-filenames"], cwd=out, check=True,
                   input=written.getvalue(), stderr=subprocess.DEVNULL)
    assert (out / "usr/bin/script").read_text() == "text"
    assert (out / "usr/bin/script").stat().st_mode & 0o777 == 0o750
    assert os.readlink(out / "a/deep/link") == "target"
    assert os.readlink(out / "bin") == "usr/bin"


def test_a_library_that_was_given_is_not_taken_from_the_host(tmp_path):
    own = tmp_path / "libtinfo.so.6"
    own.write_bytes(b"not really")
    root = Initramfs()
    root.add_host("/bin/bash", "/root/bash")
    root.add_host(own, "/usr/lib/x86_64-linux-gnu/libtinfo.so.6")
    root.add_libraries()
    written = io.BytesIO()
    root.write(written)
    assert b"not really" in written.getvalue()
    names = subprocess.run(["cpio", "-t", "--quiet"], input=written.getvalue(),
                           stdout=subprocess.PIPE).stdout.decode().split()
    assert [name for name in names if "libtinfo" in name] == [
        "usr/lib/x86_64-linux-gnu/libtinfo.so.6"]
    assert "usr/lib/x86_64-linux-gnu/libc.so.6" in names


def test_modules_load_after_those_they_need(tmp_path):
    def module(name, depends):
        (tmp_path / f"{name}.ko").write_bytes(b"\0license=GPL\0depends=" + depends + b"\0name=x\0")

    module("top", b"left-side,right_side")
    module("left_side", b"base")
    module("right_side", b"base")
    module("base", b"")
    modules = Modules(tmp_path)
    ordered = [path.stem for path, _ in modules.order(["top debug=1"])]
    assert ordered == ["base", "left_side", "right_side", "top"]
    assert modules.order(["top debug=1"])[-1][1] == "debug=1"
    module("lonely", b"missing")
    with pytest.raises(GuestError, match="no module missing .needed by lonely"):
        Modules(tmp_path).order(["lonely"])


@pytest.fixture
def stream():
    """(a Channel, the socket of its agent)"""
    ours, theirs = socket.socketpair()
    opened = channel.Channel(ours, 1 << 16, GuestError, lambda text: text)
    yield opened, theirs
    theirs.close()
    opened.close()


def frame(number, kind, payload):
    return channel.HEADER.pack(number, kind, b"", len(payload)) + payload


@pytest.mark.parametrize("data", [
    channel.HEADER.pack(0, channel.STDOUT, b"", 0xffffffff),
    channel.HEADER.pack(1, channel.STDOUT, b"\1", 0),
    frame(7, channel.EXIT, b"\0\0\0\0"),
    frame(1, channel.EXIT, b"\0\0"),
    frame(1, 99, b""),
    frame(1, channel.STDIN, b"x"),
])
def test_frames_that_no_agent_sends_end_the_channel(stream, data):
    opened, agent = stream
    command = opened.start(["x"], {}, None, None)
    agent.sendall(data)
    with pytest.raises(GuestError, match="the channel to the guest"):
        command.wait(10)


def test_an_agent_of_another_version_is_refused(stream):
    opened, agent = stream
    agent.sendall(frame(0, channel.HELLO, b"\2\0\0\0"))
    with pytest.raises(GuestError, match="version 2, not 1"):
        opened.wait_hello(10)


def test_output_cut_in_the_middle_is_an_error_not_an_end(stream):
    opened, agent = stream
    command = opened.start(["x"], {}, None, None)
    agent.sendall(frame(1, channel.STDOUT, b"half of it")[:-3])
    agent.shutdown(socket.SHUT_WR)
    with pytest.raises(GuestError, match="the guest has ended"):
        command.wait(10)


@pytest.mark.parametrize("text, device", [
    ("45=/s", (45, "/s", 2, 256, 64)), ("19=/a=b,queues=9,queue_size=64", (19, "/a=b", 9, 64, 64))])
def test_a_device_by_its_id(text, device):
    assert VhostUser.parse(text) == device


@pytest.mark.parametrize("text", ["45", "=/s", "45=", "x=/s", "45=/s,queue=3", "45=/s,queues",
                                  "45=/s,queues=many"])
def test_a_device_that_makes_no_sense(text):
    with pytest.raises(ValueError):
        VhostUser.parse(text)

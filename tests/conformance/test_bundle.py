# SPDX-License-Identifier: Apache-2.0
"""scripts/bundle: the folder runs elsewhere, where nothing but libc is."""
import os
import pathlib
import shutil
import subprocess
import textwrap

import pytest

import daemons
from daemons import BUILD, ROOT

LIBC = ["ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0",
        "librt.so.1"]
# In a namespace of its own: the folder as root, the processes and devices of this machine.
ENTER = ["unshare", "--mount", "--pid", "--fork", "sh", "-ec",
         'mount --make-rprivate /; mount -t proc proc "$1/proc"; '
         'mount --bind /dev "$1/dev"; exec chroot "$1" /busybox sh -ec "$2"', "enter"]


@pytest.fixture(name="bare_root", scope="module")
def fixture_bare_root(tmp_path_factory):
    """A root folder with libc, a shell, and the bundle in a place it was not made in."""
    if os.environ.get("CAUSEWAY_PRELOAD"):
        pytest.skip("a bundle of sanitized programs lacks the sanitizer's runtime")
    if not shutil.which("busybox"):
        pytest.skip("busybox is missing: install busybox-static")
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False,
                      capture_output=True).returncode:
        pytest.skip("namespaces are not allowed here")
    if not shutil.which("patchelf"):
        pytest.skip("patchelf is missing: install the package patchelf")
    root = tmp_path_factory.mktemp("bare")
    made = tmp_path_factory.mktemp("made") / "bundle"
    done = subprocess.run([ROOT / "scripts" / "bundle", made, BUILD], capture_output=True,
                          text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    for folder in ("proc", "dev", "tmp", "lib64"):
        (root / folder).mkdir()
    for name in LIBC:
        for place in ("/lib64", "/lib/x86_64-linux-gnu"):
            found = pathlib.Path(place) / name
            if found.exists():
                shutil.copy(found, root / "lib64" / name)
                break
    shutil.copy(shutil.which("busybox"), root / "busybox")
    shutil.move(made, root / "else where")
    return root


def run_inside(bare_root, script):
    return subprocess.run(ENTER + [bare_root, script], capture_output=True, text=True, check=False,
                          timeout=60, stdin=subprocess.DEVNULL)


def test_a_program_is_served_by_the_bundle_alone(bare_root):
    done = run_inside(bare_root, textwrap.dedent("""
        export PATH=/ LD_LIBRARY_PATH=/lib64
        cd "/else where"
        bin/causeway-cudad --socket /tmp/cuda.sock --driver "$PWD/build/cuda/softgpu/libcuda.so.1" &
        cudad=$!
        while ! [ -S /tmp/cuda.sock ]; do busybox usleep 10000; done
        export CAUSEWAY_CUDA_SERVER=ring:/tmp/cuda.sock
        LD_LIBRARY_PATH="$PWD/build/cuda/client:/lib64" build/tests/programs/driver_vectoradd
        bin/causeway status --help >/dev/null
        kill $cudad
        wait $cudad
    """))
    assert done.returncode == 0, done.stderr
    natively = daemons.run_natively([daemons.PROGRAMS / "driver_vectoradd"])
    assert done.stdout == natively.stdout != ""


def test_every_file_finds_its_libraries(bare_root):
    done = run_inside(bare_root, textwrap.dedent("""
        cd "/else where"
        for file in $(/busybox find build -type f -perm -u+x -o -type f -name '*.so*'); do
            [ "${file##*/}" != guest-agent ] || continue # static
            LD_LIBRARY_PATH=/lib64 /lib64/ld-linux-x86-64.so.2 --list "$file" || exit 1
        done
    """))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not found" not in done.stdout + done.stderr


def test_it_replaces_only_a_bundle(tmp_path):
    (tmp_path / "precious").write_text("mine")
    done = subprocess.run([ROOT / "scripts" / "bundle", tmp_path, BUILD], capture_output=True,
                          text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "is no bundle" in done.stderr
    assert (tmp_path / "precious").read_text() == "mine"

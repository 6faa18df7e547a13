# SPDX-License-Identifier: Apache-2.0
"""Kernel modules of ours, built for a kind of guest."""

import fcntl
import os
import pathlib
import shutil
import subprocess

from testbed.errors import GuestError
from testbed.guest import ROOT
from testbed.machines import KINDS


def module(folder, kind, kernel=None):
    """The .ko of the module in @folder (from the repository's root) for a kind of guest.

    It is built in the build folder; make does nothing when it is up to date. Any warning is an
    error. Raises GuestError with the compiler's words. A bundle has those that it was made with.
    """
    if (ROOT / "bundle").exists():
        found = list((ROOT / "build" / "modules" / kind / folder).glob("*.ko"))
        if len(found) != 1:
            raise GuestError(f"this bundle has no module {folder} for {kind}")
        return found[0]
    machine = KINDS[kind](kernel=kernel)
    headers = machine.headers()
    build = pathlib.Path(os.environ.get("CAUSEWAY_BUILD") or ROOT / "build").absolute()
    top = build / "modules" / (f"{kind}-{kernel}" if kernel else kind)
    (top / folder).mkdir(parents=True, exist_ok=True)
    with open(top / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in (folder, "proto"):  # what a module may include, in the same places
            _copy(ROOT / name, top / name)
        done = subprocess.run(
            ["make", "-s", "-C", headers, f"ARCH={machine.architecture}", f"M={top / folder}",
             "KCFLAGS=-Werror", "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise GuestError(f"{folder} does not build for {kind}: {done.stdout.strip()[-2000:]}")
    found = list((top / folder).glob("*.ko"))
    if len(found) != 1:
        raise GuestError(f"{folder}: {len(found)} modules were built, expected one")
    return found[0]


def _copy(source, target):
    """Sources that changed, with their times, so that make builds what depends on them."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.suffix not in (".c", ".h") and path.name not in ("Kbuild", "Makefile"):
            continue
        copy = target / path.name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            shutil.copyfile(path, copy)

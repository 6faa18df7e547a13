# SPDX-License-Identifier: Apache-2.0
"""Builds kernel modules of ours for guests, in the build folder, from copies of their sources."""
import pathlib
import shutil
import subprocess

import daemons
from testbed import cache

ROOT = pathlib.Path(__file__).resolve().parent.parent


def build(folder, name, kernel=None):
    """The path of @name.ko, made from the repository's @folder and proto/ for a kernel of cache's.

    Compiler warnings are errors here.
    """
    work = daemons.BUILD / "modules" / f"{name}-{kernel or cache.KERNELS[0]}"
    for source, target in ((ROOT / folder, work), (ROOT / "proto", work / "proto")):
        target.mkdir(parents=True, exist_ok=True)
        for file in source.glob("*"):
            if file.is_file() and (not (target / file.name).exists() or
                                   (target / file.name).read_bytes() != file.read_bytes()):
                shutil.copy(file, target / file.name)
    done = subprocess.run(["make", "-s", "-C", cache.headers(kernel), f"M={work}", "KCFLAGS=-Werror",
                           # type information needs pahole and the kernel's own, which is not there
                           "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"], capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"{name}.ko does not build: {done.stdout}{done.stderr}")
    module = work / f"{name}.ko"
    stripped = work / "stripped" / f"{name}.ko"
    stripped.parent.mkdir(exist_ok=True)
    subprocess.run(["strip", "-g", "-o", stripped, module], check=True)
    return stripped

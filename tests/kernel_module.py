# SPDX-License-Identifier: Apache-2.0
"""Builds kernel modules of ours for guests, in the build folder, from copies of their sources."""
import os
import pathlib
import re
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


# Where DKMS would change the host, it sees folders of ours: they are mounted for it alone.
DKMS_SCRIPT = """
mkdir -p /usr/src /var/lib/dkms /lib/modules
for at in /usr/src /var/lib/dkms /lib/modules; do
    mkdir -p "$WORK$at"
    mount --bind "$WORK$at" $at
done
mkdir -p "/lib/modules/$KERNEL/kernel"
mount --bind "$MODULES" "/lib/modules/$KERNEL/kernel"
ln -sfn "$HEADERS" "/lib/modules/$KERNEL/build"
make -s -C "$SOURCE" dkms "kernel=$KERNEL"
"""


def dkms_missing():
    """Why dkms_install() cannot work here, or None."""
    if os.getuid() != 0:
        return "DKMS installs as root only"
    if not shutil.which("dkms"):
        return "dkms is not installed"
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, text=True)
    return done.stderr.strip() or None


def dkms_install(folder, kernel=None):
    """`make dkms` in the repository's @folder; the kernel's release, and its folder of modules."""
    part = cache.part(cache.kernel_part(kernel))
    headers = cache.headers(kernel)
    release = re.search(r'"(.+)"', (headers / "include/generated/utsrelease.h").read_text())[1]
    work = daemons.BUILD / "modules" / f"dkms-{release}"
    shutil.rmtree(work, ignore_errors=True)
    done = subprocess.run(["unshare", "-m", "sh", "-ec", DKMS_SCRIPT], capture_output=True, text=True,
                          env={**os.environ, "WORK": str(work), "KERNEL": release,
                               "HEADERS": str(headers), "SOURCE": str(ROOT / folder),
                               "MODULES": str(part / "modules/kernel"),
                               "MAKEFLAGS": "-- CONFIG_DEBUG_INFO_BTF_MODULES="})  # as above
    assert done.returncode == 0, done.stdout + done.stderr
    return release, work / "lib/modules" / release

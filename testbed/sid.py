# SPDX-License-Identifier: Apache-2.0
"""Parts of the cache that Debian 12 does not have, taken from Debian sid.

    qemu-sid/   usr/...          QEMU 11 with the libraries it needs, started by its own loader
    uml-sid/    linux, modules/  User-Mode Linux, built from linux-source with uml-sid.config
                build/           its tree for modules: make ARCH=um -C .../build M=... modules
    uml-debug/  the same         with uml-debug.config on top: lock order, lists, leaks, sleeping

apt works here on folders of its own, so that the host's packages and lists stay as they are and
nothing needs root. The packages come from the mirror that the host's apt uses for Debian.
"""

import os
import pathlib
import re
import shutil
import subprocess

from testbed.errors import CacheError, progress

HERE = pathlib.Path(__file__).resolve().parent
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# What the kernel's archive holds and User-Mode Linux never compiles: two thirds of it. Kconfig
# files stay, since all of them are read.
UNUSED_SOURCES = (
    "*/arch/[!ux]*/*.[chS]", "*/arch/*.dts*", "*/drivers/gpu/*.[ch]", "*/drivers/media/*.[ch]",
    "*/drivers/net/*/*/*.[ch]", "*/sound/*.[ch]", "*/tools/testing/*", "*/tools/perf/*",
    "*/Documentation/*.rst", "*/Documentation/*.yaml", "*/Documentation/*.txt")
# What a tree for modules needs besides its generated files.
HEADER_FOLDERS = ("include", "scripts", "arch/um", "arch/x86/include", "arch/x86/um")
HEADER_FILES = ("Makefile", ".config", "Module.symvers", "Kconfig", "arch/x86/Makefile.um",
                "scripts/module-common.c", "tools/scripts", "tools/build")
HEADER_UNWANTED = shutil.ignore_patterns("*.c", "*.S", "*.a", "*.o", ".*.cmd", "dtc", "*.dts*",
                                         "*.py", "kconfig", "gdb", "coccinelle")


class Apt:
    """apt-get for sid, with its state in @folder."""

    def __init__(self, folder, tool):
        self._folder, self._tool = folder, tool
        for name in ("state/lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "state/status").touch()
        (folder / "sources.list").write_text(
            f"deb [signed-by={KEYRING}] {self._mirror()} sid main\n")
        options = {
            "Dir::State": folder / "state", "Dir::State::status": folder / "state/status",
            "Dir::Cache": folder / "cache", "Dir::Etc::SourceList": folder / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null", "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null", "Acquire::Check-Valid-Until": "false",
            "Acquire::Languages": "none", "APT::Sandbox::User": "",
            "APT::Install-Recommends": "false", "Debug::NoLocking": "true"}
        self._options = [word for name, value in options.items()
                         for word in ("-o", f"{name}={value}")]
        progress("reading sid's list of packages")
        self._run("apt-get", "-q", "update")

    def _mirror(self):
        """The address of the host's Debian mirror."""
        targets = self._tool(["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)",
                              "Created-By: Packages", "Origin: Debian"], self._folder)
        found = re.search(r"^(\S+) [a-z]+$", targets, re.M)
        if not found:
            raise CacheError("apt has no source of Debian's packages; 'apt-get update' makes its "
                             "lists")
        return found[1]

    def _run(self, program, *arguments):
        return self._tool([program, *self._options, *arguments], self._folder)

    def newest(self, package, prefix):
        """The package whose name starts with @prefix that the metapackage depends on."""
        found = re.search(rf"Depends: ({re.escape(prefix)}\S+)",
                          self._run("apt-cache", "depends", package))
        if not found:
            raise CacheError(f"sid's {package} depends on no {prefix}*")
        return found[1]

    def download(self, package):
        """One package; its .deb."""
        progress(f"downloading {package} of sid")
        self._run("apt-get", "-q", "download", package)
        return next(self._folder.glob(f"{package}_*.deb"))

    def download_closure(self, *packages):
        """The packages and all that they depend on; their .debs."""
        progress(f"downloading {' '.join(packages)} of sid with their libraries")
        self._run("apt-get", "-q", "-y", "--download-only", "install", *packages)
        return sorted((self._folder / "cache/archives").glob("*.deb"))


def make_qemu(new, tool):
    work = new / "apt"
    version = None
    for package in Apt(work, tool).download_closure("qemu-system-x86", "seabios"):
        tool(["dpkg-deb", "-x", package, new / "root"], new)
        if package.name.startswith("qemu-system-x86_"):
            version = tool(["dpkg-deb", "-f", package, "Version"], new).strip()
    for name in ("bin/qemu-system-x86_64", "lib64", "lib/x86_64-linux-gnu", "share/qemu",
                 "share/seabios"):
        (new / "usr" / name).parent.mkdir(parents=True, exist_ok=True)
        (new / "root/usr" / name).rename(new / "usr" / name)
    shutil.rmtree(new / "root")
    shutil.rmtree(work)
    return version


def _unpack_source(package, work):
    progress(f"unpacking {package.name.split('_')[0]}")
    name = package.name.split("_")[0]
    excluded = " ".join(f"--exclude='{pattern}'" for pattern in UNUSED_SOURCES)
    done = subprocess.run(
        ["bash", "-c", "set -o pipefail; dpkg-deb --fsys-tarfile \"$0\" | "
         f"tar -xO ./usr/src/{name}.tar.xz | xz -dc | tar -x {excluded}", package],
        cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True)
    if done.returncode:
        raise CacheError(f"{package.name} cannot be unpacked: {done.stdout.strip()[-300:]}")
    return work / name


def _keep_headers(tree, build):
    """The part of a built tree that modules are built against."""
    for name in HEADER_FOLDERS:
        shutil.copytree(tree / name, build / name, symlinks=True, ignore=HEADER_UNWANTED)
    for name in HEADER_FILES:
        source = tree / name
        if source.is_dir():
            shutil.copytree(source, build / name, ignore=HEADER_UNWANTED)
        elif source.exists():
            (build / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, build / name)
    # modpost and module.lds are all that a module's build links with.
    shutil.copy2(tree / "scripts/mod/modpost", build / "scripts/mod/modpost")


def make_uml(new, tool, *fragments):
    for program in ("make", "gcc", "flex", "bison", "bc", "xz"):
        if not shutil.which(program):
            raise CacheError(f"{program} is missing: building User-Mode Linux needs the packages "
                             "make, gcc, flex, bison, bc and xz-utils")
    work = new / "work"
    apt = Apt(work, tool)
    package = apt.download(apt.newest("linux-source", "linux-source-"))
    version = tool(["dpkg-deb", "-f", package, "Version"], new).strip()
    tree = _unpack_source(package, work)
    config = "".join((HERE / name).read_text() for name in fragments)
    (work / "config").write_text(config)
    make = ["make", "-s", "ARCH=um", "-C", tree]
    tool([*make, f"KCONFIG_ALLCONFIG={work}/config", "allnoconfig"], new)
    _check_config(config, (tree / ".config").read_text())
    progress("building User-Mode Linux: some minutes, once")
    tool([*make, f"-j{len(os.sched_getaffinity(0))}", "linux", "modules"], new)
    shutil.copy2(tree / "linux", new / "linux")
    for module in sorted(tree.rglob("*.ko")):
        target = new / "modules/kernel" / module.relative_to(tree)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(module, target)
    _keep_headers(tree, new / "build")
    shutil.rmtree(work)
    return version


def _check_config(wanted, got):
    """Every option that was asked for is there: a kernel without it would fail much later."""
    missing = [line for line in wanted.splitlines()
               if re.match(r"CONFIG_\w+=[ym]", line) and line not in got.splitlines()]
    if missing:
        raise CacheError(f"this kernel's configuration did not take {' '.join(missing)}")

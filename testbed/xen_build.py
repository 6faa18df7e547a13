# SPDX-License-Identifier: Apache-2.0
"""The cache's part xen/: a hypervisor with Argo, built from Debian's source, and the toolstack.

    xen/   xen, tools/bin/..., tools/usr/lib/...
"""

import os
import re
import shutil

from testbed.errors import CacheError, progress

# The toolstack, and what it needs beside libraries that every Debian has. The programs that are
# used lie in tools/bin, the libraries where the packages have them.
XEN_PACKAGES = ("xen-utils-4.17", "xenstore-utils", "libxenmisc4.17", "libxencall1",
                "libxendevicemodel1", "libxenevtchn1", "libxenforeignmemory1", "libxengnttab1",
                "libxenhypfs1", "libxenstore4", "libxentoolcore1", "libxentoollog1", "libyajl2",
                "libfdt1", "libnl-3-200", "libnl-route-3-200", "libncurses6", "libtinfo6")
XEN_PROGRAMS = re.compile(r"usr/(?:lib/xen-[0-9.]+/bin|bin)/(xl|xenstored|xenconsoled|"
                          r"xen-init-dom0|libxl-save-helper|xenstore)$")
XEN_OPTIONS = "CONFIG_EXPERT=y\nCONFIG_UNSUPPORTED=y\nCONFIG_ARGO=y\n"


def _source(package, new, tool):
    """The unpacked source of a Debian 12 package, in a folder below @new, and its version.

    It comes through a list of its own, so that the host's need not name sources. A security
    update's source may be gone from the mirrors when the next one is out: the newest that is there
    is taken.
    """
    lists = new / "lists"
    for path in (lists / "partial", new / "archives" / "partial"):
        path.mkdir(parents=True)
    (new / "sources.list").write_text("".join(
        f"deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {where} main\n"
        for where in ("http://deb.debian.org/debian bookworm",
                      "http://deb.debian.org/debian-security bookworm-security")))
    options = ["-q", "-o", f"Dir::Etc::sourcelist={new}/sources.list",
               "-o", "Dir::Etc::sourceparts=/dev/null", "-o", f"Dir::State::lists={lists}",
               "-o", f"Dir::Cache={new}", "-o", "APT::Sandbox::User="]
    progress(f"downloading the source of {package}")
    tool(["apt-get", *options, "update"], new)
    versions = re.findall(r"^Version: (\S+)", tool(["apt-cache", *options, "showsrc", package], new),
                          re.MULTILINE)
    failure = CacheError(f"Debian has no source of {package}")
    for found in sorted(versions, reverse=True):
        try:
            tool(["apt-get", *options, "source", "--download-only", f"{package}={found}"], new)
        except CacheError as error:
            failure = error
            continue
        description, = new.glob("*.dsc")
        tool(["dpkg-source", "--no-check", "-x", description, "source"], new)
        return new / "source", found
    raise failure


def make_xen(new, tool, fetch, extract):
    """The hypervisor is built, since Debian's is without Argo; the rest is Debian's."""
    for program in ("make", "gcc", "flex", "bison", "dpkg-source"):
        if not shutil.which(program):
            raise CacheError(f"{program} is missing: a hypervisor with Argo has to be built; "
                             "install make, gcc, flex, bison and dpkg-dev")
    work = new / "work"
    work.mkdir()
    source, version = _source("xen", work, tool)
    progress("building the hypervisor, which takes some minutes")
    top = source / "xen"
    tool(["make", "-C", top, "defconfig"], work)
    with open(top / ".config", "a") as file:
        file.write(XEN_OPTIONS)
    tool(["make", "-C", top, "olddefconfig"], work)
    tool(["make", "-C", top, f"-j{os.cpu_count()}", "build"], work)
    shutil.copy(top / "xen", new / "xen")

    tools = new / "tools"

    def choose(path):
        found = XEN_PROGRAMS.match(path)
        if found:
            return tools / "bin" / found[1]
        found = re.match(r"(?:usr/)?lib/x86_64-linux-gnu/([^/]+\.so[^/]*)$", path)
        return tools / "usr/lib/x86_64-linux-gnu" / found[1] if found else None

    for package in XEN_PACKAGES:
        extract(fetch(package, work), work, choose)
    shutil.rmtree(work)
    return version

# SPDX-License-Identifier: Apache-2.0
"""A guest's root: an archive (cpio, "newc") that the kernel unpacks into memory.

Every kind of guest gets the same one, so that a program finds the same root in all of them. The
alternative for UML, the host's root through hostfs, was not taken: a guest could then write to
the host, would see programs and devices that a real one does not have, and tests would depend on
what the host has installed.

A dynamic program brings the libraries that the host's loader finds for it. They lie in the guest
where they lie on the host; those outside the loader's own folders lie in one of these, since the
guest has no ld.so.cache and mounts /tmp anew.
"""

import os
import pathlib
import re
import stat
import subprocess

from testbed.errors import GuestError

LOADER = "/lib64/ld-linux-x86-64.so.2"
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
LOADER_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib")
# glibc loads it by name when a thread is cancelled or ends itself.
BY_NAME = ("libgcc_s.so.1",)

ROOT_FOLDERS = ("dev", "proc", "sys", "tmp", "run", "etc", "root", "var", "usr", "usr/bin",
                "usr/sbin", "usr/lib", "usr/lib64", "usr/local", "usr/local/bin", "etc/causeway")
ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "group": "root:x:0:\n",
    "hosts": "127.0.0.1 localhost guest\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\nservices: files\n",
}


def is_elf(path):
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def libraries(path, folders=()):
    """{name: path or None} of the shared libraries that the host's loader finds for @path.

    @folders: to be searched first
    """
    first = ["--library-path", ":".join(map(str, folders))] if folders else []
    done = subprocess.run([LOADER, *first, "--list", path], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    found = {}
    for line in done.stdout.splitlines():
        match = re.match(r"\s+(\S+) => (/\S+|not found)", line)
        if match:
            # without "..": what it steps back from need not be in the guest
            found[match[1]] = None if match[2] == "not found" else os.path.normpath(match[2])
    return found


class Initramfs:
    """Paths are the guest's, absolute. A path that is added twice keeps its first content."""

    def __init__(self):
        self._entries = {}  # path without the leading slash: (mode, content or a host's path)
        self._sources = []  # host paths of programs whose libraries are still to be added
        self._folders = []  # where their libraries are looked for first
        for name in ROOT_FOLDERS:
            self.add_folder(f"/{name}")
        for name in ("bin", "sbin", "lib", "lib64"):
            self.add_link(f"/{name}", f"usr/{name}")
        self._entries["dev/console"] = (stat.S_IFCHR | 0o600, b"")
        for name, text in ETC.items():
            self.add_bytes(f"/etc/{name}", text.encode())

    def _key(self, path):
        key = os.path.normpath(path).lstrip("/")
        first = key.split("/")[0]
        if first in ("bin", "sbin", "lib", "lib64") and "/" in key:
            key = f"usr/{key}"  # through the links above
        return key

    def _add(self, path, mode, content):
        key = self._key(path)
        for parent in reversed(pathlib.PurePath(key).parents):
            if str(parent) != ".":
                self._entries.setdefault(str(parent), (stat.S_IFDIR | 0o755, b""))
        return self._entries.setdefault(key, (mode, content))[1] is content

    def add_folder(self, path):
        self._add(path, stat.S_IFDIR | 0o755, b"")

    def add_link(self, path, target):
        self._add(path, stat.S_IFLNK | 0o777, os.fsencode(target))

    def add_bytes(self, path, content, mode=0o644):
        self._add(path, stat.S_IFREG | mode, content)

    def add_host(self, source, path):
        """A file or folder of the host, as @path; libraries follow in add_libraries()."""
        source = pathlib.Path(source)
        if source.is_dir():
            self.add_folder(path)
            for child in sorted(source.iterdir()):
                if child.is_symlink():
                    self.add_link(f"{path}/{child.name}", os.readlink(child))
                else:
                    self.add_host(child, f"{path}/{child.name}")
            return
        if not source.is_file():
            raise GuestError(f"{source}: no such file or folder to put into the guest")
        mode = stat.S_IFREG | (source.stat().st_mode & 0o777)
        if self._add(path, mode, source) and is_elf(source):
            self._sources.append(source)

    def add_libraries_folder(self, folder):
        """A folder of the host whose libraries come before the loader's own, in the guest too."""
        self._folders.append(folder)

    def add_libraries(self):
        """The libraries of all programs added so far, unless one of that name was added."""
        present = {key.rsplit("/", 1)[-1] for key, (mode, _) in self._entries.items()
                   if not stat.S_ISDIR(mode)}
        dynamic = False
        for source in list(self._sources):
            for name, path in libraries(source, self._folders).items():
                dynamic = True
                if name in present:
                    continue
                if path is None:
                    raise GuestError(f"{source} needs {name}, which this host does not have; "
                                     "give it with --file")
                self._add_library(name, path)
                present.add(name)
        if dynamic:
            self.add_host(os.path.realpath(LOADER), LOADER)
            for name in BY_NAME:
                if name not in present and os.path.exists(f"{LIBRARIES}/{name}"):
                    self._add_library(name, f"{LIBRARIES}/{name}")

    def _add_library(self, name, path):
        """At its own path if the guest's loader looks there; others (below /tmp, say) would be hidden."""
        place = path
        if (any(path.startswith(f"{folder}/") for folder in self._folders) or
                os.path.dirname(f"/{self._key(path)}") not in LOADER_FOLDERS):
            place = f"{LIBRARIES}/{name}"
        self.add_host(os.path.realpath(path), place)

    def write(self, file):
        """The archive; @file is open for writing bytes. Regular content is not kept in memory."""
        for number, (name, (mode, content)) in enumerate(sorted(self._entries.items()), 1):
            if isinstance(content, pathlib.Path):
                content = content.read_bytes()
            device = (5, 1) if stat.S_ISCHR(mode) else (0, 0)
            self._write_entry(file, number, name, mode, device, content)
        self._write_entry(file, 0, "TRAILER!!!", 0, (0, 0), b"")

    @staticmethod
    def _write_entry(file, number, name, mode, device, content):
        encoded = os.fsencode(name) + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (number, mode, 0, 0, links, 0, len(content), 0, 0, *device, len(encoded), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
        file.write(head + bytes(-len(head) % 4))
        file.write(content)
        file.write(bytes(-len(content) % 4))

# SPDX-License-Identifier: Apache-2.0
"""What guests are made of, fetched from Debian once and kept.

The folder is $CAUSEWAY_CACHE, or causeway in $XDG_CACHE_HOME or ~/.cache. Each part is a folder
of its own in it:

    kernel/   vmlinux, modules/   of the package that linux-image-amd64 asks for
    uml/      linux, modules/     of user-mode-linux
    busybox/  busybox             of busybox-static
    headers/  build/, ...         to build modules for kernel/; on request, see headers()

A part is made in a folder whose name starts with ".new-", under the lock, and renamed when it is
whole; its manifest.json lists every file with its size. So a part either is there and whole, or
is made again; a process that is killed or a disk that fills up in between leaves nothing that
anybody takes for a part. Nothing here needs root, and nothing is installed on the host.
"""

import contextlib
import errno
import fcntl
import json
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile
import time

from testbed.errors import CacheError, progress

# Drivers that no guest of ours has a device for; they are two thirds of the package.
UNWANTED = re.compile(r"/kernel/(sound|drivers/(gpu|media|infiniband|staging|scsi|iio|usb|input|"
                      r"hwmon|mtd|isdn|ata|bluetooth|nfc|net/(ethernet|wireless|can|usb|phy)))/")


def folder():
    """The cache's folder; it need not exist."""
    named = os.environ.get("CAUSEWAY_CACHE")
    if named:
        return pathlib.Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(base).expanduser() / "causeway"


def _tool(arguments, cwd):
    environment = dict(os.environ, LC_ALL="C", DEBIAN_FRONTEND="noninteractive")
    try:
        done = subprocess.run(arguments, cwd=cwd, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError:
        raise CacheError(f"{arguments[0]} is missing: guests are made from Debian's packages")
    if done.returncode:
        if "No space left on device" in done.stdout or "enough free space" in done.stdout:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        last = [line for line in done.stdout.strip().splitlines() if not line.startswith("W:")]
        raise CacheError(f"'{' '.join(map(str, arguments))}' failed: {' '.join(last[-2:])}")
    return done.stdout


def _apt(arguments, cwd):
    """A query of apt's, with its lists brought up to date if it fails without."""
    try:
        return _tool(arguments, cwd)
    except CacheError as error:
        if os.geteuid() != 0:
            raise CacheError(f"{error} (is there a network, and has 'apt-get update' been run?)")
    progress("updating the lists of packages")
    try:
        _tool(["apt-get", "-q", "update"], cwd)
        return _tool(arguments, cwd)
    except CacheError as error:
        raise CacheError(f"{error} (is there a network?)")


def _download(package, work):
    """The package's .deb in @work."""
    progress(f"downloading {package}")
    _apt(["apt-get", "-q", "-o", "APT::Sandbox::User=", "download", package], work)
    found = list(work.glob(f"{package}_*.deb"))
    if len(found) != 1:
        raise CacheError(f"apt-get downloaded no {package}")
    return found[0]


def _extract(package, new, choose):
    """The files of a .deb for whose name (without leading ./) choose(name) gives a path."""
    progress(f"extracting {package.name.split('_')[0]}")
    reader = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        with tarfile.open(fileobj=reader.stdout, mode="r|") as archive:
            for member in archive:
                path = choose(member.name.removeprefix("./"))
                if path is None:
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                if member.issym():
                    path.symlink_to(member.linkname)
                elif member.isfile():
                    with open(path, "wb") as output:
                        shutil.copyfileobj(archive.extractfile(member), output, 1 << 20)
                    path.chmod(0o755 if member.mode & 0o111 else 0o644)
    except tarfile.TarError:
        raise CacheError(f"{package.name} is damaged")
    finally:
        reader.stdout.close()
        reader.wait()
    if reader.returncode:
        raise CacheError(f"{package.name} is damaged")
    if package.parent == new:
        package.unlink()


def _dependency(package, prefix, work):
    """The package whose name starts with @prefix that @package depends on."""
    found = re.search(rf"Depends: ({re.escape(prefix)}\S+)",
                      _apt(["apt-cache", "depends", package], work))
    if not found:
        raise CacheError(f"{package} depends on no {prefix}*")
    return found[1]


def _make_kernel(new):
    name = _dependency("linux-image-amd64", "linux-image-", new)
    package = _download(name, new)
    release = name.removeprefix("linux-image-")

    def choose(path):
        if path == f"boot/vmlinuz-{release}":
            return new / "vmlinuz"
        if path.startswith(f"lib/modules/{release}/kernel/") and not UNWANTED.search(path):
            return new / "modules" / path.removeprefix(f"lib/modules/{release}/")
        return None

    _extract(package, new, choose)
    # Started uncompressed (by its PVH entry), it is up in a third of the time without KVM.
    image = (new / "vmlinuz").read_bytes()
    start = image.find(b"\xfd7zXZ\x00")
    if start < 0:
        raise CacheError(f"the kernel in {name} is not compressed with xz")
    (new / "vmlinux").write_bytes(lzma.LZMADecompressor().decompress(image[start:]))
    (new / "vmlinuz").unlink()
    return release


def _make_uml(new, package=None):
    package = package or _download("user-mode-linux", new)
    version = _tool(["dpkg-deb", "-f", package, "Version"], new).strip()

    def choose(path):
        if path == "usr/bin/linux.uml":
            return new / "linux"
        found = re.match(r"usr/lib/uml/modules/[^/]+/(kernel/.*)", path)
        return new / "modules" / found[1] if found and not UNWANTED.search(path) else None

    _extract(package, new, choose)
    return version


def _make_busybox(new):
    package = _download("busybox-static", new)
    version = _tool(["dpkg-deb", "-f", package, "Version"], new).strip()
    _extract(package, new, lambda path: new / "busybox" if path in ("bin/busybox", "usr/bin/busybox")
             else None)
    return version


def _make_headers(new):
    """Debian's tree for modules, in the layout of its packages, made independent of /usr/src."""
    release = version("kernel")
    name = f"linux-headers-{release}"
    common = _dependency(name, "linux-headers-", new)
    tools = _dependency(name, "linux-kbuild-", new)
    for package in (name, common, tools):
        _extract(_download(package, new), new, lambda path: new / path if path.startswith(
            ("usr/src/", "usr/lib/linux-kbuild")) else None)
    (new / f"usr/src/{name}/Makefile").write_text(
        f"include $(dir $(lastword $(MAKEFILE_LIST)))../{common}/Makefile\n")
    (new / "build").symlink_to(f"usr/src/{name}")
    return release


MAKERS = {"kernel": _make_kernel, "uml": _make_uml, "busybox": _make_busybox,
          "headers": _make_headers}


def _files(top):
    return {str(path.relative_to(top)): path.lstat().st_size
            for path in sorted(top.rglob("*")) if not path.is_dir() or path.is_symlink()}


def _whole(top):
    """Whether @top is a part with every file as it was made."""
    try:
        expected = json.loads((top / "manifest.json").read_text())["files"]
        return all((top / name).lstat().st_size == size for name, size in expected.items())
    except (OSError, ValueError, KeyError):
        return False


def _make(name, cache, *source):
    new = pathlib.Path(tempfile.mkdtemp(prefix=f".new-{name}-", dir=cache))
    try:
        version = MAKERS[name](new, *source)
        manifest = {"version": version, "files": _files(new)}
        (new / "manifest.json").write_text(json.dumps(manifest, indent=0))
        new.chmod(0o755)
        shutil.rmtree(cache / name, ignore_errors=True)
        new.rename(cache / name)
        return version
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _explain(error, cache):
    """A CacheError for an OSError while the cache was written."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return CacheError(f"the cache {cache} cannot be written: {error.strerror}")
    free = ""
    try:
        free = f" ({shutil.disk_usage(cache).free >> 20} MiB are free now)"
    except OSError:
        pass
    return CacheError(f"the disk of the cache {cache} is full{free}: a kernel for guests takes "
                      "250 MiB while it is fetched; make room, or set CAUSEWAY_CACHE to a folder "
                      "that has it")


_checked = set()


@contextlib.contextmanager
def _locked(cache):
    with open(cache / ".lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that fills the cache")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def part(name, *source):
    """The folder of a part, made first if need be, or in any case from @source. Raises CacheError."""
    cache = folder()
    if not source and ((cache / name) in _checked or _whole(cache / name)):
        _checked.add(cache / name)
        return cache / name
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache):
            for left in cache.glob(".new-*"):
                shutil.rmtree(left, ignore_errors=True)
            if source or not _whole(cache / name):
                started = time.monotonic()
                version = _make(name, cache, *source)
                progress(f"{name} {version} is in the cache after "
                         f"{time.monotonic() - started:.1f} s")
    except OSError as error:
        raise _explain(error, cache) from None
    _checked.add(cache / name)
    return cache / name


def version(name):
    """The Debian version or kernel release of a part, which is made first if need be."""
    return json.loads((part(name) / "manifest.json").read_text())["version"]


def present_version(name):
    """The same of a part that is in the cache, or None."""
    return version(name) if _whole(folder() / name) else None


def headers():
    """The folder for `make -C FOLDER M=... modules`, for modules of the kernel in the cache."""
    release = version("kernel")  # first: the part's maker runs under the lock
    if version("headers") != release:  # of a kernel that was in the cache before
        old = folder() / "headers"
        with _locked(folder()):
            shutil.rmtree(old)
        _checked.discard(old)
    return part("headers") / "build"

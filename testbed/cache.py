# SPDX-License-Identifier: Apache-2.0
"""What guests are made of, fetched from Debian once and kept.

The folder is $CAUSEWAY_CACHE, or causeway in $XDG_CACHE_HOME or ~/.cache. Each part is a folder
of its own in it:

    kernel/        vmlinux, modules/   of the package that linux-image-amd64 asks for
    kernel-6.12/   the same            of bookworm-backports; on request
    uml/           linux, modules/     of user-mode-linux
    busybox/       busybox             of busybox-static
    headers/       build/, ...         to build modules for kernel/; on request, see headers()
    headers-6.12/  the same            for kernel-6.12/
    vhost-device-vsock/                of sid: the peer that benchmarks compare with; on request
    xen/           xen, tools/         hypervisor and toolstack: see xen_build.py; on request
    qemu-sid/, uml-sid/, uml-debug/    what Debian 12 does not have: see sid.py; on request

A part is made in a folder whose name starts with ".new-", under its lock, and renamed when it is
whole; its manifest.json lists every file with its size. So a part either is there and whole, or
is made again; a process that is killed or a disk that fills up in between leaves nothing that
anybody takes for a part. Nothing here needs root, and nothing is installed on the host.
"""

import contextlib
import errno
import fcntl
import functools
import json
import lzma
import os
import pathlib
import re
import shutil
import struct
import subprocess
import tarfile
import tempfile
import time

from testbed import sid, xen_build
from testbed.errors import CacheError, progress

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
BACKPORTS = "bookworm-backports"

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


# Where apt keeps its state for a suite that the host does not use, inside the part that is made.
APT_STATE = ".apt"


def _mirror(work):
    """Where the host's own apt takes Debian from."""
    lines = _tool(["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)",
                   "Created-By: Packages"], work).splitlines()
    found = [line.split()[1] for line in lines if line.startswith("Debian ")]
    main = [uri for uri in found if "security" not in uri]
    return (main or ["http://deb.debian.org/debian/"])[0]


def _suite(name, work):
    """apt's options for the suite @name (None: those the host uses), whose lists are fetched."""
    if name is None:
        return []
    state = work / APT_STATE
    options = ["-o", f"Dir::Etc::sourcelist={state}/sources", "-o",
               "Dir::Etc::sourceparts=/dev/null", "-o", f"Dir::State::lists={state}/lists",
               "-o", f"Dir::Cache={state}/cache", "-o", "APT::Sandbox::User=",
               "-o", "Acquire::Languages=none", "-o", "Acquire::Check-Valid-Until=false"]
    if not state.exists():
        (state / "lists" / "partial").mkdir(parents=True)
        (state / "cache" / "archives" / "partial").mkdir(parents=True)
        (state / "sources").write_text(f"deb [signed-by={KEYRING}] {_mirror(work)} {name} main\n")
        progress(f"reading the list of packages of {name}")
        _tool(["apt-get", "-q", *options, "update"], work)
    return options


def _download(package, work, suite=None):
    """The package's .deb in @work."""
    options = _suite(suite, work)
    progress(f"downloading {package}")
    _apt(["apt-get", "-q", "-o", "APT::Sandbox::User=", *options, "download", package], work)
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
                elif member.isfile() and path.suffix == ".xz":
                    path = path.with_suffix("")  # a module: the guest's agent loads it as it is
                    path.write_bytes(lzma.decompress(archive.extractfile(member).read()))
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


def _dependency(package, prefix, work, suite=None):
    """The package whose name starts with @prefix that @package depends on."""
    found = re.search(rf"Depends: ({re.escape(prefix)}\S+)",
                      _apt(["apt-cache", *_suite(suite, work), "depends", package], work))
    if not found:
        raise CacheError(f"{package} depends on no {prefix}*")
    return found[1]


def _unpack_kernel(image, name):
    """The ELF file inside a bzImage; its header says where, see the kernel's x86 boot protocol."""
    sectors, (offset, length) = image[0x1f1] or 4, struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = image[start:start + length - 4]  # its last four bytes are the size
    if payload.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMADecompressor().decompress(payload)
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        try:
            return subprocess.run(["zstd", "-dc"], input=payload, check=True,
                                  stdout=subprocess.PIPE).stdout
        except FileNotFoundError:
            raise CacheError(f"zstd is missing: the kernel in {name} is compressed with it")
        except subprocess.CalledProcessError:
            raise CacheError(f"the kernel in {name} is damaged")
    raise CacheError(f"the kernel in {name} is compressed neither with xz nor with zstd")


def _make_kernel(new, suite=None):
    name = _dependency("linux-image-amd64", "linux-image-", new, suite)
    package = _download(name, new, suite)
    release = name.removeprefix("linux-image-")

    def choose(path):
        if path == f"boot/vmlinuz-{release}":
            return new / "vmlinuz"
        if path == f"lib/modules/{release}/modules.builtin" or (
                path.startswith(f"lib/modules/{release}/kernel/") and not UNWANTED.search(path)):
            return new / "modules" / path.removeprefix(f"lib/modules/{release}/")
        return None

    _extract(package, new, choose)
    # Started uncompressed (by its PVH entry), it is up in a third of the time without KVM.
    (new / "vmlinux").write_bytes(_unpack_kernel((new / "vmlinuz").read_bytes(), name))
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


def _make_headers(new, kernel="kernel", suite=None):
    """Debian's tree for modules, in the layout of its packages, made independent of /usr/src."""
    release = version(kernel)
    name = f"linux-headers-{release}"
    common = _dependency(name, "linux-headers-", new, suite)
    tools = _dependency(name, "linux-kbuild-", new, suite)
    for package in (name, common, tools):
        _extract(_download(package, new, suite), new, lambda path: new / path if path.startswith(
            ("usr/src/", "usr/lib/linux-kbuild")) else None)
    (new / f"usr/src/{name}/Makefile").write_text(
        f"include $(dir $(lastword $(MAKEFILE_LIST)))../{common}/Makefile\n")
    (new / "build").symlink_to(f"usr/src/{name}")
    return release


def _make_vhost_device_vsock(new):
    """Another switch for vsock, with the C library that it wants: started through its loader."""
    for name in ("vhost-device-vsock", "libc6", "libgcc-s1"):
        package = _download(name, new, "sid")
        if name == "vhost-device-vsock":
            version = _tool(["dpkg-deb", "-f", package, "Version"], new).strip()
        _extract(package, new, lambda path: new / path.rsplit("/", 1)[-1] if re.match(
            r"usr/(s?bin|libexec)/vhost-device-vsock$|usr/lib/x86_64-linux-gnu/"
            r"(ld-linux-x86-64|libc|libm|libgcc_s|libdl|libpthread|librt)\.so\.\d$", path) else None)
    return version


MAKERS = {"kernel": _make_kernel, "uml": _make_uml, "busybox": _make_busybox,
          "headers": _make_headers,
          "kernel-6.12": functools.partial(_make_kernel, suite=BACKPORTS),
          "headers-6.12": functools.partial(_make_headers, kernel="kernel-6.12", suite=BACKPORTS),
          "vhost-device-vsock": _make_vhost_device_vsock,
          "xen": lambda new: xen_build.make_xen(new, _tool, _download, _extract),
          "qemu-sid": lambda new: sid.make_qemu(new, _tool),
          "uml-sid": lambda new: sid.make_uml(new, _tool, "uml-sid.config"),
          "uml-debug": lambda new: sid.make_uml(new, _tool, "uml-sid.config", "uml-debug.config")}
KERNELS = ("6.1", "6.12")  # the first is what guests start with unless told otherwise


def kernel_part(kernel, name="kernel"):
    """The name of the part for a version of KERNELS, None being the first."""
    return name if kernel in (None, KERNELS[0]) else f"{name}-{kernel}"


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
        shutil.rmtree(new / APT_STATE, ignore_errors=True)
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
def _locked(cache, name):
    with open(cache / f".lock-{name}", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another process that makes {name}")
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
        with _locked(cache, name):
            for left in cache.glob(f".new-{name}-*"):
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


def copy(name, target, leave=()):
    """A part into the cache folder @target, without the members @leave of its top."""
    source, new = part(name), target / name
    shutil.copytree(source, new, symlinks=True,
                    ignore=lambda top, _: leave if pathlib.Path(top) == source else ())
    manifest = json.loads((source / "manifest.json").read_text())
    # A size of a program changes when it is stripped: what is there is what the manifest names.
    manifest["files"] = {path: size for path, size in _files(new).items()
                         if path not in ("manifest.json", "linux")}
    (new / "manifest.json").write_text(json.dumps(manifest, indent=0))


def version(name):
    """The Debian version or kernel release of a part, which is made first if need be."""
    return json.loads((part(name) / "manifest.json").read_text())["version"]


def present_version(name):
    """The same of a part that is in the cache, or None."""
    return version(name) if _whole(folder() / name) else None


def headers(kernel=None):
    """The folder for `make -C FOLDER M=... modules`, for modules of that kernel of KERNELS."""
    release = version(kernel_part(kernel))
    name = kernel_part(kernel, "headers")
    if version(name) != release:  # of a kernel that was in the cache before
        old = folder() / name
        with _locked(folder(), name):
            shutil.rmtree(old)
        _checked.discard(old)
    return part(name) / "build"

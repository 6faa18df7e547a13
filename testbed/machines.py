# SPDX-License-Identifier: Apache-2.0
"""Kinds of machines: for each, one class that knows its parts and its command line.

A further kind is a subclass of Machine and a row in MACHINES, if every test with a guest shall run
with it, or in OTHERS.
"""

import abc
import collections
import json
import os
import pathlib
import shutil
import time

from testbed import cache
from testbed.errors import GuestError, progress

class Network(collections.namedtuple("Network", "listens path")):
    """A cable between two guests: one listens on a Unix socket, the other connects to it.

    Each knows its address from its end: 10.77.0.1 listens, 10.77.0.2 connects.
    """

    ADDRESSES = {True: "10.77.0.1", False: "10.77.0.2"}

    @classmethod
    def parse(cls, text):
        """From "listen=PATH" or "connect=PATH"."""
        end, _, path = text.partition("=")
        if end not in ("listen", "connect") or not path:
            raise GuestError(f"network '{text}': expected listen=PATH or connect=PATH")
        return cls(end == "listen", path)

    @property
    def address(self):
        return self.ADDRESSES[self.listens]

    @property
    def mac(self):
        return "52:54:00:77:00:" + ("01" if self.listens else "02")


# All that TCG can do, but for the string moves that a kernel takes for fast when it sees these:
# TCG does them byte by byte, and copying is most of what a guest with sockets does. Both or none:
# with one alone a guest of QEMU 11 hangs at its start.
TCG_CPU = "max,-erms,-fsrm"
KERNEL_OPTIONS = "quiet loglevel=4 selinux=0 apparmor=0"


class Machine(abc.ABC):
    """What differs between kinds of guests."""

    modules = ()  # of its channel
    folder_modules = ()
    vsock_modules = ("vmw_vsock_virtio_transport",)
    network_modules = ()  # empty: the kind has no network between guests
    boot_seconds = 60
    channel_window = 128 << 10  # see channel.Channel
    architecture = "x86"  # what make's ARCH is for modules
    generic_devices = False  # whether it carries virtio devices of any id

    @abc.abstractmethod
    def unusable(self):
        """A sentence that says why this host cannot run the kind, or None. Fetches nothing."""

    @abc.abstractmethod
    def parts(self):
        """The names of the cache's parts that it needs, the one with modules/ first."""

    @abc.abstractmethod
    def folder_mount(self, number, folder):
        """How the guest mounts the host's @folder, its @number-th: a line for the agent."""

    @abc.abstractmethod
    def headers(self):
        """The folder to build modules for its kernel in, with make's ARCH=self.architecture."""

    @abc.abstractmethod
    def command(self, options, folder, initramfs, channel_fd):
        """(arguments, environment) of the process that is the guest.

        @options: memory_mib, cpus, folders, vhost_user_vsock, vhost_user, network, kernel_options (see
            guest.Guest)
        @folder: the guest's own, removed after its end
        @channel_fd: a connected stream socket that the process inherits, for the agent's channel

        Its standard output is the console, its standard input is empty.
        """


class Qemu(Machine):
    """QEMU, on KVM where that boots our kernel, else translating (TCG).

    The kernel is Debian's, uncompressed: 6.1, or 6.12 of the backports. The console is a serial port; the channel is a
    virtio-serial port, since a serial one takes an exit for every byte.
    """

    modules = ("virtio_pci", "virtio_console")
    network_modules = ("virtio_net",)
    folder_modules = ("9p", "9pnet_virtio")
    program = "qemu-system-x86_64"
    monitor = False  # whether it has one, at the guest's folder/monitor

    def __init__(self, accelerator=None, kernel=None):
        self._accelerator = accelerator  # None: find out
        self._version = kernel
        self._kernel = cache.kernel_part(kernel)

    def unusable(self):
        if not shutil.which(self.program):
            return f"{self.program} is missing: install the package qemu-system-x86"
        return None

    def parts(self):
        return (self._kernel, "busybox")

    def command(self, options, folder, initramfs, channel_fd):
        accelerator = self._accelerator or KvmProbe().accelerator()
        kvm = accelerator == "kvm"
        append = (f"console=ttyS0 panic=-1 reboot=t {KERNEL_OPTIONS} mitigations=off nokaslr "
                  "no_timer_check cryptomgr.notests tsc=reliable random.trust_cpu=on "
                  f"causeway_channel=/dev/vport0p1 {options.kernel_options}")
        arguments = [
            *self.emulator(), "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-machine", "q35,memory-backend=m", "-accel", accelerator,
            "-cpu", "host" if kvm else TCG_CPU, "-smp", str(options.cpus),
            "-m", f"{options.memory_mib}M",
            "-object", f"memory-backend-memfd,id=m,size={options.memory_mib}M,share=on",
            "-kernel", cache.part(self._kernel) / "vmlinux", "-initrd", initramfs, "-append", append,
            "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=agent,fd={channel_fd}",
            "-device", "virtserialport,chardev=agent,name=causeway.agent",
        ]
        if options.vhost_user_vsock:
            arguments += ["-chardev", f"socket,id=vsock,path={options.vhost_user_vsock}",
                          "-device", "vhost-user-vsock-pci,chardev=vsock"]
        if options.network:
            listens = options.network.listens
            arguments += ["-netdev", f"stream,id=net,server={'on' if listens else 'off'},"
                          f"addr.type=unix,addr.path={options.network.path}",
                          "-device", f"virtio-net-pci,netdev=net,mac={options.network.mac},romfile="]
        for number, folder in enumerate(options.folders):
            arguments += ["-fsdev", f"local,id=folder{number},path={folder},security_model=none,"
                          "readonly=on,multidevs=remap",
                          "-device", f"virtio-9p-pci,fsdev=folder{number},mount_tag=folder{number}"]
        for number, device in enumerate(options.vhost_user):
            arguments += ["-chardev", f"socket,id=vhost{number},path={device.socket}", "-device",
                          f"vhost-user-test-device-pci,chardev=vhost{number},"
                          f"id=device{number},virtio-id={device.id},num_vqs={device.queues},"
                          f"vq_size={device.queue_size},config_size={device.config_bytes}"]
        if self.monitor:
            arguments += ["-chardev", f"socket,id=monitor,path={folder}/monitor,server=on,wait=off",
                          "-mon", "chardev=monitor,mode=control"]
        return arguments, dict(os.environ, TMPDIR=str(folder))

    def folder_mount(self, number, folder):
        return f"9p folder{number} {folder} trans=virtio,version=9p2000.L,msize=262144,cache=loose"

    def headers(self):
        return cache.headers(self._version)

    def emulator(self):
        """The words that start QEMU."""
        return [self.program]


class QemuSid(Qemu):
    """QEMU 11 of Debian sid: it has a front-end for vhost-user devices of any id."""

    generic_devices = True
    monitor = True

    def parts(self):
        return (*super().parts(), "qemu-sid")

    def emulator(self):
        # Its libraries are newer than the host's: its own loader starts it.
        root = cache.part("qemu-sid") / "usr"
        return [root / "lib64/ld-linux-x86-64.so.2", "--library-path",
                root / "lib/x86_64-linux-gnu", root / "bin/qemu-system-x86_64",
                "-L", root / "share/qemu", "-L", root / "share/seabios"]


class KvmProbe:
    """Whether KVM boots our kernel: tried once per boot of the host, then read from the cache.

    Some hosts have a /dev/kvm that runs only guests made for it; a stock kernel hangs there, or
    QEMU gives up at once.
    """

    seconds = 10
    device = "/dev/kvm"

    def accelerator(self):
        if not os.path.exists(self.device):
            return "tcg"
        if not os.access(self.device, os.R_OK | os.W_OK):
            progress(f"{self.device} is not open to this user (group kvm): guests run without it, "
                     "slower")
            return "tcg"
        key = self._key()
        verdict = cache.folder() / "kvm.json"
        try:
            known = json.loads(verdict.read_text())
            if known["key"] == key:
                return known["accelerator"]
        except (OSError, ValueError, KeyError):
            pass
        accelerator = self._try()
        try:
            new = verdict.with_name(f".new-kvm-{os.getpid()}")
            new.write_text(json.dumps({"key": key, "accelerator": accelerator}))
            new.rename(verdict)
        except OSError:
            pass  # the next guest tries again
        return accelerator

    def _key(self):
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        program = os.stat(shutil.which(Qemu.program))
        return [boot, program.st_mtime_ns, cache.version("kernel")]

    def _try(self):
        from testbed.guest import Guest
        started = time.monotonic()
        guest = Guest(Qemu("kvm"), boot_timeout=self.seconds, quiet=True)
        try:
            with guest:
                progress(f"KVM works: a guest is up in {time.monotonic() - started:.1f} s")
                return "kvm"
        except GuestError:
            if not guest.launched:
                raise  # a fault that says nothing about KVM
            progress("KVM does not boot our kernel here: guests run without it (TCG), slower")
            return "tcg"


class Uml(Machine):
    """User-Mode Linux: the kernel as a process of the host, on Debian's build of it.

    The console is its standard output; the channel is a serial line of it. What comes in on that
    line must fit into the line discipline's 4096 bytes: its driver does not recover from throttling.
    """

    channel_window = 3 << 10
    architecture = "um"
    generic_devices = True
    kernel = "uml"

    def __init__(self, kernel=None):
        if kernel:
            raise GuestError(f"guests of kind uml have no kernel {kernel} to choose")

    def folder_mount(self, number, folder):
        return f"hostfs none {folder} {folder}"

    def headers(self):
        build = cache.part(self.kernel) / "build"
        if not build.exists():
            raise GuestError("Debian's User-Mode Linux comes without headers: take uml-sid")
        return build

    def unusable(self):
        if os.uname().machine != "x86_64":
            return "User-Mode Linux runs on x86-64 only"
        if " amx_tile" in pathlib.Path("/proc/cpuinfo").read_text():
            version = cache.present_version("uml")
            if not version or version.startswith("6.1"):
                return ("Debian 12's User-Mode Linux 6.1 does not run on processors with AMX; "
                        "'testbed/guest fetch --uml-package FILE.deb' takes a newer one")
        return None

    def parts(self):
        return (self.kernel, "busybox")

    def command(self, options, folder, initramfs, channel_fd):
        arguments = [
            cache.part(self.kernel) / "linux", f"mem={options.memory_mib}M", f"initrd={initramfs}",
            f"uml_dir={folder}/", "umid=uml", "con=null", "con0=null,fd:1",
            "ssl=null", f"ssl0=fd:{channel_fd}", *KERNEL_OPTIONS.split(),
            "causeway_channel=/dev/ttyS0", *options.kernel_options.split(),
        ]
        if options.vhost_user_vsock:
            arguments.append(f"virtio_uml.device={options.vhost_user_vsock}:19")
        arguments += [f"virtio_uml.device={device.socket}:{device.id}"
                      for device in options.vhost_user]
        if options.cpus > 1:
            arguments.append(f"ncpus={options.cpus}")
        if not cache.version(self.kernel).startswith("6."):
            arguments.append("seccomp=auto")  # a faster way into its kernel, where it works
        return arguments, dict(os.environ, TMPDIR=self._memory_folder(options, folder))

    @staticmethod
    def _memory_folder(options, folder):
        """Where its memory's file goes: not on a disk, if the host has room elsewhere."""
        try:
            if shutil.disk_usage("/dev/shm").free >= options.memory_mib << 20:
                return "/dev/shm"
        except OSError:
            pass
        return str(folder)


class UmlSid(Uml):
    """User-Mode Linux of our own build, newer than Debian 12's: several processors, faster."""

    kernel = "uml-sid"

    def unusable(self):
        if os.uname().machine != "x86_64":
            return "User-Mode Linux runs on x86-64 only"
        return None


class UmlDebug(UmlSid):
    """The same with the kernel's checks switched on (lock order, lists, sleeping, leaks)."""

    kernel = "uml-debug"


class Xen(Qemu):
    """QEMU that starts Xen, which starts dom0: see testbed/xen.py, which sets dom0_mib."""

    modules = ("virtio_pci", "virtio_console", "xen-evtchn", "xen-gntdev", "xen-gntalloc",
               "xen-privcmd", "xenfs", "xen-netback", "bridge")
    guest_modules = ("xen-netfront",)
    # The scheduler's lock of each processor is its own: where two wait for one, and all is translated,
    # the one that spins keeps QEMU's lock from the other, and half of all time is lost.
    hypervisor_options = "argo=1,mac-permissive=1"
    scheduler_options = "credit2_runqueue=cpu"
    boot_seconds = 120
    dom0_mib = 1024

    def parts(self):
        return (*super().parts(), "xen")

    def command(self, options, folder, initramfs, channel_fd):
        accelerator = self._accelerator or KvmProbe().accelerator()
        dom0 = (f"{cache.part(self._kernel) / 'vmlinux'} console=hvc0 panic=-1 {KERNEL_OPTIONS} "
                "cryptomgr.notests random.trust_cpu=on causeway_channel=/dev/vport0p1 "
                f"{options.kernel_options}")
        arguments = [
            *self.emulator(), "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-machine", "q35", "-accel", accelerator,
            # Translated, SMAP ends dom0 at the first trap into its kernel, and AVX instructions do
            # not trap where Xen wants to switch registers late: guests would see each other's.
            "-cpu", "host" if accelerator == "kvm" else f"{TCG_CPU},-smap", "-smp", str(options.cpus),
            "-m", f"{options.memory_mib}M",
            "-kernel", cache.part("xen") / "xen",
            "-append", f"dom0_mem={self.dom0_mib}M,max:{self.dom0_mib}M dom0_max_vcpus=1 "
            "com1=115200,8n1 console=com1 noreboot=1 spec-ctrl=eager-fpu "
            f"{self.scheduler_options} {self.hypervisor_options}",
            "-initrd", f"{dom0},{initramfs}",
            "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=agent,fd={channel_fd}",
            "-device", "virtserialport,chardev=agent,name=causeway.agent",
        ]
        return arguments, dict(os.environ, TMPDIR=str(folder))


MACHINES = {"qemu": Qemu, "uml": Uml}
OTHERS = {"qemu-sid": QemuSid, "uml-sid": UmlSid, "uml-debug": UmlDebug}
KINDS = {**MACHINES, **OTHERS}
XEN = "xen"  # a kind too, but a host with guests: see xen.py

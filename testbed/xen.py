# SPDX-License-Identifier: Apache-2.0
"""Xen: a host of ours, started by QEMU, and the guests that its toolstack starts.

    with XenHost(guests=2, guest_files=["build/prog"], guest_modules=["ours.ko"]) as host:
        host.run(["xl", "list"])                       # in dom0, as with every Guest
        one, two = host.guests                         # PV guests
        one.run(["prog"])                              # the same methods as a Guest's
        one.destroy()
        three = host.create_guest()

QEMU's machine runs Xen, Xen runs dom0 (Debian's kernel and our agent, like every guest), and dom0
has Debian's toolstack, which starts PV guests with the same kernel and agent. All guests have one
root, which lies in dom0's. A guest's agent speaks to us over TCP through dom0's bridge, relayed by
a command in dom0: Xen's own console takes a kernel's messages, is slow, and has one stream only.

States of a Domain: see guest.CommandRunner; `domid` is Xen's number of it, None once it is gone.
"""

import pathlib
import socket
import threading

from testbed import cache
from testbed.channel import Channel
from testbed.errors import GuestError, GuestTimeout
from testbed.guest import CommandRunner, Guest
from testbed.machines import Xen

HERE = pathlib.Path(__file__).resolve().parent
GUEST_BOOT_SECONDS = 180
NETWORK = "10.77.0"
CONSOLE_LOG = "/var/log/xen/console/guest-{}.log"
PORT = 7000  # of the first guest's channel in dom0

CONFIG = """name = "{name}"
kernel = "/guests/vmlinux"
ramdisk = "/guests/initramfs"
memory = {memory}
vcpus = {vcpus}
vif = ["mac=00:16:3e:77:{high:02x}:{low:02x},bridge=br0,script=/etc/causeway/xen-vif"]
extra = "causeway_channel=tcp:{address}:{network}.1:{port} {options}"
on_crash = "destroy"
on_poweroff = "destroy"
on_reboot = "destroy"
"""


class Domain(CommandRunner):
    """A PV guest of a XenHost."""

    def __init__(self, host, number, name):
        super().__init__()
        self._host = host
        self.number = number
        self.name = name
        self.address = f"{NETWORK}.{number}"
        self.domid = None
        self._relay = self._ours = self._theirs = None

    def _open_channel(self):
        """The agent's stream: a listener in dom0, before the guest starts, and two threads."""
        self._ours, self._theirs = socket.socketpair()
        port = str(PORT + self.number)
        self._relay = self._host.start(["nc", "-l", "-p", port], stdout=self._theirs.sendall)
        threading.Thread(target=self._feed, daemon=True).start()
        self._channel = Channel(self._ours, Xen.channel_window, self._too_late, self._describe_end)

    def _feed(self):
        relay = self._relay  # close() forgets it while this goes on
        try:
            while data := self._theirs.recv(65536):
                relay.write(data, None)
            relay.close_input()
        except (OSError, GuestError):
            pass  # the channel says it

    def create(self, memory_mib, vcpus, options):
        """Start it; wait_up() waits for its agent."""
        config = CONFIG.format(name=self.name, memory=memory_mib, vcpus=vcpus, options=options,
                               network=NETWORK, address=self.address, port=PORT + self.number,
                               high=self.number >> 8, low=self.number & 255)
        self._open_channel()
        self._host.run(["sh", "-c", f"cat >/guests/{self.name}.cfg && "
                        f"xl create -q /guests/{self.name}.cfg"], input=config.encode(),
                       timeout=GUEST_BOOT_SECONDS, check=True)
        self.find()

    def wait_up(self):
        """Until commands can be started."""
        self._channel.wait_hello(GUEST_BOOT_SECONDS)

    def find(self):
        """Learn the domain's number, which a restore changes."""
        self.domid = int(self._host.run(["xl", "domid", self.name], check=True).stdout)

    def save(self, path):
        """Its state goes to a file in dom0; it runs no more."""
        self._host.run(["xl", "save", self.name, path], timeout=GUEST_BOOT_SECONDS, check=True)
        self.domid = None

    def restore(self, path):
        """Goes on from the file, with another number; commands in it go on too."""
        self._host.run(["xl", "restore", path], timeout=GUEST_BOOT_SECONDS, check=True)
        self.find()

    def destroy(self):
        """Its power is cut."""
        if self.domid is not None:
            self._host.run(["xl", "destroy", str(self.domid)], check=True)
        self.close()

    def close(self):
        """Forget its channel; the host's end does the rest."""
        self.domid = None
        if self._channel:
            self._channel.close()
            self._channel = None
        if self._relay:
            try:
                self._relay.signal(15)
            except GuestError:
                pass
            self._theirs.close()
            self._relay = None
        if self in self._host.guests:
            self._host.guests.remove(self)

    def console(self):
        """The last lines of its kernel's console, as one string."""
        return self._host.run(["tail", "-n", "40", CONSOLE_LOG.format(self.name)],
                              timeout=20).stdout.decode(errors="replace")

    def _too_late(self, text):
        return GuestTimeout(self._describe_end(f"{text} ({self.name})"))

    def _describe_end(self, text):
        try:
            return f"{text}; its console ends with:\n{self.console()}"
        except GuestError:
            return text


class XenHost(Guest):
    """Xen with dom0, in which commands run as in every Guest, and PV guests.

    @guests: how many are started with it
    @guest_files, @guest_modules: as a Guest's files and modules, for every PV guest
    @guest_memory_mib, @guest_cpus: of each
    @room_for: how many guests there may be at a time
    @hypervisor_options: in place of those that switch Argo on
    """

    def __init__(self, *, guests=0, guest_files=(), guest_modules=(),
                 guest_memory_mib=None, guest_cpus=1, guest_options="", kernel=None,
                 hypervisor_options=None, room_for=3, **options):
        super().__init__(Xen(kernel=kernel), **options)
        if hypervisor_options is not None:
            self.machine.hypervisor_options = hypervisor_options
        self.guests = []
        self._count = guests
        self._room_for = max(guests + 1, room_for)
        self._next = 1
        self._guest_files = tuple(map(str, guest_files))
        self._guest_modules = tuple(map(str, guest_modules))
        self._guest_memory_mib = guest_memory_mib
        self._guest_cpus = guest_cpus
        self._guest_options = guest_options

    def start_guest(self):
        super().start_guest()
        try:
            self.run(["/etc/causeway/xen-dom0"], timeout=self.boot_timeout, check=True)
            self.create_guests(self._count)
        except BaseException:
            self.kill()
            raise
        return self

    def create_guest(self):
        """One more PV guest, up and ready."""
        return self.create_guests(1)[0]

    def create_guests(self, count):
        """Further PV guests, which boot at the same time, up and ready."""
        made = []
        try:
            for _ in range(count):
                number = self._next + 1  # 1 is dom0's address
                self._next += 1
                made.append(Domain(self, number, f"guest{number - 1}"))
                self.guests.append(made[-1])
                made[-1].create(self._guest_memory_mib, self._guest_cpus, self._guest_options)
            for guest in made:
                guest.wait_up()
        except BaseException:
            for guest in made:
                guest.close()
            raise
        return made

    def kill(self):
        for guest in list(self.guests):
            guest.close()
        super().kill()

    def _make_initramfs(self):
        """Dom0's root has the toolstack, and the kernel and root of the guests."""
        path = self._folder / "guest-initramfs"
        inner = self._make_root(self._guest_files, [*Xen.guest_modules, *self._guest_modules])
        inner.add_libraries()
        with open(path, "wb") as file:
            inner.write(file)
        if self._guest_memory_mib is None:
            self._guest_memory_mib = 144 + 4 * (path.stat().st_size >> 20)
        # The toolstack builds a guest with its initramfs in memory; dom0's root holds it too.
        self.machine.dom0_mib = 640 + 8 * (path.stat().st_size >> 20)
        if self.memory_mib is None:
            self.memory_mib = (self.machine.dom0_mib + 256 +
                               (self._guest_memory_mib + 16) * self._room_for)
        return super()._make_initramfs()

    def _add_to_root(self, root):
        tools = cache.part("xen") / "tools"
        root.add_libraries_folder(tools / "usr/lib/x86_64-linux-gnu")
        for program in sorted((tools / "bin").iterdir()):
            root.add_host(program, f"/usr/lib/xen-4.17/bin/{program.name}")
            root.add_link(f"/usr/sbin/{program.name}", f"/usr/lib/xen-4.17/bin/{program.name}")
        for name in ("xen-dom0", "xen-vif"):
            root.add_host(HERE / name, f"/etc/causeway/{name}")
        root.add_host(cache.part(self.machine.parts()[0]) / "vmlinux", "/guests/vmlinux")
        root.add_host(self._folder / "guest-initramfs", "/guests/initramfs")

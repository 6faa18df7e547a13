# SPDX-License-Identifier: Apache-2.0
"""A guest from its start to its end.

States of a Guest, in this order, under no lock (one thread starts and stops it):
    new      nothing exists yet
    up       the process runs and the agent has said HELLO: run() and start() work
    ended    stop() or kill(): no process, no folder, no keeper

Whatever ends this process, nothing stays behind: each guest has a keeper, a shell that waits for
the end of a pipe that only we hold. When we die, even by SIGKILL, it kills the guest's process
group and removes its folder; on an ordinary end it is told that there is nothing left to do.
"""

import atexit
import collections
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import weakref

from testbed import cache
from testbed.channel import Channel
from testbed.errors import GuestError, GuestTimeout, progress
from testbed.initramfs import Initramfs
from testbed.machines import KINDS, Machine, Network
from testbed.modules import Modules

CONSOLE_LINES = 400
CONSOLE_SHOWN = 40
STOP_SECONDS = 5
KILL_SECONDS = 2

ROOT = pathlib.Path(__file__).resolve().parent.parent

KEEPER = """trap "" HUP INT TERM QUIT
read -r word
[ "$word" = done ] && exit 0
kill -KILL -- "-$1" 2>/dev/null
rm -rf -- "$2"
"""

Result = collections.namedtuple("Result", "status stdout stderr")


class VhostUser(collections.namedtuple("VhostUser", "id socket queues queue_size config_bytes")):
    """A virtio device that a vhost-user backend serves on @socket.

    Only QEMU asks for @queues, @queue_size and @config_bytes: User-Mode Linux has them from the
    driver and the backend.
    """

    def __new__(cls, id, socket, queues=2, queue_size=256, config_bytes=64):
        return super().__new__(cls, id, str(socket), queues, queue_size, config_bytes)

    @classmethod
    def parse(cls, text):
        """From "ID=SOCKET[,queues=N][,queue_size=N][,config_bytes=N]". Raises ValueError."""
        first, *rest = text.split(",")
        number, equals, path = first.partition("=")
        if not equals or not path or not number.isdigit():
            raise ValueError(f"{text}: expected ID=SOCKET[,queues=N][,queue_size=N]"
                             "[,config_bytes=N]")
        options = dict(word.split("=", 1) for word in rest if "=" in word)
        if len(options) != len(rest) or not set(options) <= set(cls._fields[2:]):
            raise ValueError(f"{text}: unknown option; there are {', '.join(cls._fields[2:])}")
        return cls(int(number), path, **{name: int(value) for name, value in options.items()})

_alive = weakref.WeakSet()


@atexit.register
def _kill_all():
    for guest in list(_alive):
        guest.kill()


def _group(leader):
    """The living processes of a process group."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            state, _, group = (process / "stat").read_text().rsplit(")", 1)[1].split()[:3]
        except OSError:
            continue  # it has just ended
        if int(group) == leader and state not in "ZX":
            found.append(int(process.name))
    return found


def agent_path():
    """The agent's program: of the build folder $CAUSEWAY_BUILD, or of build/."""
    build = pathlib.Path(os.environ.get("CAUSEWAY_BUILD") or ROOT / "build")
    path = build / "testbed" / "guest-agent"
    if not path.exists():
        raise GuestError(f"{path} is not built: run 'ninja -C {build} testbed/guest-agent'")
    return path


class CommandRunner:
    """Commands in a guest, through the channel to its agent (None: there is no guest)."""

    def __init__(self):
        self._channel = None

    def start(self, arguments, *, env=None, stdout=None, stderr=None):
        """Start a command; a channel.Command. Output is kept, or goes to functions of bytes."""
        if not self._channel:
            raise GuestError("the guest is not running")
        return self._channel.start(arguments, env or {}, stdout, stderr)

    def alive(self):
        """Whether commands can be started."""
        return self._channel is not None

    def run(self, arguments, *, input=b"", env=None, timeout=60, check=False):
        """Run a command to its end; Result(status, stdout, stderr).

        At the time limit the guest is killed and GuestTimeout raised. With @check a status other
        than 0 raises GuestError.
        """
        command = self.start(arguments, env=env)
        if input:
            command.write(input, timeout)
        command.close_input()
        status = command.wait(timeout)
        if check and status:
            raise GuestError(f"{' '.join(map(str, arguments))}: exit status {status}: "
                             f"{command.stderr.decode(errors='replace').strip()}")
        return Result(status, command.stdout, command.stderr)

    def send_file(self, source, path, mode=None):
        """Write a host's file (without libraries) into the running guest."""
        source = pathlib.Path(source)
        mode = source.stat().st_mode & 0o777 if mode is None else mode
        self.run(["/bin/sh", "-c", 'cat >"$1" && chmod "$2" "$1"', "sh", path, f"{mode:o}"],
                 input=source.read_bytes(), check=True)


class Guest(CommandRunner):
    """A virtual machine, up after start_guest(); also a context manager that starts and stops it.

    @machine: a name of machines.KINDS ("qemu", "uml", ...), or a machines.Machine
    @files: "HOSTPATH" or "HOSTPATH:GUESTPATH" each; a file or a folder. Without GUESTPATH it goes
        to /root, which is the commands' working folder and on their PATH. Programs bring their
        libraries.
    @folders: the host's folders that the guest sees at the same place, read-only, instead of its
        own; for programs that are too large for a root in memory, or need much beside them: "/usr"
    @modules: names of the kernel's modules, or paths of .ko files; "NAME PARAMETERS" works too
    @vhost_user_vsock: the socket of a vhost-user-vsock backend, for AF_VSOCK in the guest
    @kernel: one of cache.KERNELS, for kinds that have a choice
    @network: "listen=PATH" or "connect=PATH", a cable between two guests; see machines.Network
    @vhost_user: VhostUser devices, or their texts; of the kinds with generic_devices
    @memory_mib: without it, 192 and four times what the root takes
    @quiet: no lines of progress
    """

    def __init__(self, machine="qemu", *, files=(), folders=(), modules=(), vhost_user_vsock=None,
                 vhost_user=(), kernel=None, network=None, memory_mib=None, cpus=1,
                 kernel_options="", boot_timeout=None, quiet=False):
        super().__init__()
        if isinstance(machine, str):
            if machine not in KINDS:
                raise GuestError(f"there is no kind of guest named {machine}")
            machine = KINDS[machine](kernel=kernel)
        self.machine: Machine = machine
        self.files = tuple(str(file) for file in files)
        self.folders = tuple(os.path.abspath(folder) for folder in folders)
        self.modules = tuple(str(module) for module in modules)
        self.vhost_user_vsock = vhost_user_vsock and str(vhost_user_vsock)
        self.network = Network.parse(network) if network else None
        if self.network and not machine.network_modules:
            raise GuestError("this kind of guest has no network device")
        self.vhost_user = tuple(VhostUser.parse(device) if isinstance(device, str) else device
                                for device in vhost_user)
        self.memory_mib = memory_mib
        self.cpus = cpus
        self.kernel_options = kernel_options
        self.boot_timeout = boot_timeout or machine.boot_seconds
        self.launched = False  # whether its process was ever started
        self.boot_seconds = None  # how long start_guest() waited for the agent
        self._say = (lambda text: None) if quiet else progress
        self._console = collections.deque(maxlen=CONSOLE_LINES)
        self._process = self._keeper = self._folder = None
        self._console_thread = None

    def __enter__(self):
        return self.start_guest()

    def __exit__(self, kind, value, traceback):
        if kind:
            self.kill()
        else:
            self.stop()

    def start_guest(self):
        """Boot, and wait for the agent. Raises GuestError; nothing is left behind then."""
        reason = self.machine.unusable()
        if reason:
            raise GuestError(reason)
        if self.vhost_user and not self.machine.generic_devices:
            raise GuestError("this kind of guest carries no vhost-user device of any id: take "
                             "qemu-sid, uml or uml-sid")
        backends = [self.vhost_user_vsock] if self.vhost_user_vsock else []
        for backend in (*backends, *(device.socket for device in self.vhost_user)):
            if not pathlib.Path(backend).is_socket():
                raise GuestError(f"{backend} is no socket: start its vhost-user backend first")
        for part in self.machine.parts():
            cache.part(part)
        _alive.add(self)
        try:
            self._folder = pathlib.Path(tempfile.mkdtemp(prefix="causeway-guest-"))
            initramfs = self._make_initramfs()
            started = time.monotonic()
            self._launch(initramfs)
            self._channel.wait_hello(self.boot_timeout)
            if self.network:
                self.run(["sh", "-c", f"ip link set lo up && ip addr add {self.network.address}/24 "
                          "dev eth0 && ip link set eth0 up"], check=True)
            self.boot_seconds = time.monotonic() - started
            self._say(f"{type(self.machine).__name__.lower()} guest is up after "
                      f"{self.boot_seconds:.1f} s")
        except OSError as error:
            self.kill()
            raise GuestError(f"the guest cannot be started: {error}") from None
        except BaseException:
            self.kill()
            raise
        return self

    def console(self, lines=CONSOLE_SHOWN):
        """The last lines of its console, as one string."""
        return "\n".join(list(self._console)[-lines:])

    @property
    def folder(self):
        """Its own on the host; a kind with a monitor has it there."""
        return self._folder

    def pids(self):
        """The processes on the host that are the guest."""
        return _group(self._process.pid) if self._process else []

    def stop(self):
        """An orderly end: the guest powers off; it is killed when that takes too long."""
        if self._channel and self._process:
            self._channel.stop()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._say("the guest does not power off: killed")
        self.kill()

    def kill(self):
        """Its power is cut. Also cleans up; calling it again does nothing."""
        if self._process:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._process.wait()
            # UML is several processes; those below the first are not ours to wait for.
            end = time.monotonic() + KILL_SECONDS
            while _group(self._process.pid) and time.monotonic() < end:
                time.sleep(0.002)
            self._process = None
            self._console_thread.join(1)
        if self._channel:
            self._channel.close()
            self._channel = None
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        if self._keeper:
            try:
                self._keeper.communicate(b"done\n")
            except OSError:
                pass
            self._keeper = None
        _alive.discard(self)

    def _make_root(self, files, modules):
        """An Initramfs with agent, busybox, files and modules."""
        root = Initramfs()
        root.add_host(agent_path(), "/init")
        root.add_host(cache.part("busybox") / "busybox", "/bin/busybox")
        applets = subprocess.run([cache.part("busybox") / "busybox", "--list-full"], check=True,
                                 stdout=subprocess.PIPE, text=True).stdout.split()
        for file in files:
            source, _, path = file.partition(":")
            root.add_host(source, path or f"/root/{os.path.basename(os.path.abspath(source))}")
        for applet in applets:
            root.add_link(f"/{applet}", "/bin/busybox")

        order = Modules(cache.part(self.machine.parts()[0]) / "modules").order(modules)
        lines = []
        for path, parameters in order:
            root.add_host(path, f"/lib/modules/{path.name}")
            lines.append(f"/lib/modules/{path.name} {parameters}".rstrip() + "\n")
        root.add_bytes("/etc/causeway/modules", "".join(lines).encode())
        return root

    def _add_to_root(self, root):
        """What a kind of guest adds to its root."""

    def _make_initramfs(self):
        wanted = [*self.machine.modules, *self.modules]
        if self.vhost_user_vsock:
            wanted += self.machine.vsock_modules
        if self.network:
            wanted += self.machine.network_modules
        if self.folders:
            wanted += self.machine.folder_modules
        root = self._make_root(self.files, wanted)
        if self.folders:
            root.add_bytes("/etc/causeway/folders", "".join(
                f"{self.machine.folder_mount(number, folder)}\n"
                for number, folder in enumerate(self.folders)).encode())
        self._add_to_root(root)
        root.add_libraries()

        path = self._folder / "initramfs"
        with open(path, "wb") as file:
            root.write(file)
        if self.memory_mib is None:
            self.memory_mib = 192 + 4 * (path.stat().st_size >> 20)
        return path

    def _launch(self, initramfs):
        ours, theirs = socket.socketpair()
        with theirs:
            arguments, environment = self.machine.command(self, self._folder, initramfs,
                                                          theirs.fileno())
            # A session of its own: a terminal's Ctrl-C is for us, who end it in order.
            self._process = subprocess.Popen(
                list(map(str, arguments)), env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=[theirs.fileno()],
                start_new_session=True)
            self.launched = True
        self._console_thread = threading.Thread(target=self._read_console, daemon=True,
                                                args=(self._process.stdout,))
        self._console_thread.start()
        self._keeper = subprocess.Popen(
            ["/bin/sh", "-c", KEEPER, "guest-keeper", str(self._process.pid), self._folder],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True)
        self._channel = Channel(ours, self.machine.channel_window, self._too_late,
                                self._describe_end)

    def _read_console(self, stream):
        with stream:
            for line in iter(lambda: stream.readline(4096), b""):
                self._console.append(line.decode(errors="replace").rstrip())

    def _too_late(self, text):
        """Called by the channel at a time limit, with its condition held: cleans nothing up."""
        process = self._process
        if process and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        return GuestTimeout(f"{text}; the guest's console ends with:\n{self.console()}")

    def _describe_end(self, text):
        process = self._process
        if process:
            try:
                process.wait(1)
            except subprocess.TimeoutExpired:
                pass
        return f"{text}; its console ends with:\n{self.console()}"

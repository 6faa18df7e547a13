# SPDX-License-Identifier: Apache-2.0
"""The one way in which tests and benchmarks start Causeway's daemons and its clients.

    with Cudad() as cudad:
        result = cudad.run("ring", ["build/tests/programs/vectoradd"])

Each daemon has a temporary folder of its own with configuration, sockets and log; leaving the
block stops the daemon and removes the folder.
"""
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("CAUSEWAY_BUILD") or ROOT / "build").resolve()
SOFTGPU = BUILD / "cuda" / "softgpu" / "libcuda.so.1"
CLIENT = BUILD / "cuda" / "client" / "libcuda.so.1"
PROGRAMS = BUILD / "tests" / "programs"
SCIF_PROGRAMS = BUILD / "tests" / "scif"
LINKS = ("unix", "ring", "tcp")

READY_SECONDS = 20
STOP_SECONDS = 10


class DaemonError(Exception):
    """A daemon did not start or stop as it should; the text has the end of its log."""


def wait_until(condition, seconds, what):
    """Poll a condition that has no event; its last value. AssertionError after @seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds} s still not: {what}")
        time.sleep(0.01)
    return value


def children(pid):
    """The processes whose parent is @pid."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            status = (entry / "stat").read_text()
        except OSError:
            continue
        fields = status[status.rindex(")") + 2:].split()
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def cpu_seconds(pid):
    """User and system time that a process (all its threads) has taken."""
    status = pathlib.Path(f"/proc/{pid}/stat").read_text()
    fields = status[status.rindex(")") + 2:].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_tcp_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Daemon:
    """A daemon process; subclasses say its command, its files and when it is ready."""

    name = "daemon"
    environment_added = {}

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"causeway-{self.name}-"))
        self.log_path = self.folder / "log"
        self.process = None

    def command(self):
        raise NotImplementedError

    def ready(self):
        raise NotImplementedError

    def start(self):
        try:
            with open(self.log_path, "ab") as log:
                self.process = subprocess.Popen(
                    [str(word) for word in self.command()], stdin=subprocess.DEVNULL, stdout=log,
                    stderr=log, start_new_session=True,
                    env=dict(os.environ, **self.environment_added))
            deadline = time.monotonic() + READY_SECONDS
            while not self.ready():
                if self.process.poll() is not None:
                    raise DaemonError(f"{self.name} ended at its start with "
                                      f"{self.process.returncode}: {self.log()}")
                if time.monotonic() > deadline:
                    raise DaemonError(f"{self.name} is not ready: {self.log()}")
                time.sleep(0.005)
        except BaseException:
            self.kill()
            raise
        return self

    __enter__ = start

    def __exit__(self, kind, value, traceback):
        self.stop()

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        try:
            return self.log_path.read_text(errors="replace")[-4000:]
        except OSError:
            return ""

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        """An orderly end; DaemonError when it does not come, or a file of it is left."""
        try:
            if self.alive():
                self.process.terminate()
                try:
                    self.process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    raise DaemonError(f"{self.name} does not end: {self.log()}") from None
        finally:
            self.kill()

    def kill(self):
        """The end without a warning; also removes the folder."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Cudad(Daemon):
    """causeway-cudad on a driver, reachable over every link; over scif where there is a @scifd."""

    name = "cudad"

    def __init__(self, driver=SOFTGPU, settings="", scifd=None):
        super().__init__()
        if scifd:
            self.environment_added = {"CAUSEWAY_SCIF_SOCKET": str(scifd.host)}
        self.socket = self.folder / "cuda.sock"
        self.switch_socket = self.folder / "switch.sock"
        self.control = self.folder / "control.sock"
        self.tcp_port = free_tcp_port()
        self.token = secrets.token_hex(16)
        self.config = self.folder / "cudad.conf"
        self.client_config = self.folder / "client.conf"
        token_path = self.folder / "token"
        token_path.write_text(self.token + "\n")
        token_path.chmod(0o600)
        self.client_config.write_text(f"token_file = {token_path}\n")
        self.config.write_text(
            f'cuda = {{ socket = "{self.socket}"; control_socket = "{self.control}"; '
            f'switch_socket = "{self.switch_socket}"; '
            f'driver = "{driver}"; tcp = "127.0.0.1:{self.tcp_port}"; '
            f'token_file = "{token_path}"; {settings} }};\n')

    def command(self):
        return [BUILD / "cuda" / "server" / "causeway-cudad", "--config", self.config]

    def ready(self):
        """It answers; files alone may be those of one that was killed."""
        try:
            return self.status()["pid"] == self.process.pid and self.socket.exists()
        except (OSError, ValueError):
            return False

    def address(self, link):
        if link == "tcp":
            return f"tcp:127.0.0.1:{self.tcp_port}"
        return f"{link}:{self.socket}"

    def environment(self, link):
        """What a client needs to reach this daemon."""
        return {"LD_LIBRARY_PATH": str(CLIENT.parent),
                "CAUSEWAY_CUDA_SERVER": self.address(link),
                "CAUSEWAY_CUDA_CONFIG": str(self.client_config)}

    def start_client(self, link, arguments, **options):
        """Start a program as a client; subprocess.Popen's options."""
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen([str(word) for word in arguments], text=True,
                                env=client_environment(self.environment(link)), **options)

    def run(self, link, arguments, timeout=120, env=None):
        """Run a program as a client to its end; subprocess.CompletedProcess."""
        return run_program(arguments, {**self.environment(link), **(env or {})}, timeout)

    def workers(self):
        """The workers' process ids."""
        found = []
        for pid in children(self.pid):
            try:
                if os.readlink(f"/proc/{pid}/exe").endswith("/causeway-cuda-worker"):
                    found.append(pid)
            except OSError:
                pass  # it has ended since
        return found

    def status(self):
        """The answer of the control socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.control))
            connection.sendall(b'{"command": "status"}\n')
            answer = b""
            while more := connection.recv(65536):
                answer += more
        return json.loads(answer)


class Switch(Daemon):
    """causeway-switch with guests of the given cids; port 7000 of the host is @cudad."""

    name = "switch"
    port = 7000

    def __init__(self, cudad=None, cids=(3,), services=(), options=()):
        super().__init__()
        self.cids = cids
        self.options = options
        self.services = list(services)
        if cudad:
            self.services.append(f"{self.port}={cudad.switch_socket},identity")

    def guest_socket(self, cid):
        return self.folder / f"guest-{cid}.sock"

    def command(self):
        words = [BUILD / "vsock" / "switch" / "causeway-switch"]
        for cid in self.cids:
            words += ["--vm", f"guest{cid},cid={cid},socket={self.guest_socket(cid)}"]
        for service in self.services:
            words += ["--service", service]
        return words + [*self.options]

    def ready(self):
        return all(self.guest_socket(cid).exists() for cid in self.cids)


class Scifd(Daemon):
    """scifd with one software card, VMs of the given names, and a socket for host processes."""

    name = "scifd"

    def __init__(self, vms=(), options=(), card_vm=False):
        super().__init__()
        self.vms = vms
        self.card_vm = card_vm  # whether a VMM connects to self.card, instead of processes
        self.options = options
        self.host = self.folder / "host.sock"
        self.card = self.folder / "mic0.sock"
        self.control = self.folder / "control.sock"

    def guest_socket(self, vm):
        return self.folder / f"{vm.split(',')[0]}.sock"

    def command(self):
        words = [BUILD / "scif" / "fabric" / "scifd", "--socket", self.host,
                 "--card", f"mic0,{'vm' if self.card_vm else 'socket'}={self.card}", "--control", self.control]
        for vm in self.vms:  # a name, with settings behind it
            name, _, settings = vm.partition(",")
            words += ["--vm", f"{name},socket={self.guest_socket(vm)}"
                      + ("," + settings if settings else "")]
        return words + list(self.options)

    def ready(self):
        """It answers; files alone may be those of one that was killed."""
        try:
            return "tables" in self.ask("status")
        except (OSError, ValueError):
            return False

    def start_program(self, socket_path, arguments, environment=None, **options):
        """Start a host or card program, with variables; subprocess.Popen's options."""
        options.setdefault("stdin", subprocess.DEVNULL)
        environment = dict(os.environ, CAUSEWAY_SCIF_SOCKET=str(socket_path), **environment or {})
        return subprocess.Popen([str(word) for word in arguments], text=True, env=environment,
                                **options)

    def start_card(self):
        """The card test process, listening."""
        card = self.start_program(self.card, [SCIF_PROGRAMS / "scif_card"],
                                  stdout=subprocess.PIPE)
        if card.stdout.readline() != "listening\n":
            card.kill()
            raise DaemonError(f"scif_card does not listen: {self.log()}")
        return card

    def ask(self, command, **members):
        """One request of the control socket, and its answer."""
        return ask_control(self.control, command, **members)

    def nodes(self):
        """The report's rows by name, each as {column: value}."""
        table = next(table for table in self.ask("status")["tables"] if table["name"] == "node")
        names = [column["name"] for column in table["columns"]]
        return {row[0]: dict(zip(names, row)) for row in table["rows"]}


class Card(Daemon):
    """causeway-card on the card of a Scifd."""

    name = "card"

    def __init__(self, scifd, options=()):
        super().__init__()
        self.scifd = scifd
        self.options = options
        self.control = self.folder / "control"

    def command(self):
        return [BUILD / "scif" / "card" / "causeway-card", "--socket", self.scifd.card,
                "--scifd", self.scifd.control, "--folder", self.folder, *self.options]

    def ready(self):
        """It answers: its socket is there before it listens."""
        try:
            return self.report()["card"][0]["state"] == "online"
        except (OSError, ValueError):
            return False

    def ask(self, command):
        return ask_control(self.control, command)

    def report(self):
        """The report's tables by name, each a list of {column: value}."""
        return {table["name"]: [dict(zip((column["name"] for column in table["columns"]), row))
                                for row in table["rows"]]
                for table in self.ask("status")["tables"]}

    def load(self, arguments, **options):
        """micnativeloadex on the host, started."""
        return load(self.scifd, arguments, **options)


def load(scifd, arguments, **options):
    """micnativeloadex on the host, started."""
    return scifd.start_program(scifd.host, [BUILD / "scif" / "card" / "micnativeloadex",
                                            *arguments], **options)


def ask_control(path, command, **members):
    """One request of a control socket, and its answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        connection.sendall(json.dumps({"command": command, **members}).encode() + b"\n")
        answer = b""
        while more := connection.recv(65536):
            answer += more
    return json.loads(answer)


def client_environment(environment):
    """This process's environment with changes; for programs that the sanitizers do not know."""
    full = dict(os.environ, **environment)
    if preload := os.environ.get("CAUSEWAY_PRELOAD"):
        full["LD_PRELOAD"] = preload
        full["ASAN_OPTIONS"] = "detect_leaks=0:" + full.get("ASAN_OPTIONS", "")
    return full


def run_program(arguments, environment, timeout=120):
    return subprocess.run([str(word) for word in arguments], env=client_environment(environment),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout, check=False)


def run_natively(arguments, timeout=120):
    """Run a program on softgpu directly."""
    return run_program(arguments, {"LD_LIBRARY_PATH": str(SOFTGPU.parent)}, timeout)


def program_names():
    """The test programs that were built: the .cu ones only where nvcc was found."""
    names = sorted(path.stem for path in (ROOT / "tests" / "programs").glob("*.cu")
                   if path.stem != "driver_kernels")
    names += ["driver_vectoradd", "driver_matmul", "driver_reduction", "driver_copies"]
    return [name for name in names if (PROGRAMS / name).exists()]

# SPDX-License-Identifier: Apache-2.0
"""What a worker can reach whose driver was taken over: nothing but the driver's own."""
import ctypes
import errno
import os
import pathlib
import signal
import subprocess

import pytest

import daemons
from tenants import ALLOCATOR

OBJECTS = daemons.BUILD / "tests" / "conformance" / "objects" / "libcuda.so.1"
DRIVER = daemons.BUILD / "tests" / "conformance" / "escape" / "libcuda.so.1"
REFUSED = ("file-read", "file-write", "file-create", "users-read", "folder-list", "inet-socket",
           "unix-connect", "unix-datagram", "netlink-socket", "child-make", "program-run", "process-signal",
           "process-read", "process-memory-open", "process-trace", "namespace-make", "uring-make",
           "privileges-regain", "traceable-become")
LET = ("thread-name", "unix-listen", "memory-look")
FILES = ("file-read", "file-write", "file-create", "users-read", "folder-list")
# Where these are let without a sandbox depends on the host, on its limits and on being root.
DEPENDS = ("namespace-make", "uring-make", "process-trace", "process-read", "process-memory-open")


def landlock():
    """The version of Landlock that this kernel has, 0 for none."""
    return max(0, ctypes.CDLL(None).syscall(444, None, 0, 1))


class Host(daemons.Cudad):
    """causeway-cudad with the driver that tries, and what it tries to reach."""

    def __init__(self, settings="", tenants="", user=None):
        super().__init__(driver=DRIVER, settings=f'socket_mode = "666"; {settings}')
        self.config.write_text(self.config.read_text() + tenants)
        self.folder.chmod(0o777)
        self.file = self.folder / "secret"
        self.file.write_text("a secret")
        self.file.chmod(0o666)
        options = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        self.other = subprocess.Popen(["/usr/bin/sleep", "600"], **options)
        self.environment_added = {"ESCAPE_FILE": str(self.file),
                                  "ESCAPE_PROCESS": str(self.other.pid)}

    def kill(self):
        self.other.kill()
        self.other.wait()
        super().kill()

    def attempts(self):
        """How each attempt ended, and as which user."""
        self.run("unix", [daemons.PROGRAMS / "driver_client", "launch"])
        daemons.wait_until(lambda: "attempts ended as user" in self.log(), 20, "it has tried all")
        lines = self.log().splitlines()
        found = {line.split()[1].rstrip(":"): int(line.split()[2])
                 for line in lines if line.startswith("attempt ")}
        (user,) = [int(line.split()[-1]) for line in lines if line.startswith("attempts ended")]
        return found, user


def test_a_worker_reaches_nothing_but_its_driver():
    with Host() as host:
        found, _ = host.attempts()
    assert [found.pop(name) for name in LET] == [0, 0, 0], found
    assert set(found) == set(REFUSED)
    let = {name for name, error in found.items() if not error}
    version = landlock()
    expected = set()
    if version < 1:
        expected.update(FILES)
    assert let == expected, found
    if version:
        assert "not enforced" not in host.log()


def test_without_the_sandbox_the_same_attempts_succeed():
    """The control: the test above would see a worker that is let."""
    with Host("sandbox = false;") as host:
        found, _ = host.attempts()
        assert "sandbox is off" in host.log()
    must = {name: error for name, error in found.items() if name not in DEPENDS}
    # These two hold without it: whoever may become a worker cannot get more, or be traced.
    assert must.pop("privileges-regain") == errno.EPERM
    assert set(must.values()) == {0}, must


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be several users")
def test_workers_run_as_their_tenants_user():
    with Host(tenants='tenants = ( { name = "red"; users = [0]; user = 61011; } );\n',
              user=61011) as host:
        found, user = host.attempts()
    assert user == 61011
    assert {name for name, error in found.items() if not error} <= {*LET, *FILES}
    with Host("sandbox = false; worker_users = [61020, 61029];", user=61020) as host:
        found, user = host.attempts()
    # Nobody traces it or is traced by it, though they are the same user: it is not dumpable.
    assert user == 61020
    assert found["file-read"] == 0


class Service(daemons.Cudad):
    """causeway-cudad as its service runs: a user's, with no capability but a drop-in's."""

    USER = 61030

    def __init__(self, capabilities):
        super().__init__(settings='socket_mode = "666"; worker_users = [61031, 61039];')
        self.client_config.write_text("")
        self.folder.chmod(0o755)
        for path in [self.folder, *self.folder.iterdir()]:
            os.chown(path, self.USER, self.USER)
        self.capabilities = [word.removeprefix("CAP_").lower() for word in capabilities]

    def command(self):
        added = ",".join(["-all", *(f"+{word}" for word in self.capabilities)])
        return ["setpriv", f"--reuid={self.USER}", f"--regid={self.USER}", "--clear-groups",
                f"--inh-caps={added}", f"--ambient-caps={added}", f"--bounding-set={added}",
                "--no-new-privs", *super().command()]


def dropped_in(key):
    """A setting of the drop-in for workers of other users."""
    path = daemons.ROOT / "services" / "worker-users.conf"
    (line,) = [line for line in path.read_text().splitlines() if line.startswith(key + "=")]
    return line.split("=", 1)[1].split()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be several users")
def test_a_service_with_the_drop_in_has_workers_of_other_users():
    capabilities = dropped_in("AmbientCapabilities")
    assert dropped_in("CapabilityBoundingSet") == capabilities
    with Service(capabilities) as host:
        process = host.start_client("unix", ["/usr/bin/python3", ALLOCATOR],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout.readline() == "ready\n", host.log()
        (pid,) = host.workers()
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"61031"}
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
        # It is another user's: ending it takes the last of the three.
        os.kill(pid, signal.SIGSTOP)
        process.kill()
        process.wait()
        daemons.wait_until(lambda: not host.workers(), 20, "a worker that hangs is killed")
    # The control: without any of them the service cannot.
    with Service([]) as host:
        host.run("unix", [daemons.PROGRAMS / "driver_client", "launch"])
        daemons.wait_until(lambda: "cannot become user" in host.log(), 20, "it says why")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may become anybody")
def test_a_user_that_cannot_be_had_is_an_error():
    with Host(f'worker_users = [{os.getuid() + 1}, {os.getuid() + 1}];') as host:
        host.run("unix", [daemons.PROGRAMS / "driver_client", "launch"])
        daemons.wait_until(lambda: "cannot become user" in host.log(), 20, "it says why")


class Sharing(daemons.Cudad):
    """causeway-cudad with two tenants, and the driver that shares memory by name."""

    def __init__(self, users=("", "")):
        super().__init__(driver=OBJECTS, settings='socket_mode = "666";')
        self.folder.chmod(0o755)
        self.clients = []
        tenants = ", ".join(f'{{ name = "{name}"; socket = "{self.tenant_socket(name)}"; {user} }}'
                            for name, user in zip(("red", "blue"), users))
        self.config.write_text(self.config.read_text() + f"tenants = ( {tenants} );\n")

    def tenant_socket(self, name):
        return self.folder / f"{name}.sock"

    def shared(self):
        """What there is in this daemon's folder of /dev/shm, and of another's with that number."""
        # Unlike rglob(), walk() goes on where a folder vanishes under it.
        return sorted(pathlib.Path(path) for top in pathlib.Path("/dev/shm").glob(f"causeway-{self.pid}.*")
                      for path, _, names in os.walk(top) for path in (path, *(f"{path}/{n}" for n in names)))

    def client(self, tenant):
        """A client of that tenant, waiting in the driver; what the driver could do, by step."""
        before = self.log().count("object end")
        environment = {"LD_LIBRARY_PATH": str(daemons.CLIENT.parent),
                       "CAUSEWAY_CUDA_SERVER": f"unix:{self.tenant_socket(tenant)}"}
        self.clients.append(subprocess.Popen([daemons.PROGRAMS / "driver_client", "launch"],
                                             env=daemons.client_environment(environment),
                                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                             stderr=subprocess.DEVNULL))
        daemons.wait_until(lambda: self.log().count("object end") > before, 20, "it has tried all")
        text = self.log().split("object end")[before]
        return {words[1].rstrip(":"): int(words[2]) for line in text.splitlines()
                if (words := line.split()) and words[0] == "object"}

    def clients_end(self):
        for client in self.clients:
            client.kill()
            client.wait()
        self.clients.clear()

    def kill(self):
        self.clients_end()
        super().kill()


REFUSED_NAMES = {"slash": errno.EINVAL, "parent": errno.EINVAL, "unlink-slash": errno.EINVAL}
HOST = {"host": errno.EACCES, "folder": errno.EACCES}
MAKER = {"look": errno.ENOENT, "make": 0, "content": 0, "unlink": 0, "gone": errno.ENOENT}


def share_by_name(host):
    """The life of what two tenants share by name; the driver's steps of each kind of client."""
    assert len(host.shared()) == 1, "a folder of the daemon, nothing in it"
    assert host.client("red") == {**MAKER, **REFUSED_NAMES, **HOST}
    assert host.client("red") == {"look": 0, "content": 0, **REFUSED_NAMES, **HOST}
    assert host.client("blue") == {**MAKER, **REFUSED_NAMES, **HOST}
    names = [path.name for path in host.shared()]
    assert names.count("cuda.shm.0.1.2") == 2 and len(names) == 5, names
    assert not os.path.exists("/dev/shm/cuda.shm.0.1.2")
    host.clients[0].kill()  # the other one of red still has it
    host.clients[0].wait()
    daemons.wait_until(lambda: len(host.workers()) == 2, 20, "one worker is gone")
    assert host.client("red")["look"] == 0
    host.clients_end()
    daemons.wait_until(lambda: not host.workers(), 20, "all workers are gone")
    daemons.wait_until(lambda: len(host.shared()) == 1, 20, "what they shared is gone")


@pytest.mark.skipif(landlock() < 1, reason="without Landlock nothing keeps tenants apart")
def test_memory_by_name_is_shared_within_a_tenant():
    with Sharing() as host:
        share_by_name(host)
        host.client("red")
        host.stop()
        assert not host.shared()


@pytest.mark.skipif(landlock() < 1, reason="without Landlock nothing keeps tenants apart")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be several users")
def test_memory_by_name_with_users_of_their_own():
    with Sharing(("user = 61011;", "user = 61012;")) as host:
        share_by_name(host)


@pytest.mark.skipif(landlock() < 1, reason="a driver's steps are other ones without it")
def test_memory_by_name_of_a_daemon_that_was_killed():
    """Its guardian removes it; or, where that is gone as well, the next daemon."""
    with Sharing() as host:
        host.client("red")
        host.process.kill()
        host.process.wait()
        daemons.wait_until(lambda: not host.shared(), 20, "the guardian has tidied up")
    stale = pathlib.Path("/dev/shm/causeway-1.stale-test")
    (stale / "1").mkdir(parents=True)
    (stale / "1" / "cuda.shm.0.0.0").write_text("left behind")
    with Sharing() as host:
        assert not stale.exists()
        with Sharing() as other:
            assert len(host.shared()) == 1, "that of a daemon at work stays"
            assert len(other.shared()) == 1


def test_without_the_sandbox_names_are_the_hosts():
    """The control, and the way out where a driver wants more: nothing is put elsewhere."""
    host = Sharing()
    host.config.write_text(host.config.read_text().replace("driver =", "sandbox = false; driver ="))
    path = pathlib.Path("/dev/shm/cuda.shm.0.1.2")
    try:
        with host:
            assert not host.shared()
            found = host.client("red")
            assert (found["look"], found["make"], found["host"]) == (errno.ENOENT, 0, 0), found
            assert path.exists()
            assert host.client("blue")["look"] == 0
    finally:
        path.unlink(missing_ok=True)
        pathlib.Path("/dev/shm/causeway-folder").rmdir()

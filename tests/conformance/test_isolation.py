# SPDX-License-Identifier: Apache-2.0
"""What a worker can reach whose driver was taken over: nothing but the driver's own."""
import ctypes
import errno
import os
import subprocess

import pytest

import daemons

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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may become anybody")
def test_a_user_that_cannot_be_had_is_an_error():
    with Host(f'worker_users = [{os.getuid() + 1}, {os.getuid() + 1}];') as host:
        host.run("unix", [daemons.PROGRAMS / "driver_client", "launch"])
        daemons.wait_until(lambda: "cannot become user" in host.log(), 20, "it says why")

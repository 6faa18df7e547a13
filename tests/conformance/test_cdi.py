# SPDX-License-Identifier: Apache-2.0
"""Tenants' own sockets, and containers that get a tenant's share by a Container Device Interface file.

podman runs in a mount and process namespace of its own, with a cgroup v2 and a /run there, so that
nothing of this host's engine or its folders is touched; nothing of the host is mounted writable.
"""
import contextlib
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from daemons import BUILD, CLIENT, Cudad, PROGRAMS, run_program, wait_until

CAUSEWAY = BUILD / "cli" / "causeway"
NVML = BUILD / "cuda" / "client" / "nvml"
PROGRAM = PROGRAMS / "driver_vectoradd"
LEAVES_ROOM, TOO_SMALL = "1G", "4K"
# Debian's crun refuses the hybrid of both versions of cgroups that some hosts have.
MACHINE = r"""
set -e
mount --make-rprivate /
umount -R -l /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mkdir -p /run/cdi /run/machine
cat >/run/cdi/causeway.json
cp -r "$1" /run/machine/root
shift
exec podman --root /run/machine/podman --runroot /run/machine/runroot --storage-driver vfs \
	--cgroup-manager cgroupfs run --rm --network none --cgroups disabled "$@"
"""


@contextlib.contextmanager
def cudad_with(tenants):
    """A causeway-cudad whose configuration ends with that list; FOLDER in it is the daemon's."""
    cudad = Cudad()
    cudad.write = lambda text: cudad.config.write_text(
        plain + f"tenants = ( {text.replace('FOLDER', str(cudad.folder))} );\n")
    plain = cudad.config.read_text()
    cudad.write(tenants)
    with cudad:
        yield cudad


def client(cudad, path):
    """The test's program on this host, through a tenant's socket."""
    return run_program([PROGRAM], dict(cudad.environment("ring"), CAUSEWAY_CUDA_SERVER=f"ring:{path}"))


def causeway(*arguments):
    return subprocess.run([CAUSEWAY, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(name="libraries", scope="module")
def libraries_fixture(tmp_path_factory):
    """The client's libraries in one folder, as the package has them."""
    folder = tmp_path_factory.mktemp("libraries")
    for source in (CLIENT, next(BUILD.glob("cuda/client/**/libnvidia-ml.so.1"))):
        shutil.copy(source, folder / source.name)
    return folder


RED = f'{{ name = "red"; socket = "FOLDER/red/cuda.sock"; memory = "{LEAVES_ROOM}"; }}'
BLUE = f'{{ name = "blue"; socket = "FOLDER/blue/cuda.sock"; memory = "{TOO_SMALL}"; }}'


def test_a_tenants_socket_says_whose_programs_they_are():
    """Of the same user: one tenant's memory is enough for the program, the other's is not."""
    with cudad_with(f"{RED}, {BLUE}") as cudad:
        assert client(cudad, cudad.folder / "red/cuda.sock").returncode == 0
        refused = client(cudad, cudad.folder / "blue/cuda.sock")
        assert refused.returncode != 0 and "memory" in (refused.stdout + refused.stderr).lower()
        assert client(cudad, cudad.socket).returncode == 0  # a tenant of its own: no limit


def test_sockets_follow_the_configuration():
    with cudad_with(RED) as cudad:
        cudad.write(BLUE.replace(TOO_SMALL, LEAVES_ROOM))
        assert causeway("tenant", "reload", "--control", cudad.control).returncode == 0
        wait_until(lambda: not (cudad.folder / "red/cuda.sock").exists(), 10, "red's socket goes")
        assert client(cudad, cudad.folder / "blue/cuda.sock").returncode == 0
        assert client(cudad, cudad.folder / "red/cuda.sock").returncode != 0


def test_a_socket_that_cannot_be_made_changes_nothing():
    with cudad_with(RED) as cudad:
        cudad.write('{ name = "green"; socket = "FOLDER/green/cuda.sock"; }, '
                    '{ name = "blue"; socket = "/proc/self/no/cuda.sock"; }')
        refused = causeway("tenant", "reload", "--control", cudad.control)
        assert refused.returncode == 1 and "/proc/self/no/cuda.sock" in refused.stderr
        assert not (cudad.folder / "green/cuda.sock").exists()
        assert client(cudad, cudad.folder / "red/cuda.sock").returncode == 0


@pytest.mark.parametrize("tenants, sentence", [
    ('{ name = "red"; socket = "red.sock"; }', "socket is 'red.sock': expected a path"),
    ('{ name = "red"; socket = "/a"; }, { name = "blue"; socket = "/a"; }', "socket '/a' belongs to tenant 'red'"),
    ('{ name = "red"; }', "tenant 'red' has no socket of its own"),
    ('{ name = "r d"; socket = "/a/b"; }', "tenant 'r d' cannot be a device's name"),
    ("", "there is no tenant 'red'"),
])
def test_cdi_refuses_what_cannot_be_a_device(tmp_path, libraries, tenants, sentence):
    config = tmp_path / "causeway.conf"
    config.write_text(f"tenants = ( {tenants} );\n")
    name = "r d" if "r d" in tenants else "red"
    done = causeway("tenant", "cdi", name, "--config", config, "--library", libraries, "--output", tmp_path / "out.json")
    assert done.returncode == 1 and sentence in done.stderr
    assert not (tmp_path / "out.json").exists()


def test_cdi_says_which_library_is_missing(tmp_path):
    config = tmp_path / "causeway.conf"
    config.write_text('tenants = ( { name = "red"; socket = "/a/b"; } );\n')
    done = causeway("tenant", "cdi", "--config", config, "--library", tmp_path)
    assert done.returncode == 1 and f"{tmp_path}/libcuda.so.1" in done.stderr and not done.stdout


def test_cdi_file(tmp_path, libraries):
    config = tmp_path / "causeway.conf"
    config.write_text('tenants = ( { name = "red"; socket = "/run/causeway/tenants/red/cuda.sock"; }, '
                      '{ name = "none"; } );\n')
    done = causeway("tenant", "cdi", "--config", config, "--library", libraries, "--output", tmp_path / "out.json")
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out.json").read_text())
    assert (document["cdiVersion"], document["kind"]) == ("0.5.0", "causeway/tenant")
    (device,) = document["devices"]
    assert device["name"] == "red"
    (mount,) = device["containerEdits"]["mounts"]
    assert (mount["hostPath"], mount["containerPath"]) == ("/run/causeway/tenants/red", "/run/causeway")
    mounts = [mount, *document["containerEdits"]["mounts"]]
    assert all("ro" in one["options"] for one in mounts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["causeway.conf", "out.json"]


def container_root(folder):
    """A root with the test's program and what its loader needs."""
    listed = subprocess.run(["ldd", PROGRAM], capture_output=True, text=True, check=True).stdout
    for word in listed.split():
        if word.startswith("/") and "libcuda" not in word:
            target = folder / word.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(word, target)
    shutil.copy(PROGRAM, folder / "program")
    for name in ("proc", "sys", "dev", "run", "tmp", "etc"):
        (folder / name).mkdir(exist_ok=True)
    return folder


@pytest.fixture(name="podman")
def podman_fixture(tmp_path):
    """podman(cdi, arguments): run the program in a container; skips where that cannot be."""
    if os.geteuid() != 0 or not shutil.which("podman") or os.environ.get("CAUSEWAY_PRELOAD"):
        pytest.skip("needs root, podman, and programs without sanitizers")
    root = container_root(tmp_path / "root")

    def run(cdi, *arguments):
        return subprocess.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c",
                               MACHINE, "sh", root, *arguments, "--rootfs", "/run/machine/root", "/program"],
                              input=cdi, capture_output=True, text=True, timeout=120, check=False)

    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "true"], check=False).returncode:
        pytest.skip("no namespaces here")
    return run


def test_podman_gives_a_container_a_tenants_share(podman, libraries):
    """An unmodified program in containers: as root and as another user of red's, and out of memory as blue's."""
    with cudad_with(f"{RED}, {BLUE}") as cudad:
        pathlib.Path(cudad.folder).chmod(0o755)
        written = causeway("tenant", "cdi", "--config", cudad.config, "--library", libraries)
        assert written.returncode == 0, written.stderr
        first = podman(written.stdout, "--device", "causeway/tenant=red")
        if "cannot" in first.stderr and "clone" in first.stderr:
            pytest.skip("no containers here: " + first.stderr)
        assert first.returncode == 0, first.stderr + cudad.log()
        assert "PASSED" in first.stdout
        other = podman(written.stdout, "--user", "12345", "--device", "causeway/tenant=red")
        assert other.returncode == 0 and "PASSED" in other.stdout, other.stderr
        blue = podman(written.stdout, "--device", "causeway/tenant=blue")
        assert blue.returncode != 0 and "memory" in (blue.stdout + blue.stderr).lower()
        without = podman(written.stdout)
        assert without.returncode != 0  # the image has no libcuda.so.1 of its own
        rows = {table["name"]: table for table in cudad.status()["tables"]}["tenant"]
        assert {"red", "blue"} <= {row[0] for row in rows["rows"]}

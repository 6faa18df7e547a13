# SPDX-License-Identifier: Apache-2.0
"""causeway doctor on faked machines: each thing that is missing is found, with its mend."""
import subprocess

import pytest

import daemons

CAUSEWAY = daemons.BUILD / "cli" / "causeway"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
CONFIG = """cuda = { socket = "/run/causeway/cuda.sock"; driver = "libcuda.so.1";
	tcp = "127.0.0.1:7001"; };
switch = { vms = (); };
scif = { socket = "/run/causeway/scif.sock"; };
"""
TCP = "  sl  local_address rem_address   st\n   0: 0100007F:1B59 00000000:0000 0A 0:0\n"  # 7001


def put(root, path, text=b"", mode=0o666):
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(text if isinstance(text, bytes) else text.encode())
    target.chmod(mode)


def host(root):
    """A host with a GPU that lacks nothing."""
    put(root, "etc/causeway/causeway.conf", CONFIG)
    put(root, "etc/passwd", "root:x:0:0::/:/bin/sh\ncauseway:x:990:990::/:/bin/false\n")
    put(root, f"{LIBRARIES}/libcuda.so.1")
    put(root, "sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")
    put(root, "sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n")
    put(root, "proc/100/cmdline", b"/usr/bin/qemu-system-x86_64\0-object\0memory-backend-memfd,"
        b"id=m,size=1G,share=on\0-device\0vhost-user-vsock-pci,chardev=c\0")
    for path in ("dev/kvm", "dev/nvidiactl", "run/causeway/cuda.sock.control",
                 "run/causeway/switch.control", "run/causeway/scif.control"):
        put(root, path)


def guest(root):
    """A guest that lacks nothing."""
    put(root, "sys/bus/virtio/devices/virtio0/device", "0x0013\n")
    put(root, "sys/bus/virtio/devices/virtio1/device", "0x002d\n")
    put(root, f"{LIBRARIES}/causeway/libcuda.so.1")
    put(root, "dev/vsock")
    put(root, "dev/scif")
    put(root, "sys/devices/system/clocksource/clocksource0/current_clocksource", "kvm-clock\n")


def examine(root, *words):
    return subprocess.run([CAUSEWAY, "doctor", "--root", root, *words], capture_output=True,
                          text=True, check=False, timeout=20)


@pytest.mark.parametrize("machine", (host, guest))
def test_nothing_is_missing(tmp_path, machine):
    machine(tmp_path)
    result = examine(tmp_path)
    assert result.returncode == 0, result.stdout
    assert f"looking at a {machine.__name__}" in result.stdout
    assert "nothing is missing" in result.stdout


def remove(path):
    return lambda root: (root / path).unlink()


def write(path, text):
    return lambda root: put(root, path, text)


def mode(path, bits):
    return lambda root: (root / path).chmod(bits)


def dpkg(**versions):
    """What dpkg says is installed; a package that was removed beside it."""
    text = "Package: causeway-doc\nStatus: deinstall ok config-files\nVersion: 0.0.1\n\n"
    text += "".join(f"Package: {name.replace('_', '-')}\nStatus: install ok installed\nVersion: {version}\n\n"
                    for name, version in versions.items())
    return write("var/lib/dpkg/status", text)


def old_daemon(root):
    (root / "proc/200").mkdir(parents=True)
    (root / "proc/200/exe").symlink_to("/usr/bin/causeway-cudad (deleted)")


def nvidia(kernel, library):
    """A driver's kernel module and its library of these releases."""
    def change(root):
        put(root, "proc/driver/nvidia/version", f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {kernel}  Tue\n")
        (root / LIBRARIES / "libcuda.so.1").unlink()
        put(root, f"{LIBRARIES}/libcuda.so.{library}")
        (root / LIBRARIES / "libcuda.so.1").symlink_to(f"libcuda.so.{library}")
    return change


def modules(loaded, built_for):
    """causeway-dkms 0.2.0, built for one kernel, another or this one running, with a module loaded."""
    def change(root):
        put(root, "usr/src/causeway-0.2.0/dkms.conf")
        put(root, "proc/sys/kernel/osrelease", "6.1.0-2-amd64\n")
        put(root, "sys/module/vphi/version", loaded + "\n")
        for module in ("vphi", "vsock_argo"):
            put(root, f"lib/modules/{built_for}/updates/dkms/{module}.ko.xz")
    return change


def port_taken(root):
    (root / "run/causeway/cuda.sock.control").unlink()
    put(root, "proc/net/tcp", TCP)


def other_users(text):
    """A tenant whose workers run as another user, and such a drop-in of the service."""
    def change(root):
        put(root, "etc/causeway/causeway.conf",
            CONFIG + 'tenants = ( { name = "blue"; }, { name = "red"; user = 61000; } );\n')
        put(root, "etc/systemd/system/causeway-cudad.service.d/own.conf", text)
    return change


def test_the_drop_in_lets_workers_have_users(tmp_path):
    host(tmp_path)
    other_users((daemons.ROOT / "services" / "worker-users.conf").read_text())(tmp_path)
    result = examine(tmp_path)
    assert result.returncode == 0 and "workers of other users" in result.stdout, result.stdout


FAULTS = (
    (host, other_users("[Service]\nNice=5\n"), "the right to run workers as other users",
     "install -D -m 644 /usr/share/causeway/worker-users.conf"),
    (host, remove("dev/kvm"), "/dev/kvm", "modprobe kvm_amd"),
    (host, write("etc/passwd", "root:x:0:0::/:/bin/sh\n"), "user causeway", "systemd-sysusers"),
    (host, write("etc/causeway/causeway.conf", "cuda = {"), "causeway.conf:1: syntax error",
     "--force-confmiss"),
    (host, remove(f"{LIBRARIES}/libcuda.so.1"), "CUDA driver libcuda.so.1",
     "apt-get install libcuda1"),
    (host, remove("dev/nvidiactl"), "/dev/nvidiactl", "modprobe nvidia"),
    (host, mode("dev/nvidiactl", 0o660), "permission on /dev/nvidiactl", "chmod a+rw"),
    (host, remove("run/causeway/switch.control"), "switch.control: the daemon does not run",
     "systemctl start causeway-switch"),
    (host, remove("run/causeway/scif.control"), "scif.control", "systemctl start causeway-scifd"),
    (host, port_taken, "port 7001", "ss -ltnp sport = :7001"),
    (host, write("proc/100/cmdline", b"qemu-system-x86_64\0-device\0vhost-user-vsock-pci\0"),
     "shared memory of the QEMU in /proc/100", "share=on"),
    (host, write("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n"),
     "the kernel reads hpet", "echo tsc"),
    (guest, remove("sys/bus/virtio/devices/virtio0/device"), "virtio socket device",
     "causeway vm add"),
    (guest, remove("dev/vsock"), "/dev/vsock", "mend: modprobe vmw_vsock_virtio_transport"),
    (guest, mode("dev/vsock", 0o600), "permission on /dev/vsock", "chmod a+rw /dev/vsock"),
    (guest, remove("dev/scif"), "module vphi is not loaded",
     "apt-get install causeway-dkms && modprobe vphi"),
    (guest, remove(f"{LIBRARIES}/causeway/libcuda.so.1"), "CUDA client",
     "apt-get install causeway-guest"),
    (guest, write("usr/bin/causeway-cudad", ""), "host's daemons", "apt-get remove causeway"),
    (host, dpkg(causeway="0.2.0", causeway_common="0.2.0", causeway_guest="0.1.0"),
     "causeway-common is 0.2.0, causeway-guest 0.1.0", "--only-upgrade"),
    (host, old_daemon, "causeway-cudad (deleted) runs an older version", "systemctl restart causeway-cudad"),
    (host, nvidia("580.159.03", "570.86"), "the kernel has 580.159.03, libcuda.so.1 is 570.86", "modprobe nvidia"),
    (host, write("usr/bin/causeway-cuda-worker", "another"), "causeway-cuda-worker is of another build",
     "--reinstall causeway "),
    (guest, write(f"{LIBRARIES}/causeway/libcuda.so.1", "another"), "libcuda.so.1 is of another build",
     "--reinstall causeway-guest"),
    (guest, modules("0.1.0", "6.1.0-2-amd64"), "version 0.1.0 of another package is loaded", "modprobe -r vphi"),
)


def test_versions_that_fit_are_said(tmp_path):
    host(tmp_path)
    dpkg(causeway="0.2.0", causeway_common="0.2.0")(tmp_path)
    nvidia("580.159.03", "580.159.03")(tmp_path)
    put(tmp_path, "usr/bin/causeway-cuda-worker", (daemons.BUILD / "cuda/server/causeway-cuda-worker").read_bytes())
    result = examine(tmp_path)
    assert result.returncode == 0, result.stdout
    for words in ("packages of version 0.2.0", "NVIDIA driver 580.159.03", "causeway-cuda-worker speaks"):
        assert words in result.stdout


def test_modules_are_built_for_this_kernel(tmp_path):
    guest(tmp_path)
    modules("0.2.0", "6.1.0-1-amd64")(tmp_path)
    result = examine(tmp_path)
    assert result.stdout.count("for this kernel, 6.1.0-2-amd64") == 2  # both modules of the package
    assert "apt-get install linux-headers-6.1.0-2-amd64 && dkms autoinstall -k 6.1.0-2-amd64" in result.stdout
    (tmp_path / "proc/sys/kernel/osrelease").write_text("6.1.0-1-amd64\n")
    assert examine(tmp_path).returncode == 0


@pytest.mark.parametrize("machine, fault, sentence, mend", FAULTS)
def test_one_thing_is_missing(tmp_path, machine, fault, sentence, mend):
    machine(tmp_path)
    fault(tmp_path)
    result = examine(tmp_path, f"--{machine.__name__}")
    assert result.returncode == 1, result.stdout
    lines = [line for line in result.stdout.splitlines() if line.startswith("missing")]
    expected = 2 if fault is port_taken else 1  # the daemon that is down beside its port
    assert len(lines) == expected, result.stdout
    assert any(sentence in line for line in lines), result.stdout
    assert mend in result.stdout


def test_without_a_gpu_the_software_gpu_is_named(tmp_path):
    host(tmp_path)
    (tmp_path / LIBRARIES / "libcuda.so.1").unlink()
    (tmp_path / "sys/bus/pci/devices/0000:01:00.0/vendor").write_text("0x8086\n")
    result = examine(tmp_path)
    assert result.returncode == 1 and "/causeway/softgpu/libcuda.so.1" in result.stdout


def test_installed_module_is_loaded_alone(tmp_path):
    guest(tmp_path)
    (tmp_path / "dev/scif").unlink()
    put(tmp_path, "lib/modules/6.1.0-1-amd64/updates/dkms/vphi.ko.xz")
    result = examine(tmp_path)
    assert "mend: modprobe vphi\n" in result.stdout and "causeway-dkms" not in result.stdout


def test_xen_guest_wants_argo(tmp_path):
    guest(tmp_path)
    put(tmp_path, "sys/hypervisor/type", "xen\n")
    (tmp_path / "dev/vsock").unlink()
    result = examine(tmp_path)
    assert "modprobe vsock_argo" in result.stdout and result.returncode == 1


def test_root_that_is_no_folder(tmp_path):
    result = examine(tmp_path / "none")
    assert result.returncode == 2 and "expected a folder" in result.stderr


def test_completion_knows_commands_and_options():
    """The completion script asks the command itself."""
    script = f"""set -e
PATH={CAUSEWAY.parent}:$PATH
. {daemons.ROOT}/scripts/completion.bash
COMP_WORDS=(causeway do) COMP_CWORD=1; _causeway; echo "${{COMPREPLY[@]}}"
COMP_WORDS=(causeway doctor --g) COMP_CWORD=2; _causeway; echo "${{COMPREPLY[@]}}"
COMP_WORDS=(causeway vm c) COMP_CWORD=2; _causeway; echo "${{COMPREPLY[@]}}"
"""
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["doctor", "--guest", "capture"]

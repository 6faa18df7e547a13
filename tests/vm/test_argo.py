# SPDX-License-Identifier: Apache-2.0
"""AF_VSOCK over Argo: all kinds of sockets between two guests, and between dom0 and a guest.

CAUSEWAY_SOAK_SECONDS=600 makes the mixed traffic as long as it is meant to be run now and then.
CAUSEWAY_XEN_OPTIONS has options for all domains' kernels, such as slub_debug=FZPU: every byte of
kernel memory that is written outside of its object, or after it was freed, is a BUG in their logs.
CAUSEWAY_XEN_KERNEL=6.12 takes the newer of Debian's kernels for all domains.
"""
import itertools
import os
import re
import time

import daemons
import kernel_module
import pytest
import xen_host
from xen_host import Server, cid, memory, wait_memory

from testbed import cache
from testbed.guest import Guest
from testbed.xen import XenHost

SOAK_SECONDS = int(os.environ.get("CAUSEWAY_SOAK_SECONDS") or 20)
_ports = itertools.count(5000, 10)


@pytest.fixture(scope="module")
def host(xen):
    return xen


def run(place, *words, timeout=90):
    """vsock_types TEST ... in a domain; its output. Fails unless it ends with 0."""
    done = place.run(["vsock_types", *map(str, words)], timeout=timeout)
    assert done.status == 0, (words, done)
    return done.stdout.decode()


@pytest.fixture(params=["guest to guest", "guest to dom0", "dom0 to guest"])
def pair(host, request):
    """A client's domain, and a server in another one."""
    client, server = {"guest to guest": (host.guests[0], host.guests[1]),
                      "guest to dom0": (host.guests[0], host),
                      "dom0 to guest": (host, host.guests[1])}[request.param]
    with Server(server, next(_ports)) as made:
        yield client, made


@pytest.mark.parametrize("test", ["messages", "datagrams 100", "reading", "windows", "options",
                                  "pieces"])
def test_sockets(pair, test):
    client, server = pair
    name, *numbers = test.split()
    run(client, name, cid(server.place), server.port, *numbers)


@pytest.mark.parametrize("action, other, number", [
    ("send", "slurp", 3000001), ("tail", "echo", 200000), ("verify", "echo", 3000001),
    ("dribble", "slurp", 2000)])
def test_streams(pair, action, other, number):
    """The program that tests the switch's streams too, half-closes among them."""
    client, server = pair
    port = next(_ports)
    listener = server.place.start(["vsock_peer", "listen", f"vsock:-1:{port}", other, str(number)])
    listener.expect(rb"listening")
    address = f"vsock:{cid(server.place)}:{port}"
    done = client.run(["vsock_peer", "connect", address, action, str(number)], timeout=90)
    assert done.status == 0, done
    if other != "echo":
        assert listener.wait(30) == 0, listener.stdout
    else:
        listener.signal(9)
        listener.wait(30)


@pytest.mark.parametrize("who", [2, 3, 4, 77])
def test_nobody_there_is_an_answer_at_once(host, who):
    """A port without a listener, and a domain that does not exist."""
    place = host if who == 3 else host.guests[0]
    if who == 3:
        who = cid(host.guests[0])
    done = place.run(["vsock_peer", "connect", f"vsock:{who}:9", "refused"])
    assert done.status == 0, done
    assert float(re.search(rb"after ([0-9.]+) ms", done.stdout)[1]) < 1000


def test_a_thousand_connections_and_their_memory(host):
    client, place = host.guests
    with Server(place, next(_ports)) as server:
        command = client.start(["vsock_types", "many", str(cid(place)), str(server.port), "1000"])
        command.expect(rb"all answered", timeout=90)
        numbers, peers = memory(client)
        peer = peers[place.domid]
        assert peer["sockets"] == 1000 and peer["ring_bytes"] == 256 << 10
        assert numbers["socket_bytes"] <= 2048
        assert peer["window_bytes"] <= 256 << 20
        command.write(b"\n")
        assert command.wait(60) == 0
        wait_memory(place, lambda numbers, peers: peers[client.domid]["sockets"] == 0, 20,
                    "all connections gone")


def test_mixed_traffic(host):
    """200 connections of all kinds at once, every byte checked; see the module's docstring."""
    first, second = host.guests
    with Server(second, next(_ports)) as inner, Server(host, next(_ports)) as outer:
        commands = [
            first.start(["vsock_types", "mixed", str(cid(second)), str(inner.port), "100",
                         str(SOAK_SECONDS)]),
            second.start(["vsock_types", "mixed", "2", str(outer.port), "60", str(SOAK_SECONDS)]),
            host.start(["vsock_types", "mixed", str(cid(second)), str(inner.port), "40",
                        str(SOAK_SECONDS)])]
        for command in commands:
            assert command.wait(SOAK_SECONDS + 90) == 0, command.stdout
            assert int(re.search(rb"(\d+) bytes back", command.stdout)[1]) > 1 << 20
    for place in (first, second, host):
        wait_memory(place, lambda numbers, peers: numbers["sockets"] == 0, 20, "no socket left")


def test_unmodified_tcp_programs(host):
    """The wrapper carries them over Argo; TCP has no route to these addresses."""
    client, place = host.guests
    wrapped = {"LD_PRELOAD": "/root/libcauseway-wrap.so",
               "CAUSEWAY_WRAP_RULES": "map 10.88.0.0/16 host\nuse vsock any * *\n"}
    port = next(_ports)
    server = place.start(["sockets_load", "listen", f"tcp:0.0.0.0:{port}"], env=wrapped)
    server.expect(rb"listening")
    address = f"tcp:10.88.0.{cid(place)}:{port}"
    for load in (["ping", address, "2", "0.3"], ["stream", address, "65536", "0.5", "0"]):
        done = client.run(["sockets_load", *load], env=wrapped)
        assert done.status == 0, done
    assert client.run(["sockets_load", "ping", address, "2", "0.3"]).status != 0
    server.signal(15)
    server.wait(20)


def test_ss_and_vsockmon_see_it(host):
    client, place = host.guests
    client.run(["sh", "-c", "ip link add vsockmon0 type vsockmon && ip link set vsockmon0 up"],
               check=True)
    with Server(place, next(_ports)) as server:
        command = client.start(["vsock_types", "many", str(cid(place)), str(server.port), "2"])
        command.expect(rb"all answered", timeout=30)
        seen = client.run(["ss", "--vsock"], check=True).stdout.decode()
        assert len(re.findall(rf"ESTAB.*{cid(place)}:{server.port}", seen)) == 1, seen
        frames = int(client.run(["cat", "/sys/class/net/vsockmon0/statistics/rx_packets"]).stdout)
        assert frames >= 8  # request, response, message there and back, twice
        command.write(b"\n")
        assert command.wait(30) == 0
        run(client, "tap", cid(place), server.port, "vsockmon0")
    client.run(["ip", "link", "del", "vsockmon0"], check=True)


def test_rubbish_costs_its_writer_alone(host):
    """A guest that writes rubbish loses its connections; another's go on."""
    writer, victim = host.guests
    module = kernel_module.build("tests/vm/argo_rubbish", "argo_rubbish", xen_host.KERNEL)
    writer.send_file(module, "/root/argo_rubbish.ko")
    with Server(victim, next(_ports)) as server:
        good = host.start(["vsock_types", "mixed", str(cid(victim)), str(server.port), "20", "8"])
        bad = writer.start(["vsock_types", "hold", str(cid(victim)), str(server.port), "20"])
        bad.expect(rb"held")
        for port in ("0x43570002", "0x43570001"):
            writer.run(["insmod", "argo_rubbish.ko", f"domain={victim.domid}", f"port={port}",
                        "count=200"])
        assert bad.wait(30) == 0, bad.stdout
        assert b"20: Connection reset by peer" in bad.stdout
        assert good.wait(60) == 0, good.stdout
        # And its writer may come again.
        run(writer, "mixed", cid(victim), server.port, 10, 1)


def test_rmmod_under_load(host):
    """In use it stays; afterwards it goes, the other side knows at once, and it comes back."""
    client, place = host.guests
    with Server(place, next(_ports)) as server:
        load = client.start(["vsock_types", "mixed", str(cid(place)), str(server.port), "30", "4"])
        for _ in range(10):
            assert place.run(["rmmod", "vsock_argo"]).status != 0
        assert load.wait(60) == 0, load.stdout
    wait_memory(place, lambda numbers, peers: numbers["sockets"] == 0, 20, "no socket left")
    epoch_before = memory(client)[1][place.domid]
    assert epoch_before["state"] == "up"
    place.run(["rmmod", "vsock_argo"], check=True)
    wait_memory(client, lambda numbers, peers: place.domid not in peers, 5, "the peer forgotten")
    done = client.run(["vsock_peer", "connect", f"vsock:{cid(place)}:9", "refused"])
    assert done.status == 0, done
    place.run(["insmod", "/lib/modules/vsock_argo.ko"], check=True)
    with Server(place, next(_ports)) as server:
        run(client, "mixed", cid(place), server.port, 10, 1)


@pytest.mark.parametrize("side", ["server", "client"])
def test_a_guest_is_destroyed(host, side):
    """Whoever was connected with it knows at once."""
    victim = host.create_guest()
    number = victim.domid
    other = host.guests[0]
    server_place, client = (victim, other) if side == "server" else (other, victim)
    with Server(server_place, next(_ports)) as server:
        command = client.start(["vsock_types", "hold", str(cid(server_place)), str(server.port), "20"])
        command.expect(rb"held")
        wall = None
        if side == "server":
            wall = client.start(["vsock_types", "wall", str(cid(victim)), str(server.port)])
            wall.expect(rb"sending")
        begun = time.monotonic()
        victim.destroy()
        gone = time.monotonic()
        if side == "server":
            assert command.wait(30) == 0, command.stdout
            noticed = time.monotonic()
            print(f"xl destroy took {gone - begun:.3f} s, noticed {noticed - begun:.3f} s after its begin")
            assert noticed - gone < 1  # the module looks 50 times a second
            assert b"20: Connection reset by peer" in command.stdout
            assert wall.wait(30) == 0 and b"send: " in wall.stdout, wall.stdout
        wait_memory(other, lambda numbers, peers: number not in peers, 10, "its peer forgotten")
        assert time.monotonic() - gone < 10


def test_a_guest_is_saved_and_restored(host):
    """It goes on under another CID; its connections are reset on both sides, new ones work."""
    guest, other = host.guests
    before = cid(guest)
    with Server(other, next(_ports)) as server, Server(guest, next(_ports)) as inner:
        outgoing = guest.start(["vsock_types", "hold", str(cid(other)), str(server.port), "10"])
        incoming = other.start(["vsock_types", "hold", str(before), str(inner.port), "10"])
        outgoing.expect(rb"held")
        incoming.expect(rb"held")
        guest.save("/tmp/saved")
        guest.restore("/tmp/saved")
        host.run(["rm", "/tmp/saved"])
        for command in (outgoing, incoming):
            assert command.wait(60) == 0, command.stdout
            assert b"10: Connection reset by peer" in command.stdout
        assert cid(guest) != before
        run(guest, "mixed", cid(other), server.port, 5, 1)
        run(other, "mixed", cid(guest), inner.port, 5, 1)


def test_where_there_is_no_xen_one_line_says_so():
    module = kernel_module.build("vsock/argo", "vsock_argo")
    with Guest("qemu", files=[module], modules=["vsock"], quiet=True) as guest:
        assert guest.run(["insmod", "vsock_argo.ko"]).status != 0
        lines = [line for line in guest.run(["dmesg"]).stdout.decode().splitlines()
                 if "vsock_argo: this" in line]
        # busybox asks the kernel twice
        assert {line.partition("] ")[2] for line in lines} == {
            "vsock_argo: this is no domain of a Xen host"}


def test_where_xen_has_no_argo_one_line_says_so():
    """The same hypervisor, started without."""
    module = kernel_module.build("vsock/argo", "vsock_argo")
    with XenHost(files=[module], modules=["vsock"], hypervisor_options="argo=0", room_for=0,
                 quiet=True) as plain:
        assert plain.run(["insmod", "vsock_argo.ko"]).status != 0
        lines = [line for line in plain.run(["dmesg"]).stdout.decode().splitlines()
                 if "vsock_argo: this" in line]
        assert {line.partition("] ")[2] for line in lines} == {
            "vsock_argo: this hypervisor has no Argo (error 95): Xen has to be built with "
            "CONFIG_ARGO and started with argo=1,mac-permissive=1"}


@pytest.mark.parametrize("kernel", cache.KERNELS)
def test_dkms(host, kernel):
    """`make dkms` builds and installs it; on the kernel that runs here, modprobe then loads it."""
    if reason := kernel_module.dkms_missing():
        pytest.skip(reason)
    release, folder = kernel_module.dkms_install("vsock/argo", kernel)
    built, = (folder / "updates/dkms").glob("vsock_argo.ko*")
    if kernel != xen_host.KERNEL:
        return
    where = f"/lib/modules/{release}"
    host.run(["mkdir", "-p", f"{where}/updates/dkms"], check=True)
    host.send_file(built, f"{where}/updates/dkms/{built.name}")
    host.send_file(folder / "modules.dep", f"{where}/modules.dep")
    host.run(["rmmod", "vsock_argo"], check=True)
    host.run(["modprobe", "vsock_argo"], check=True)
    with Server(host, next(_ports)) as server:
        run(host.guests[0], "mixed", 2, server.port, 5, 1)


@pytest.mark.parametrize("kernel", cache.KERNELS)
def test_builds_without_a_warning(kernel):
    kernel_module.build("vsock/argo", "vsock_argo", kernel)


# All but the one whose copies take minutes on a translated processor.
NAMES = [name for name in daemons.program_names() if name != "driver_copies"]


@pytest.fixture(scope="module")
def cudad(host):
    """cudad on softgpu in the second guest: the one that owns the GPU."""
    server = host.guests[1]
    command = server.start(["sh", "-c", "exec causeway-cudad --driver $1 --socket /run/cuda.sock "
                            "--vsock-port $2 2>&1", "sh", xen_host.SOFTGPU,
                            str(xen_host.CUDA_PORT)])
    command.expect(rb"vsock")
    yield server
    command.signal(15)
    command.wait(20)


@pytest.mark.parametrize("name", NAMES)
def test_cuda_program(host, cudad, name):
    """The unmodified test programs in a guest without a device, over AF_VSOCK on Argo."""
    native = daemons.run_natively([daemons.PROGRAMS / name])
    environment = {"CAUSEWAY_CUDA_SERVER": f"vsock:{cid(cudad)}:{xen_host.CUDA_PORT}"}
    result = host.guests[0].run([name], env=environment, timeout=120)
    assert result.status == 0, (result.stdout + result.stderr).decode(errors="replace")
    assert result.stdout.decode() == native.stdout


def test_no_kernel_has_complained(host):
    """Last of all: whatever the tests before did, no warning and no bug was found by a kernel."""
    for place in (host, *host.guests):
        log = place.run(["dmesg"], check=True).stdout.decode(errors="replace")
        # A machine that others keep busy locks up softly; that is none of our kernel's doing.
        found = re.search(r".*(WARNING: |BUG (?!.*lockup)|BUG: (?!.*lockup)|Oops).*", log)
        assert not found, found[0] + "\n" + log

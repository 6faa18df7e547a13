# SPDX-License-Identifier: Apache-2.0
"""Programs on a software coprocessor from guests: the same files and the same output as on the
host, and nothing left on the card when a client or its VM is gone."""
import os
import signal
import subprocess

import daemons
import mpi_site
import pytest
from scif_site import CARRIERS, NODES, boot, card_site

from testbed.errors import GuestTimeout
from testbed.guest import Guest
from testbed.kbuild import module
from testbed.machines import KINDS

LOADER = daemons.BUILD / "scif" / "card" / "micnativeloadex"
PROGRAMS = daemons.BUILD / "tests" / "card"
FILES = [LOADER, PROGRAMS / "card_hello", PROGRAMS / "card_linked",
         f"{PROGRAMS / 'libcard_extra.so'}:/root/libraries/libcard_extra.so"]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run causeway-card")


def assert_no_programs(card, nodes):
    """No program of these nodes is on the card any more."""
    daemons.wait_until(lambda: not [row for row in card.report()["program"]
                                    if int(row["node"]) in nodes], 30, "programs are gone")


@pytest.fixture(name="site", scope="module")
def start_site():
    with card_site(FILES, "512M") as site:
        yield site


def on_host(card, *words):
    program = card.load([PROGRAMS / words[0], *words[1:]], stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE)
    output, errors = program.communicate(timeout=60)
    return program.returncode, output, errors


def in_guest(guest, *words, timeout=120):
    result = guest.run(["micnativeloadex", *words], timeout=timeout)
    return result.status, result.stdout.decode(), result.stderr.decode()


@pytest.mark.parametrize("carrier", CARRIERS)
def test_the_same_as_on_the_host(carrier, site):
    card, guest = site(carrier)
    node = NODES[carrier]
    for words in (["card_hello"], ["card_hello", "-a", "forbidden"], ["card_hello", "-a", "crash"],
                  ["card_hello", "-a", "environment", "-e", "A=1"]):
        assert in_guest(guest, *words) == on_host(card, *words)
    status, output, _ = in_guest(guest, "card_hello", "-a", "where")
    assert status == 0 and f"user {60000 + node} " in output
    row = next(row for row in card.report()["vm"] if row["node"] == str(node))
    assert row["programs"] == 5


@pytest.mark.parametrize("carrier", CARRIERS)
def test_libraries_and_errors(carrier, site):
    _, guest = site(carrier)
    status, _, errors = in_guest(guest, "card_linked")
    assert status == 1 and "libcard_extra.so, which is neither" in errors
    result = guest.run(["sh", "-c", "SINK_LD_LIBRARY_PATH=/root/libraries micnativeloadex card_linked"])
    assert (result.status, result.stdout) == (0, b"extra says 42\n")
    guest.run(["sh", "-c", "echo '#!/bin/sh' >script"], check=True)
    assert in_guest(guest, "script")[0] == 1
    status, _, errors = in_guest(guest, "-d", "3", "card_hello")
    assert status == 1 and "there is no card 3" in errors


@pytest.mark.parametrize("carrier", CARRIERS)
def test_input(carrier, site):
    _, guest = site(carrier)
    result = guest.run(["sh", "-c", "seq 1 20000 >numbers; micnativeloadex card_hello -a echo "
                        "<numbers | cmp - numbers && echo same"], timeout=120)
    assert result.stdout == b"same\n", result.stderr


@pytest.mark.parametrize("carrier", CARRIERS)
def test_killed_clients(carrier, site):
    card, guest = site(carrier)
    node = NODES[carrier]
    for number in (signal.SIGINT, signal.SIGKILL):
        client = guest.start(["micnativeloadex", "card_hello", "-a", "sleep"])
        client.expect(rb"sleeping")
        client.signal(number)
        client.wait(30)
        assert_no_programs(card, [node])


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_vm_that_is_killed(carrier):
    with daemons.Scifd(vms=["a"]) as scifd, daemons.Card(scifd) as card:
        with boot(carrier, scifd, "a", FILES) as guest:
            client = guest.start(["micnativeloadex", "card_hello", "-a", "sleep"])
            client.expect(rb"sleeping")
            assert len(card.report()["program"]) == 1
            guest.kill()
        assert_no_programs(card, [17])
        assert on_host(card, "card_hello")[0] == 7


def test_several_vms_at_once(site):
    carriers = [name for name in ("qemu-sid", "uml-sid") if not KINDS[name]().unusable()]
    places = [site(carrier) for carrier in carriers]
    if not places:
        pytest.skip("no guests here")
    card = places[0][0]
    clients = []
    for _, guest in places:
        clients.append(guest.start(["micnativeloadex", "card_hello", "-a", "sleep"]))
        clients[-1].expect(rb"sleeping")
    users = {row["node"] for row in card.report()["program"]}
    assert users == {str(NODES[carrier]) for carrier in carriers}
    for client in clients:
        client.signal(signal.SIGINT)
        client.wait(30)
    assert_no_programs(card, [NODES[carrier] for carrier in carriers])


def test_a_card_that_is_a_vm():
    """The second form: causeway-card in a guest of its own, which is node 1."""
    for kind in ("qemu-sid", "uml-sid"):
        if reason := KINDS[kind]().unusable():
            pytest.skip(reason)
    daemon = daemons.BUILD / "scif" / "card" / "causeway-card"
    with daemons.Scifd(vms=["a"], card_vm=True) as scifd, \
            Guest("qemu-sid", files=[daemon, PROGRAMS / "card_hello"], memory_mib=512, cpus=2,
                  modules=[module("scif/guest", "qemu-sid")], quiet=True,
                  vhost_user=[f"45={scifd.card}"]) as card, boot("uml-sid", scifd, "a", FILES) as client:
        card.run(["mkdir", "-p", "/run/mic0"], check=True)
        system = card.start(["sh", "-c", "exec causeway-card -f /run/mic0 -m 128M 2>&1"])
        system.expect(rb"mic0 is online", 60)
        for words in (["hello"], ["forbidden"], ["environment"]):
            run = daemons.load(scifd, [PROGRAMS / "card_hello", "-a", *words],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            output, errors = run.communicate(timeout=60)
            assert in_guest(client, "card_hello", "-a", *words) == (run.returncode, output, errors)
            assert "allowed" not in output
            assert run.returncode == (7 if words == ["hello"] else 0)
        sleeper = client.start(["micnativeloadex", "card_hello", "-a", "sleep"])
        sleeper.expect(rb"sleeping")
        assert card.run(["sh", "-c", "ps | grep -c '[c]ard_hello'"]).stdout.strip() == b"2"
        client.kill()
        daemons.wait_until(lambda: card.run(["sh", "-c", "ps | grep -c '[c]ard_hello'"])
                           .stdout.strip() == b"0", 30, "the killed VM's programs are gone")
        system.signal(signal.SIGTERM)
        assert system.wait(30) == 0


def test_cgroups_hold_what_programs_may_have():
    """Where there is cgroup v2: cores, which change hands, weight and memory; nothing is left."""
    for kind in ("qemu-sid", "uml-sid"):
        if reason := KINDS[kind]().unusable():
            pytest.skip(reason)
    daemon = daemons.BUILD / "scif" / "card" / "causeway-card"
    root = "/sys/fs/cgroup/causeway-mic0"
    with daemons.Scifd(vms=["a"], card_vm=True) as scifd, \
            Guest("qemu-sid", files=[daemon], memory_mib=512, cpus=2,
                  modules=[module("scif/guest", "qemu-sid")], quiet=True,
                  vhost_user=[f"45={scifd.card}"]) as card, boot("uml-sid", scifd, "a", FILES) as client:
        card.run(["sh", "-c", "mkdir -p /run/mic0 /sys/fs/cgroup && "
                  "mount -t cgroup2 none /sys/fs/cgroup"], check=True)
        system = card.start(["sh", "-c", "exec causeway-card -f /run/mic0 -m 128M "
                             "--vm 17,weight=400 2>&1"])
        system.expect(rb"limits of programs: cgroup", 60)
        system.expect(rb"mic0 is online", 60)

        def told(name):
            found = card.run(["sh", "-c", f"cat {root}/[0-9]*/{name}"])
            return sorted(found.stdout.decode().split())

        spinner = client.start(["micnativeloadex", "card_hello", "-a", "spin 1000"])
        spinner.expect(rb"spinning", 60)
        assert told("cpuset.cpus") == ["0-1"]
        assert (told("cpu.weight"), told("pids.max")) == (["400"], ["4096"])
        assert told("memory.max") == [str(128 << 20)]
        other = daemons.load(scifd, [PROGRAMS / "card_hello", "-a", "spin 1000"],
                             stdout=subprocess.PIPE)
        assert other.stdout.readline() == "spinning\n"
        assert told("cpuset.cpus") in (["0", "1"], ["0-1", "0-1"])
        daemons.wait_until(lambda: told("cpuset.cpus") == ["0", "1"], 20, "a core for each VM")
        other.kill()
        other.communicate()
        daemons.wait_until(lambda: told("cpuset.cpus") == ["0-1"], 20, "one VM has all again")
        greedy = daemons.load(scifd, [PROGRAMS / "card_hello", "-a", "memory 200"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        greedy.communicate(timeout=60)
        assert greedy.returncode == 128 + signal.SIGKILL
        client.kill()
        daemons.wait_until(lambda: card.run(["sh", "-c", f"ls -d {root}/[0-9]*"]).status != 0, 30,
                           "no cgroup of a program is left")
        system.signal(signal.SIGTERM)
        assert system.wait(30) == 0, system.stdout


def mpi_job_ends(job):
    """Whether it does.

    MPICH 4.0 over UCX may wait for ever in MPI_Finalize on a busy machine, also between two ranks of
    one host over the loopback interface: one waits in its process manager's barrier and takes no more
    messages, the other for an answer to its flush. Later versions of MPICH have no such barrier. It is
    frequent with three ranks; UCX_TCP_PUT_ENABLE=n did not prevent it, nor a barrier before.
    """
    try:
        daemons.wait_until(lambda: job.status is not None, 5, "the job has ended")
    except AssertionError:
        print("the ranks hang in MPI_Finalize")
        return False
    assert job.status == 0
    return True


def mpi_stencil_is_right(job, ranks, seconds=120):
    """The job's result is that of one process, and its last rank was on the card."""
    alone = subprocess.run([PROGRAMS / "mpi_stencil", "64", "10"], stdout=subprocess.PIPE, text=True,
                           check=True).stdout
    job.expect(f"ranks {ranks} sum \\S+\\s".encode(), seconds)
    output = job.stdout.decode()
    assert f"rank {ranks - 1} on mic0" in output
    assert output.split("sum ")[1].split()[0] == alone.split("sum ")[1].split()[0]


@pytest.mark.parametrize("carrier", CARRIERS)
def test_mpi_ranks_in_a_vm_and_on_the_card(carrier):
    """Symmetric mode: one job of an unmodified MPI, whose result does not depend on the places."""
    if reason := mpi_site.unusable("mpi_stencil"):
        pytest.skip(reason)
    cpus = 2 if carrier == "qemu-sid" else 1  # a rank spins while it waits
    with daemons.Scifd(vms=["a"]) as scifd, daemons.Card(scifd, mpi_site.CARD) as card, \
            boot(carrier, scifd, "a", mpi_site.guest_files("mpi_stencil"), ["tun"], cpus=cpus,
                 memory_mib=768) as guest:
        net = mpi_site.serve(guest, 17)
        job = guest.start(["sh", "-c", mpi_site.job("mpi_stencil", "64 10",
                                                    [(17, "/root"), (1, "/home")])])
        mpi_stencil_is_right(job, 2)
        if mpi_job_ends(job):
            net.signal(signal.SIGKILL)
            net.wait(20)
        else:
            guest.kill()  # and the card's ranks end with their VM
        assert_no_programs(card, [17])


def two_vms_and_the_card(files):
    with daemons.Scifd(vms=["a,sees=mic0+b", "b,sees=mic0+a"]) as scifd, \
            daemons.Card(scifd, mpi_site.CARD) as card, \
            boot("uml-sid", scifd, "a", files, ["tun"], memory_mib=768) as first, \
            boot("uml-sid", scifd, "b", files, ["tun"], memory_mib=768) as second:
        mpi_site.serve(first, 17)
        mpi_site.serve(second, 18)
        job = first.start(["sh", "-c", mpi_site.job(
            "mpi_stencil", "64 10", [(17, "/root"), (18, "/root"), (1, "/home")])])
        mpi_stencil_is_right(job, 3, 60)
        if not mpi_job_ends(job):
            first.kill()
        assert_no_programs(card, [17])


def test_mpi_ranks_in_two_vms_and_on_the_card():
    """Symmetric mode across VMs: ranks of one job in two VMs that see each other, and on the card.

    Three ranks on two busy cores sometimes stand still before they have a result, which was seen
    once and not explained: such a job is started anew, twice at most.
    """
    reason = mpi_site.unusable("mpi_stencil") or KINDS["uml-sid"]().unusable()
    if reason:
        pytest.skip(str(reason))
    files = mpi_site.guest_files("mpi_stencil")
    for left in (2, 1, 0):
        try:
            two_vms_and_the_card(files)
            return
        except GuestTimeout as error:
            if not left:
                raise
            print(f"started anew: {error}")


def test_weights_and_core_sets_of_vms():
    """Two VMs on one core, by four to one; core-seconds are counted for each."""
    if reason := KINDS["uml-sid"]().unusable():
        pytest.skip(reason)
    core = str(min(os.sched_getaffinity(0)))
    with daemons.Scifd(vms=["a", "b"]) as scifd, \
            daemons.Card(scifd, ["--vm", f"17,weight=400,cores={core}",
                                 "--vm", f"18,weight=100,cores={core}"]) as card, \
            boot("uml-sid", scifd, "a", FILES) as heavy, \
            boot("uml-sid", scifd, "b", FILES) as light:
        clients = []
        for guest in (light, heavy):
            clients.append(guest.start(["micnativeloadex", "card_hello", "-a", "spin 1000"]))
            clients[-1].expect(rb"spinning")

        def used():
            rows = {row["node"]: row["core_seconds"] for row in card.report()["vm"]}
            return rows["17"], rows["18"]

        before = used()
        daemons.wait_until(lambda: used()[0] - before[0] > 2, 60, "two seconds of a core")
        after = used()
        assert after[0] - before[0] > 2.5 * (after[1] - before[1])
        for client in clients:
            client.signal(signal.SIGKILL)
            client.wait(30)
        assert_no_programs(card, [17, 18])

# SPDX-License-Identifier: Apache-2.0
"""MPI jobs over causeway-scifnet with ranks in guests, on the host and on a card (symmetric mode)."""
import os
import shutil

import daemons

MPI = [shutil.which(name) for name in ("mpiexec.mpich", "hydra_pmi_proxy")]
PROGRAMS = daemons.BUILD / "tests" / "card"
NET = daemons.BUILD / "scif" / "net" / "causeway-scifnet"
LAUNCHER = daemons.ROOT / "scif" / "net" / "causeway-card-rsh"
LOADER = daemons.BUILD / "scif" / "card" / "micnativeloadex"
RSH = daemons.ROOT / "tests" / "card" / "rsh-over-nc"
UCX = "UCX_TLS=tcp,self UCX_NET_DEVICES=scif0 UCX_WARN_UNUSED_ENV_VARS=n"
# Sent to the card: what its programs need beside what it has.
CARD = ["--network", "--memory", "1G"]
UP = "until ip addr show scif0 2>/dev/null | grep -q 'inet {here}/'; do sleep 0.1; done\n"
JOB = """
export CAUSEWAY_CARD_FILES={folder}/{program} CAUSEWAY_CARD_ENVIRONMENT="{ucx}" CAUSEWAY_RSH={rsh} {ucx}
cd /tmp  # which is on the card too
exec mpiexec.mpich -localhost {here} -iface scif0 -launcher ssh -launcher-exec {launcher} \
	-hosts {hosts} {ranks}
"""


def unusable(program):
    """Why no job of the program can be run here, or None."""
    return None if all(MPI) and (PROGRAMS / program).exists() else "MPICH is not there"


def address(node):
    return f"10.219.0.{node + 1}"


def guest_files(program):
    """What a guest needs for ranks, and for being the one that starts the job."""
    return [LOADER, NET, LAUNCHER, RSH, PROGRAMS / program,
            *(os.path.realpath(path) + f":/usr/bin/{os.path.basename(path)}" for path in MPI)]


def job(program, words, places, folder="/root", launcher="/root/causeway-card-rsh",
        rsh="/root/rsh-over-nc"):
    """The shell's words that start a job with a rank at each of the places, (node, folder of the
    program); they are for the first place."""
    ranks = " : ".join(f"-n 1 {where}/{program} {words}" for _, where in places)
    here = address(places[0][0])
    return UP.format(here=here) + JOB.format(
        program=program, folder=folder, launcher=launcher, rsh=rsh, ucx=UCX, here=here,
        hosts=",".join(address(node) for node, _ in places), ranks=ranks)


def serve(guest, node):
    """causeway-scifnet in a guest, and a remote shell for others; returns when both are there."""
    net = guest.start(["causeway-scifnet"])
    guest.run(["sh", "-c", UP.format(here=address(node))], timeout=60, check=True)
    guest.start(["nc", "-ll", "-p", "2200", "-e", "sh"])
    return net

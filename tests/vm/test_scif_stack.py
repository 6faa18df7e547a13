# SPDX-License-Identifier: Apache-2.0
"""A card behind a host's driver, without the hardware: the driver is vphi.ko in a QEMU guest.

	scif_conformance in a User-Mode Linux guest -> vphi.ko there -> scifd --card mic0,device=… in a
	QEMU guest -> vphi.ko there, as the host's driver -> scifd of this host -> scif_card
"""
import tempfile

import pytest

import daemons
from testbed import cache
from testbed.guest import Guest
from testbed.initramfs import Initramfs
from testbed.kbuild import module
from testbed.machines import KINDS

CONFORMANCE = daemons.SCIF_PROGRAMS / "scif_conformance_mpss3"
OUTER, INNER = "qemu-sid", "uml-sid"
# What is about a connection to a card; all else is between scifd and the inner guest, tested there.
CASES = ["card_echo", "card_ping_pong", "card_poll", "card_hangs_up", "card_refuses",
         "card_connects_without_waiting", "card_calls",
         "card_readfrom", "card_writeto", "card_vreadfrom", "card_vwriteto", "card_reads_ours",
         "card_writes_ours", "card_fence_signal", "card_mmap", "card_maps_ours"]
INIT = """#!/bin/sh
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
busybox insmod /vphi.ko && /root/{program} --card 1 {cases}
busybox poweroff -f
"""
SCIFD = ["scifd", "--card", "mic0,device=/dev/mic/scif", "--vm", "inner,socket=/root/inner.sock,hears=mic0",
         "--control", "/root/control.sock"]
# Its memory's file must be shared, so not in the guest's root.
INNER_VM = """
mkdir -p /dev/shm && mount -t tmpfs shm /dev/shm
until [ -S /root/control.sock ]; do sleep 0.1; done
TMPDIR=/dev/shm exec /root/linux mem=192M initrd=/root/inner.cpio seccomp=auto loglevel=4 panic=1 \
	virtio_uml.device=/root/inner.sock:45 con=null con0=null,fd:1 ssl=null rdinit=/init 2>&1
"""


def inner_root(file):
    """The inner guest's root: its first process runs the cases and ends the machine."""
    root = Initramfs()
    root.add_host(cache.part("busybox") / "busybox", "/usr/bin/busybox")
    root.add_link("/usr/bin/sh", "busybox")
    root.add_host(module("scif/guest", INNER), "/vphi.ko")
    root.add_host(CONFORMANCE, f"/root/{CONFORMANCE.name}")
    root.add_bytes("/init", INIT.format(program=CONFORMANCE.name, cases=" ".join(CASES)).encode(),
                   0o755)
    root.add_libraries()
    root.write(file)


def test_a_card_behind_a_driver():
    for kind in (OUTER, INNER):
        if reason := KINDS[kind]().unusable():
            pytest.skip(reason)
    scifd_program = daemons.BUILD / "scif" / "fabric" / "scifd"
    with tempfile.NamedTemporaryFile(suffix=".cpio") as archive, daemons.Scifd(["outer"]) as scifd:
        inner_root(archive)
        archive.flush()
        card = scifd.start_card()
        try:
            with Guest(OUTER, memory_mib=1200, cpus=2, modules=[module("scif/guest", OUTER)],
                       files=[scifd_program, f"{cache.part(INNER) / 'linux'}:/root/linux",
                              f"{archive.name}:/root/inner.cpio"],
                       vhost_user=[f"45={scifd.guest_socket('outer')}"]) as guest:
                guest.start(SCIFD)
                output = guest.run(["sh", "-c", INNER_VM], timeout=300).stdout.decode()
        finally:
            card.kill()
            card.wait()
    assert " ok, 0 failed, " in output, output[-3000:]
    for case in CASES:
        assert f"ok {case}\n" in output.replace("\r", "") or case == "card_mmap", output[-3000:]
    assert "skip card_mmap: this VM cannot be shown others' memory" in output

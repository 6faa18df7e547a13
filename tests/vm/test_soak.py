# SPDX-License-Identifier: Apache-2.0
"""The short form of the soak (tests/soak.py has the long one), and a capture of real traffic."""
import shutil
import struct
import subprocess

import conftest  # noqa: F401  (sets the path)
import daemons
import pytest
import soak

from testbed.guest import Guest
from testbed.machines import Qemu

PEER = daemons.BUILD / "tests" / "vm" / "vsock_peer"


def test_nothing_is_lost_between_two_kernels_and_nothing_stands_still():
    reason = Qemu().unusable()
    if reason:
        pytest.skip(reason)
    totals = soak.soak(36, epoch_seconds=9)
    assert totals.kills >= 2 and totals.rounds > 1000 and totals.bytes > 16 << 20
    assert totals.max_stall_ms < 1000
    assert totals.growth_kib() <= 256, totals.memory_kib


def records(data):
    """What an independent reader sees in a capture: (header, transport header, payload) each."""
    magic, major, minor, _, _, snap, link = struct.unpack_from("<IHHIIII", data)
    assert (magic, major, minor, link) == (0xa1b23c4d, 2, 4, 271)
    at = 24
    while at < len(data):
        _, nanoseconds, captured, original = struct.unpack_from("<IIII", data, at)
        assert nanoseconds < 10 ** 9 and captured <= original and captured <= snap
        record = data[at + 16:at + 16 + captured]
        assert len(record) == captured
        source, target, source_port, target_port, operation, transport, length = \
            struct.unpack_from("<QQIIHHH", record)
        assert (transport, length) == (2, 44)
        inner = struct.unpack_from("<QQIII", record, 32)
        assert inner[:4] == (source, target, source_port, target_port)
        yield (source, target, source_port, target_port, operation), record[76:]
        at += 16 + captured


def test_a_capture_holds_what_was_said_between_guests(tmp_path, kind):
    file = tmp_path / "capture.pcap"

    class Capturing(daemons.Switch):
        def command(self):
            return [*super().command(), "--capture", file]

    with Capturing(cids=(3, 4)) as switch:
        guests = [Guest(kind, files=[PEER], quiet=True, vhost_user_vsock=switch.guest_socket(cid))
                  for cid in (3, 4)]
        with guests[0], guests[1]:
            server = guests[1].start(["vsock_peer", "listen", "vsock:-1:5000", "slurp", "300001"])
            server.expect(rb"listening")
            sent = guests[0].run(["vsock_peer", "connect", "vsock:4:5000", "send", "300001"])
            assert sent.status == 0 and server.wait(60) == 0
    seen = list(records(file.read_bytes()))
    forward = [packet for packet in seen if packet[0][:2] == (3, 4) and packet[0][3] == 5000]
    assert forward[0][0][4] == 1  # connect
    assert sum(len(payload) for header, payload in forward if header[4] == 4) == 300001
    assert any(header[:2] == (4, 3) and header[4] == 1 for header, _ in seen)
    assert any(header[4] == 2 for header, _ in seen)
    if shutil.which("tshark"):
        shown = subprocess.run(["tshark", "-r", file, "-T", "fields", "-e", "vsock.src_cid", "-e",
                                "vsock.dst_port"], capture_output=True, text=True, check=True)
        assert len(shown.stdout.splitlines()) == len(seen)
        assert "3\t5000" in shown.stdout

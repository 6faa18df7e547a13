#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Mixed random traffic between two QEMU guests for a long time: nothing lost, nothing stands still.

    tests/soak.py --seconds 1800

Two guests with Debian's kernels 6.1 and 6.12, each with a server and a driver of
tests/vm/vsock_soak.c, so that half of the connections begin in either. The drivers work in epochs;
some end in order, some by SIGKILL in the middle of everything, and the next begins at once. Beside
them, in each epoch, tests/vm/vsock_peer.c sends messages (SOCK_SEQPACKET) both ways. At the end:
what was carried, the longest stall, and whether the switch's memory stayed flat. Any wrong byte,
unexpected end or refused connection stops it with a sentence. ./check runs a short form.
"""
import argparse
import json
import pathlib
import random
import re
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
sys.dont_write_bytecode = True

import daemons  # noqa: E402  (found through the path set above)
from testbed.guest import Guest  # noqa: E402

PROGRAM = daemons.BUILD / "tests" / "vm" / "vsock_soak"
PEER = PROGRAM.with_name("vsock_peer")
PORT = 5000
MESSAGES_PORT = 5001
MESSAGES = 150  # of an epoch, each way; up to 64 KiB
CIDS = (3, 4)
KILL = 9
TERMINATE = 15


class SoakError(Exception):
    """What must not happen has happened."""


def private_kib(pid):
    """Memory of the process that is its own, without the guests' memory that it maps."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1])


def descriptors(pid):
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


class Totals:
    def __init__(self):
        self.rounds = self.bytes = self.opened = self.cuts = self.kills = self.epochs = 0
        self.messages = 0
        self.max_stall_ms = self.max_gap_ms = 0.0
        self.memory_kib = []

    def add(self, line):
        for name in ("rounds", "bytes", "opened", "cuts"):
            setattr(self, name, getattr(self, name) + line[name])
        for name in ("max_stall_ms", "max_gap_ms"):
            setattr(self, name, max(getattr(self, name), line[name]))

    def growth_kib(self):
        """How much the memory grew after the first quarter of the time."""
        settled = self.memory_kib[len(self.memory_kib) // 4:]
        return settled[-1] - settled[0]


def drive(guest, cid, connections, seconds):
    return guest.start(["vsock_soak", "drive", str(cid), str(PORT), str(connections),
                        str(seconds), str(random.getrandbits(60))])


def finish(command, killed, totals, patience):
    """Wait for a driver; what it says goes into @totals."""
    status = command.wait(patience)
    output = command.stdout.decode(errors="replace").strip()
    if killed and status == 128 + KILL:
        totals.kills += 1
    elif status != 0:
        raise SoakError(f"driver ended with {status}: {output}")
    else:
        totals.add(json.loads(output.splitlines()[-1]))


def send_messages(guests):
    """Messages from each guest to the other, under way; the four commands."""
    def start(guest, role, *words):
        return guest.start(["vsock_peer", role, *words, str(MESSAGES)])

    listeners = [start(guest, "listen", f"seqpacket:-1:{MESSAGES_PORT}", "parcels")
                 for guest in guests]
    for listener in listeners:
        listener.expect(rb"listening")
    return listeners + [start(guest, "connect", f"seqpacket:{cid}:{MESSAGES_PORT}", "messages")
                        for guest, cid in zip(guests, reversed(CIDS))]


def epoch(guests, connections, seconds, totals):
    """Both drivers once; in two epochs of three, one or the other is killed in the middle."""
    running = [(drive(guest, peer, connections // 2, seconds), totals.epochs % 3 == index)
               for index, (guest, peer) in enumerate(zip(guests, reversed(CIDS)))]
    end = time.monotonic() + seconds
    peers = send_messages(guests)
    for command, killed in running:
        if killed:
            time.sleep(random.uniform(0.3, 0.9) * max(0, end - time.monotonic()))
            command.signal(KILL)
    for command, killed in running:
        finish(command, killed, totals, seconds + 120)
    for peer in peers:
        if peer.wait(120) != 0:
            raise SoakError(f"messages: {peer.stdout.decode(errors='replace')}")
    totals.messages += 2 * MESSAGES
    totals.epochs += 1


def soak(seconds, connections=200, epoch_seconds=15, kernels=("6.1", "6.12"), say=print):
    """The whole of it; a Totals. Raises SoakError."""
    totals = Totals()
    with daemons.Switch(cids=CIDS) as switch:
        # Its sockets are there before its last descriptors are.
        daemons.wait_until(lambda: "serving" in switch.log(), 20, "the switch serves")
        before = descriptors(switch.pid)
        guests = [Guest("qemu", kernel=kernel, files=[PROGRAM, PEER], quiet=True,
                        vhost_user_vsock=switch.guest_socket(cid))
                  for cid, kernel in zip(CIDS, kernels)]
        with guests[0], guests[1]:
            servers = [guest.start(["vsock_soak", "serve", str(PORT)]) for guest in guests]
            for server in servers:
                server.expect(rb"listening")
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 1:
                epoch(guests, connections, max(1, round(min(epoch_seconds, left))), totals)
                totals.memory_kib.append(private_kib(switch.pid))
                say(f"{totals.rounds} rounds, {totals.bytes >> 20} MiB, {totals.kills} kills, "
                    f"stall {totals.max_stall_ms:.0f} ms, switch {totals.memory_kib[-1]} KiB")
            for server in servers:
                server.signal(TERMINATE)
                if server.wait(60) != 0:
                    raise SoakError(f"server: {server.stdout.decode(errors='replace')}")
        if not switch.alive():
            raise SoakError(f"the switch has ended: {switch.log()}")
        daemons.wait_until(lambda: descriptors(switch.pid) <= before, 20,
                           "the switch has closed what it opened")
    return totals


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--stall-ms", type=float, default=1000, help="longest stall allowed")
    parser.add_argument("--growth-kib", type=int, default=256, help="growth of memory allowed")
    arguments = parser.parse_args()
    try:
        totals = soak(arguments.seconds, arguments.connections)
    except SoakError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    print(json.dumps({**vars(totals), "growth_kib": totals.growth_kib()}))
    if totals.max_stall_ms > arguments.stall_ms:
        print(f"soak: a connection stood still for {totals.max_stall_ms:.0f} ms", file=sys.stderr)
        return 1
    if totals.growth_kib() > arguments.growth_kib:
        print(f"soak: the switch grew by {totals.growth_kib()} KiB", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""causeway top on a terminal: what the screen shows, keys, sizes, and terminals that cannot."""
import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time

import pytest

import daemons
from tenants import BLUE, MIB, RED, Allocator, Host, busy, others_can_read, red_and_blue  # noqa: F401

pyte = pytest.importorskip("pyte", reason="needs python3-pyte")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be several users")

CAUSEWAY = daemons.BUILD / "cli" / "causeway"


class Terminal:
    """A program on a pseudo-terminal, and the screen that a person would see."""

    def __init__(self, words, columns=120, lines=30, kind="linux"):
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.ByteStream(self.screen)
        self.master, slave = os.openpty()
        self.size(columns, lines, slave)
        self.process = subprocess.Popen([str(word) for word in words], stdin=slave, stdout=slave,
                                        stderr=slave, start_new_session=True,
                                        env=dict(os.environ, TERM=kind, LC_ALL="C.UTF-8"))
        os.close(slave)
        self.raw = b""

    def size(self, columns, lines, fd=None):
        fcntl.ioctl(fd or self.master, termios.TIOCSWINSZ,
                    struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns, lines):
        self.screen.resize(lines, columns)
        self.size(columns, lines)
        self.process.send_signal(28)  # SIGWINCH: the terminal is not its controlling one here

    def read(self, seconds=0.05):
        while select.select([self.master], [], [], seconds)[0]:
            try:
                piece = os.read(self.master, 65536)
            except OSError:
                return False  # the program has ended
            if not piece:
                return False
            self.raw += piece
            self.stream.feed(piece)
        return True

    def lines(self):
        self.read()
        return [line.rstrip() for line in self.screen.display]

    def text(self):
        return "\n".join(self.lines())

    def wait(self, pattern, seconds=20):
        """Until the screen shows it; the match."""
        return daemons.wait_until(lambda: re.search(pattern, self.text(), re.M), seconds,
                                  f"{pattern} in\n" + self.text())

    def press(self, keys):
        os.write(self.master, keys.encode())

    def end(self):
        self.press("q")
        deadline = time.monotonic() + 10
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read()
        assert self.process.wait(1) == 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)

    def table(self, heading):
        """The rows below a heading, as {column: text}, in the order of the screen."""
        lines = self.lines()
        at = next(i for i, line in enumerate(lines) if re.match(heading + r": \d+", line))
        titles = [(match.group().rstrip("v^"), match.start(), match.end())
                  for match in re.finditer(r"\S+", lines[at + 1])]
        rows = []
        for line in lines[at + 2:]:
            if not line or line.startswith("q quit"):
                break
            cells = line.split()
            if len(cells) != len(titles):  # an identity has spaces: by place
                cells = [line[begin:].split("  ")[0].strip() if title in ("identity", "tenant", "client")
                         else None for title, begin, _ in titles]
            rows.append({title[0]: cell for title, cell in zip(titles, cells)})
        return rows


def top(host, *words, **options):
    return Terminal([CAUSEWAY, "top", "--socket", host.control, "--delay", "0.3", *words], **options)


def test_tenants_at_work_are_seen():
    """Two tenants of weights 3 and 1, busy: shares, memory, queue and wait; then they leave."""
    with Host(red_and_blue("64M", more="weight = 3;")) as host, top(host, columns=150) as screen:
        screen.wait(r"^tenants: 2$")
        holder = Allocator(host, RED)
        assert holder.alloc(32 * MIB)[0] == 0
        loads = [busy(host, RED, 6, depth=32), busy(host, BLUE, 6, depth=32)]

        def shared():
            rows = {row["tenant"]: row for row in screen.table("tenants")}
            return rows if {"red", "blue"} <= rows.keys() and all(
                float((rows[name]["share"] or "-").strip("-%") or 0) > low for name, low in
                (("red", 60), ("blue", 15))) else None
        rows = daemons.wait_until(shared, 20, "both have their shares")
        assert rows["red"]["weight"] == "3" and rows["red"]["clients"] == "2"
        assert re.match(r"3\d\.\dM/64\.0M", rows["red"]["memory"])
        assert float(rows["blue"]["wait"].rstrip("ms")) > 0
        assert abs(sum(float(row["share"].rstrip("%")) for row in rows.values()) - 100) < 0.3
        daemons.wait_until(lambda: any(row["queue"] != "0" for row in screen.table("devices")), 10,
                           "somebody waits")
        assert screen.table("devices")[0]["device"] == "0"
        screen.wait(r"^clients: 3$")
        assert re.search(rf"^\d+ +red +uid {RED} pid \d+", screen.text(), re.M), screen.text()
        for load in loads:
            load.communicate(timeout=40)
        holder.end()
        screen.wait(r"^clients: 0$")
        screen.end()


def test_keys_sort_choose_and_pause():
    with Host(red_and_blue()) as host, top(host, columns=150) as screen:
        clients = [Allocator(host, uid) for uid in (RED, BLUE)]
        assert clients[0].alloc(2 * MIB)[0] == 0 and clients[1].alloc(20 * MIB)[0] == 0
        screen.wait(r"^clients: 2$")
        screen.wait(r"sharev")
        screen.press("ss")
        screen.wait(r"memoryv")
        screen.wait(r"^(.*\n)*blue (.*\n)*red .*")
        order = [row["tenant"] for row in screen.table("tenants")]
        assert order == ["blue", "red"]
        screen.press("r")
        screen.wait(r"memory\^")
        assert [row["tenant"] for row in screen.table("tenants")] == ["red", "blue"]
        screen.press("c")
        screen.wait(r"\[x\] device")
        screen.press("\x1b[B" * 16)
        screen.wait(r"\[x\] in/s")
        screen.press(" ")
        screen.wait(r"\[ \] in/s")
        screen.press("c")
        screen.wait(r"^tenants: 2$")
        assert "in/s" not in screen.text() and "out/s" in screen.text()
        screen.press(" ")
        screen.wait("PAUSED")
        clients[0].end()
        time.sleep(1)
        assert re.search(r"^clients: 2$", screen.text(), re.M)
        screen.press(" ")
        screen.wait(r"^clients: 1$")
        screen.press("d")  # all daemons, as text
        screen.wait(r"^causeway-cudad \(process \d+\)")
        screen.press("d")
        screen.wait(r"^tenants: 2$")
        clients[1].end()
        screen.end()


def test_it_follows_the_size():
    with Host([f'{{ name = "t{i:02}"; cids = [{i + 3}]; }}' for i in range(30)]) as host, \
            top(host, lines=40) as screen:
        screen.wait(r"^tenants: 30$")
        assert "t29" in screen.text() and "q quit" in screen.lines()[39]
        screen.resize(40, 12)
        daemons.wait_until(lambda: "q quit" in screen.lines()[11] and "t29" not in screen.text(), 10,
                           "it is small")
        assert all(len(line) <= 40 for line in screen.lines())
        screen.press("\x1b[B" * 25)
        screen.wait("t25")
        screen.resize(130, 50)
        daemons.wait_until(lambda: "q quit" in screen.lines()[49], 10, "it is large")
        screen.end()


@pytest.mark.parametrize("kind", ("dumb", "unknown-terminal"))
def test_a_terminal_that_cannot_gets_lines(kind):
    with Host(red_and_blue()) as host, top(host, "--rounds", "2", kind=kind) as screen:
        while screen.read(1):
            pass
        assert screen.process.wait(10) == 0
        assert b"\x1b" not in screen.raw
        assert screen.raw.count(b"causeway-cudad (process") == 2


def test_plain_on_a_terminal():
    with Host(red_and_blue()) as host, top(host, "--plain", "--rounds", "1") as screen:
        while screen.read(1):
            pass
        assert b"\x1b" not in screen.raw and b"tenant: 2" in screen.raw


def test_other_daemons_are_shown_as_text():
    with daemons.Scifd() as scifd, Terminal([CAUSEWAY, "top", "--socket", scifd.control]) as screen:
        screen.wait(r"^scifd \(process \d+\)")
        screen.end()


def test_names_do_not_move_the_cursor():
    """A tenant's name is the administrator's, an identity perhaps not: no control characters."""
    with Host([f'{{ name = "evil\\x1b[2J"; users = [{RED}]; }}']) as host, top(host) as screen:
        screen.wait(r"^evil\?\[2J")
        screen.end()

# SPDX-License-Identifier: Apache-2.0
"""What tests of tenants have in common: a causeway-cudad with tenants, and clients of theirs."""
import pathlib
import subprocess
import time

import pytest

import daemons

ALLOCATOR = pathlib.Path(daemons.__file__).with_name("allocator.py")
LOAD = daemons.BUILD / "bench" / "share_load"
RED, BLUE, NOBODY = 61001, 61002, 61003
MIB = 1 << 20


class Host(daemons.Cudad):
    """causeway-cudad with tenants, whom clients of several users can reach."""

    def __init__(self, tenants, turns=True, more=""):
        super().__init__(settings=f'socket_mode = "666"; turns = {str(turns).lower()}; {more}')
        self.plain = self.config.read_text()
        self.client_config.write_text("")
        self.folder.chmod(0o755)
        self.write(tenants)

    def write(self, tenants):
        self.config.write_text(f"{self.plain}tenants = ( {', '.join(tenants)} );\n")

    def start_as(self, uid, words, link="ring"):
        return self.start_client(link, words, user=uid, group=uid, extra_groups=[],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)

    def table(self):
        (table,) = [t for t in self.status()["tables"] if t["name"] == "tenant"]
        names = [column["name"] for column in table["columns"]]
        return {row[0]: dict(zip(names, row)) for row in table["rows"]}

    def tenant(self, *words):
        return daemons.run_program([daemons.BUILD / "cli" / "causeway", "tenant", "--control",
                                    self.control, *words], {})


class Allocator:
    def __init__(self, host, uid, link="ring"):
        self.process = host.start_as(uid, ["/usr/bin/python3", ALLOCATOR], link)
        assert self.process.stdout.readline() == "ready\n", self.process.stderr.read()

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return [int(word) for word in self.process.stdout.readline().split()]

    def alloc(self, count):
        return self.ask("alloc", "plain", count)[:2]

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(10) == 0


def reachable():
    """Whether other users can read what was built."""
    return all(folder.stat().st_mode & 1 for folder in [daemons.BUILD, *daemons.BUILD.parents])


@pytest.fixture(autouse=True)
def others_can_read():
    if not reachable():
        pytest.skip("other users cannot read the build folder")


def red_and_blue(memory="0", more=""):
    return [f'{{ name = "red"; users = [{RED}]; memory = "{memory}"; {more} }}',
            f'{{ name = "blue"; users = [{BLUE}]; }}']


def busy(host, uid, seconds, iterations=70000, depth=16):
    begin = time.monotonic() + 0.5
    return host.start_as(uid, [LOAD, "run", iterations, depth, 0, begin, begin + seconds])

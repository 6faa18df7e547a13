# SPDX-License-Identifier: Apache-2.0
"""Unmodified programs over AF_VSOCK: the wrapper's behaviour, then real programs.

The checks are tests/conformance/wrap: each runs without the wrapper, where the kernel's TCP says
what is right, and with it over the kernel's vsock loopback.
"""
import contextlib
import subprocess

import pytest
from conftest import counters_begin, counters_fetch
from daemons import BUILD

from testbed.guest import Guest

CHECKS = BUILD / "tests" / "conformance" / "wrap" / "wrap_sockets"
CAUSEWAY = BUILD / "cli" / "causeway"
LIBRARY = BUILD / "vsock" / "wrap" / "libcauseway-wrap.so"
NAMES = subprocess.run([CHECKS, "--list"], stdout=subprocess.PIPE, text=True,
                       check=True).stdout.split()

LOOPBACK_RULES = """
map 10.77.0.1 cid 1
map 10.78.0.1 cid 1
map [fd00:77::1] cid 1
use tcp  server * *:7001       # a server that only TCP has
use both any    wrap_sockets *
"""
# With rules for vsock alone there is no TCP to fall back to, and connect() does not wait.
ALONE_RULES = LOOPBACK_RULES.replace("use both", "use vsock")
ALONE = """blocking_connect nonblocking_connect refused refused_later connects_again
    epoll_before_connect options_follow addressed_sends fast_open names_are_cut mapped_addresses
    local_port_is_kept udp_is_untouched epoll_before_listen port_zero own_address v6_only_listener
    duplicates_before_connect duplicates_of_listener descriptors_above_1023 inherited_by_exec
    passed_through_socket tcp_options socket_options time_limits async_signal""".split()
IPV6 = {"qemu": [], "uml": ["ipv6"]}  # built in, or a module
SETUP = """set -e
ip addr add 10.77.0.1/32 dev lo
ip -6 addr add fd00:77::1/128 dev lo
"""


@pytest.fixture(scope="module")
def guests(tmp_path_factory):
    """guests(kind): one with the checks, the wrapper and vsock loopback."""
    folder = tmp_path_factory.mktemp("wrap")
    rules, alone = folder / "rules", folder / "alone"
    rules.write_text(LOOPBACK_RULES)
    alone.write_text(ALONE_RULES)
    with contextlib.ExitStack() as stack:
        running = {}

        def get(kind):
            if kind not in running:
                guest = stack.enter_context(Guest(
                    kind, files=[CHECKS, CAUSEWAY, LIBRARY, rules, alone], modules=["vsock_loopback", *IPV6[kind]],
                    quiet=True))
                guest.run(["sh", "-c", SETUP], check=True)
                counters_begin(guest)
                running[kind] = guest
            return running[kind]

        yield get
        for kind, guest in running.items():
            counters_fetch(guest, kind)


@pytest.mark.parametrize("name", NAMES)
def test_tcp_alone(kind, guests, name):
    result = guests(kind).run(["wrap_sockets", "tcp", name])
    assert result.status == 0, result.stdout.decode()


@pytest.mark.parametrize("name", NAMES)
def test_wrapped(kind, guests, name):
    result = guests(kind).run(["causeway", "run", "--explain", "--map", "rules", "wrap_sockets",
                               "vsock", name])
    assert result.status == 0, (result.stdout + result.stderr).decode()


@pytest.mark.parametrize("name", ALONE)
def test_wrapped_alone(kind, guests, name):
    result = guests(kind).run(["causeway", "run", "--explain", "--map", "alone", "wrap_sockets",
                               "vsock", name])
    assert result.status == 0, (result.stdout + result.stderr).decode()

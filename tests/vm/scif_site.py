# SPDX-License-Identifier: Apache-2.0
"""Guests with vphi.ko, and a card that they share: what the tests of SCIF in guests start from."""
import contextlib

import daemons
import pytest

from testbed.guest import Guest
from testbed.kbuild import module
from testbed.machines import KINDS

CARRIERS = [pytest.param(name, marks=pytest.mark.skipif(
    bool(KINDS[name]().unusable()), reason=str(KINDS[name]().unusable())))
    for name in ("qemu-sid", "uml-sid")]
NODES = {"qemu-sid": 17, "uml-sid": 18}  # of card_site's guests, as the card numbers VMs


def boot(carrier, scifd, vm, files, modules=(), kernel=None, **options):
    """A guest (testbed's Guest) that is the VM @vm of @scifd, with the driver."""
    options.setdefault("memory_mib", 512)
    options.setdefault("cpus", 1)
    return Guest(carrier, files=files, modules=[module("scif/guest", carrier, kernel), *modules],
                 quiet=True, vhost_user=[f"45={scifd.guest_socket(vm)}"], kernel=kernel, **options)


@contextlib.contextmanager
def card_site(files, memory):
    """site(carrier): causeway-card with @memory, and a guest of that kind; all share the card."""
    with contextlib.ExitStack() as stack:
        scifd = stack.enter_context(daemons.Scifd(vms=list(NODES)))
        card = stack.enter_context(daemons.Card(scifd, ["--memory", memory]))
        guests = {}

        def get(carrier):
            if carrier not in guests:
                guests[carrier] = stack.enter_context(boot(carrier, scifd, carrier, files))
            return card, guests[carrier]

        yield get

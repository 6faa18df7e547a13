# SPDX-License-Identifier: Apache-2.0
"""The command line of testbed/guest.

Exit status of `run`: the command's own; 124 when the time limit passed, 125 when the testbed or
the guest failed, 130 and 143 when it was ended by Ctrl-C or SIGTERM.
"""

import argparse
import os
import pathlib
import signal
import sys
import threading
import time

from testbed import cache
from testbed.errors import GuestError, GuestTimeout
from testbed.guest import Guest, VhostUser
from testbed.machines import KINDS, MACHINES, XEN, Xen
from testbed.xen import XenHost

STATUS_TIMEOUT = 124
STATUS_FAILED = 125
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal that ends us; BaseException, so that nothing takes it for an error."""


def _vhost_user(text):
    try:
        return VhostUser.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(error)


def _parse():
    parser = argparse.ArgumentParser(prog="testbed/guest", description="Start guests.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    fetch = commands.add_parser("fetch", help="fill the cache, so that guests start offline")
    fetch.add_argument("--kind", choices=[*KINDS, XEN], action="append",
                       help="only what this kind needs")

    fetch.add_argument("--uml-package", type=pathlib.Path, metavar="FILE.deb",
                       help="another build of user-mode-linux than Debian 12's; it stays in use")

    fetch.add_argument("--kernel", choices=cache.KERNELS,
                       help="this kernel for the qemu kinds (default: the first)")

    headers = commands.add_parser("headers", help="print the folder to build modules: make -C "
                                  "FOLDER M=... modules (with ARCH=um for User-Mode Linux)")
    headers.add_argument("--kernel", choices=cache.KERNELS)
    headers.add_argument("--kind", choices=KINDS, default="qemu")

    run = commands.add_parser("run", help="boot a guest, run one command in it, end it",
                              epilog=__doc__.split("\n\n")[1])
    run.add_argument("--kind", choices=[*KINDS, XEN], default="qemu")
    run.add_argument("--domain", type=int, default=1, metavar="N",
                     help="with --kind xen: in guest N of so many; 0 is dom0 (default: 1)")
    run.add_argument("--file", action="append", default=[], metavar="HOSTPATH[:GUESTPATH]",
                     help="put a file or folder into the guest (default: into /root, which is "
                     "the working folder and on PATH); programs bring their libraries")
    run.add_argument("--folder", action="append", default=[], metavar="PATH",
                     help="show the host's folder in the guest at the same place, read-only")
    run.add_argument("--module", action="append", default=[], metavar="NAME|FILE.ko",
                     help="load a module of the guest's kernel, and those it needs")
    run.add_argument("--vhost-user-vsock", metavar="SOCKET",
                     help="the socket of a vhost-user-vsock backend, such as causeway-switch")
    run.add_argument("--kernel", choices=cache.KERNELS, help="Debian's kernel of this version, for "
                     "the qemu kind (default: the first)")
    run.add_argument("--network", metavar="listen=PATH|connect=PATH", help="a virtio-net device, "
                     "with a cable to another guest of the qemu kind; the one that listens is "
                     "started first and is 10.77.0.1, the other 10.77.0.2")
    run.add_argument("--vhost-user", action="append", default=[], metavar="ID=SOCKET[,queues=N]...",
                     type=_vhost_user, help="a virtio device of that id, served by a vhost-user "
                     "backend on the socket; qemu-sid asks for its queues (2), queue_size (256) "
                     "and config_bytes (64)")
    run.add_argument("--memory", type=int, metavar="MIB")
    run.add_argument("--cpus", type=int, default=1, metavar="N")
    run.add_argument("--timeout", type=float, default=600, metavar="SECONDS",
                     help="for boot and command together (default: 600)")
    run.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    run.add_argument("--stdin", action="store_true", help="pass standard input to the command")
    run.add_argument("--quiet", action="store_true", help="no lines of progress")
    run.add_argument("argv", nargs="+", metavar="COMMAND", help="behind --")
    return parser.parse_args()


def _fetch(kinds, uml_package, kernel):
    if uml_package:
        cache.part("uml", uml_package.absolute())
    for kind in kinds or MACHINES:
        for part in {**KINDS, XEN: Xen}[kind](
                kernel=kernel if kind.startswith("qemu") or kind == XEN else None).parts():
            cache.part(part)
    print(f"the cache is {cache.folder()}")
    return 0


def _writer(fd):
    def write(data):
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]
    return write


def _pass_input(command):
    try:
        while data := os.read(0, 65536):
            command.write(data, None)
        command.close_input()
    except GuestError:
        pass  # the command's wait() says it


def _xen_host(options):
    """Files and modules go where the command runs: into the guests, or into dom0."""
    if options.domain < 0:
        raise GuestError(f"--domain {options.domain}: there is no such guest; 0 is dom0")
    inner = {"guest_files": options.file, "guest_modules": options.module,
             "guest_memory_mib": options.memory, "guest_cpus": options.cpus}
    outer = {"files": options.file, "modules": options.module, "memory_mib": options.memory}
    return XenHost(guests=options.domain, **(inner if options.domain else outer),
                   kernel=options.kernel, boot_timeout=options.timeout,
                   quiet=options.quiet)


def _run(options):
    end = time.monotonic() + options.timeout
    env = dict(pair.partition("=")[::2] for pair in options.env)
    if options.kind == XEN and options.folder:
        raise GuestError("guests of kind xen see no folders of the host")
    if options.kind == XEN:
        guest = _xen_host(options)
    else:
        guest = Guest(options.kind, files=options.file, folders=options.folder,
                      modules=options.module, vhost_user_vsock=options.vhost_user_vsock, vhost_user=options.vhost_user,
                      kernel=options.kernel, network=options.network, memory_mib=options.memory,
                      cpus=options.cpus, boot_timeout=options.timeout, quiet=options.quiet)
    with guest:
        inner = options.kind == XEN and options.domain
        place = guest.guests[options.domain - 1] if inner else guest
        command = place.start(options.argv, env=env, stdout=_writer(1), stderr=_writer(2))
        if options.stdin:
            threading.Thread(target=_pass_input, args=(command,), daemon=True).start()
        else:
            command.close_input()
        return command.wait(max(0, end - time.monotonic()))


def _end(number, frame):
    for other in ENDING:
        signal.signal(other, signal.SIG_IGN)  # once is enough; cleaning up is not interrupted
    raise Ended(number)


def main():
    options = _parse()
    for number in ENDING:
        signal.signal(number, _end)
    try:
        if options.command == "fetch":
            return _fetch(options.kind, options.uml_package, options.kernel)
        if options.command == "headers":
            print(KINDS[options.kind](kernel=options.kernel).headers())
            return 0
        return _run(options)
    except GuestTimeout as error:
        print(f"testbed: time limit of {options.timeout:g} s: {error}", file=sys.stderr)
        return STATUS_TIMEOUT
    except GuestError as error:
        print(f"testbed: {error}", file=sys.stderr)
        return STATUS_FAILED
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except Ended as ended:
        return 128 + ended.args[0]

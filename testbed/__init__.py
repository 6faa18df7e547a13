# SPDX-License-Identifier: Apache-2.0
"""The one way to start guests: for tests, benchmarks and the demo alike.

    from testbed.guest import Guest

    with Guest("qemu", files=["build/program"]) as guest:
        result = guest.run(["program", "argument"])

The way to a running command:
    1. cache.py      Debian's kernels and busybox, fetched once
    2. initramfs.py  the guest's root: agent, busybox, programs with their libraries, modules
    3. machines.py   one class for each kind of machine: its command line
    4. guest.py      starts it, watches it, cleans up; run() and start()
    5. channel.py    frames between here and the agent (proto/guest-agent.h)
    6. agent.c       the guest's first process
"""

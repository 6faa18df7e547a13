# SPDX-License-Identifier: Apache-2.0
"""Daemons tell a service manager that they serve, from the process that it started, once they do."""
import socket
import struct

import pytest

import daemons


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
@pytest.mark.parametrize("kind", [daemons.Switch, daemons.Cudad, daemons.Scifd])
def test_it_tells_when_it_serves(kind, abstract, tmp_path):
    name = f"causeway-test-{tmp_path}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        manager.bind("\0" + name if abstract else name)
        manager.settimeout(20)
        daemon = kind()
        daemon.environment_added = dict(daemon.environment_added,
                                        NOTIFY_SOCKET="@" + name if abstract else name)
        with daemon:
            message, ancillary, _, _ = manager.recvmsg(100, socket.CMSG_SPACE(12))
            assert message == b"READY=1"
            (process, _, _), = [struct.unpack("iII", data) for _, kind_, data in ancillary
                                if kind_ == socket.SCM_CREDENTIALS]
            assert process == daemon.pid
            assert daemon.ready()

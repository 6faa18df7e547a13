# SPDX-License-Identifier: Apache-2.0
"""A running `link_pingpong serve`, for the host and for guests: what links are measured against."""
import pathlib
import shutil
import subprocess
import tempfile

import daemons

VSOCK_PORT = 7100


class Server:
    """Serves bare and linked ping-pong at unix:, ring: and tcp: until the block is left."""

    def __init__(self, bench):
        self.program = bench.program("bench/link_pingpong")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="causeway-pingpong-"))
        self.socket = self.folder / "s"
        self.tcp_port = daemons.free_tcp_port()
        self.processes = []

    def __enter__(self):
        for address in (f"unix:{self.socket}", f"tcp:127.0.0.1:{self.tcp_port}"):
            self.processes.append(subprocess.Popen([self.program, "serve", address],
                                                   stdin=subprocess.DEVNULL))
        daemons.wait_until(self.socket.exists, 5, "link_pingpong listens")
        return self

    def __exit__(self, kind, value, traceback):
        for process in self.processes:
            process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def address(self, link):
        """Where a program of this host reaches it."""
        if link == "tcp":
            return f"tcp:127.0.0.1:{self.tcp_port}"
        return f"{link}:{self.socket}"

    @property
    def service(self):
        """The switch's service by which guests reach it, at vsock:2:VSOCK_PORT."""
        return f"{VSOCK_PORT}={self.socket}"

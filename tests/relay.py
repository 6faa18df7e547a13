# SPDX-License-Identifier: Apache-2.0
"""A relay between a client and a daemon's Unix socket that damages what passes through it.

    with Relay(target, path, damage) as relay: ...

@damage(direction, offset, data) gets "up" (client to daemon) or "down", how many bytes went that
way before, and the bytes; it returns what to pass on. Fewer bytes end the connection behind them.
"""
import contextlib
import pathlib
import socket
import threading


class Relay:
    def __init__(self, target, path, damage):
        self.target = str(target)
        self.path = pathlib.Path(path)
        self.damage = damage
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen(16)
        self.threads = []
        self.sockets = [self.listener]

    def __enter__(self):
        self._go(self._accept)
        return self

    def __exit__(self, kind, value, traceback):
        for end in self.sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(10)
        for end in self.sockets:
            end.close()
        self.path.unlink()

    def _go(self, function, *arguments):
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.socket(socket.AF_UNIX)
                self.sockets += [client, server]
                server.connect(self.target)
                self._go(self._pass, "up", client, server)
                self._go(self._pass, "down", server, client)

    def _pass(self, direction, source, sink):
        offset = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                passed = self.damage(direction, offset, data)
                offset += len(data)
                sink.sendall(passed)
                if len(passed) < len(data):
                    break
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def flip(direction, position):
    """Turn over every bit of the byte at @position."""
    def damage(way, offset, data):
        if way != direction or not offset <= position < offset + len(data):
            return data
        data = bytearray(data)
        data[position - offset] ^= 0xff
        return bytes(data)
    return damage


def cut(direction, position):
    """End the connection after @position bytes."""
    def damage(way, offset, data):
        return data[:max(0, position - offset)] if way == direction else data
    return damage


def huge(direction, position):
    """Write the length 0xffffffff over four bytes at @position."""
    def damage(way, offset, data):
        if way != direction:
            return data
        data = bytearray(data)
        for i in range(position, position + 4):
            if offset <= i < offset + len(data):
                data[i - offset] = 0xff
        return bytes(data)
    return damage

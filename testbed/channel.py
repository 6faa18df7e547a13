# SPDX-License-Identifier: Apache-2.0
"""The host's end of the stream to a guest's agent: frames (proto/guest-agent.h) and commands.

One thread per guest reads the stream and hands output to the commands; whoever calls a method of
a command writes. A command's state is under the channel's condition, which is notified on every
change. Output that goes to a function is written by the reading thread: a slow taker slows the
guest down, and nothing piles up here. Output that is kept is bounded by KEEP_BYTES.
"""

import re
import struct
import threading
import time

from testbed.errors import GuestError

HEADER = struct.Struct("<IB3sI")
NUMBER = struct.Struct("<I")
RUN = struct.Struct("<II")
AGENT_VERSION = 1
PAYLOAD_MAX = 65536
STDIN_WINDOW = 65536
SEND_SECONDS = 60
KEEP_BYTES = 256 << 20

(HELLO, RUN_TYPE, STDIN, STDIN_TAKEN, SIGNAL, STDOUT, STDERR, EXIT, STOP, RECEIVED) = range(1, 11)


class Command:
    """One command in a guest. Its methods may be called from any thread."""

    def __init__(self, channel, number, outputs):
        self._channel = channel
        self._number = number
        self._outputs = outputs
        self._kept = {STDOUT: bytearray(), STDERR: bytearray()}
        self._credit = STDIN_WINDOW
        self._failure = None
        self.status = None  # the exit status, once it has ended

    @property
    def stdout(self):
        """What it has written so far (nothing when stdout went to a function)."""
        with self._channel.changed:
            return bytes(self._kept[STDOUT])

    @property
    def stderr(self):
        with self._channel.changed:
            return bytes(self._kept[STDERR])

    def write(self, data, timeout=60):
        """Input for the command; waits while it does not read. Input to an ended one is lost."""
        view = memoryview(data)
        while view:
            with self._channel.changed:
                self._channel.wait_for(lambda: self._credit or self.status is not None, timeout,
                                       "no command that takes input")
                if self.status is not None:
                    return
                count = min(len(view), self._credit, PAYLOAD_MAX)
                self._credit -= count
            self._channel.send(self._number, STDIN, view[:count])
            view = view[count:]

    def close_input(self):
        """The end of its input."""
        if self.status is None:
            self._channel.send(self._number, STDIN, b"")

    def signal(self, number):
        """Send a signal to it and to what it started."""
        if self.status is None:
            self._channel.send(self._number, SIGNAL, NUMBER.pack(number))

    def wait(self, timeout=None):
        """The exit status: 0-255, or 128 + the signal that ended it."""
        with self._channel.changed:
            self._channel.wait_for(lambda: self.status is not None, timeout,
                                   "the command did not end")
        if self._failure:
            raise self._failure
        return self.status

    def expect(self, pattern, timeout=60):
        """Wait until the kept stdout matches a regular expression (bytes); the match."""
        with self._channel.changed:
            self._channel.wait_for(
                lambda: re.search(pattern, self._kept[STDOUT]) or self.status is not None,
                timeout, f"the command did not print {pattern!r}")
            found = re.search(pattern, bytes(self._kept[STDOUT]))
        if not found:
            raise GuestError(f"the command ended with {self.status} and never printed {pattern!r};"
                             f" its stderr: {self.stderr.decode(errors='replace')}")
        return found

    # The two below are called by the reading thread, with the condition held or not as they say.
    def _take_output(self, kind, data):  # not held
        output = self._outputs[kind]
        if not output:
            with self._channel.changed:
                if len(self._kept[kind]) + len(data) > KEEP_BYTES:
                    self._failure = GuestError(f"a command printed more than {KEEP_BYTES} bytes")
                else:
                    self._kept[kind] += data
            return
        try:
            if not self._failure:
                output(data)
        except Exception as error:  # of the taker; its place is wait(), and not this thread
            self._failure = error
            # Sending may have to wait for this very thread.
            threading.Thread(target=self._end, daemon=True).start()

    def _end(self):
        try:
            self.signal(15)
        except GuestError:
            pass

    def _take_credit(self, count):  # held
        self._credit += count


class Channel:
    """The stream.

    @socket: connected
    @window: bytes that may be under way to the agent; less than the socket buffers
    @too_late: a function of a sentence that kills the guest and gives the error to raise
    @describe_end: a function of a sentence that adds what is known of the guest's end

    Order of locks: _sending, then changed. The reading thread never sends.
    """

    def __init__(self, socket, window, too_late, describe_end):
        self.changed = threading.Condition()
        self.too_late = too_late
        self._describe_end = describe_end
        self._socket = socket
        self._window = window
        self._sending = threading.Lock()
        self._commands = {}
        self._next_number = 1
        self._hello = None
        self._broken = None  # why there is no agent any more
        self._thread = threading.Thread(target=self._read, daemon=True, name="guest-channel")
        self._thread.start()

    def wait_hello(self, timeout):
        """Until the agent is up. Raises GuestError with its reason when its setup failed."""
        with self.changed:
            self.wait_for(lambda: self._hello is not None, timeout, "the guest did not boot")
        version, = NUMBER.unpack(self._hello[:NUMBER.size])
        if version != AGENT_VERSION:
            raise GuestError(f"guest-agent is of version {version}, not {AGENT_VERSION}: build it "
                             "again")
        if len(self._hello) > NUMBER.size:
            raise GuestError(f"in the guest: {self._hello[NUMBER.size:].decode(errors='replace')}")

    def start(self, arguments, variables, stdout, stderr):
        """A Command. Raises GuestError when the guest is gone."""
        strings = [str(argument).encode() for argument in arguments]
        strings += [f"{name}={value}".encode() for name, value in variables.items()]
        if not arguments or any(b"\0" in string for string in strings):
            raise GuestError("a command needs a name and no zero bytes")
        payload = RUN.pack(len(arguments), len(variables)) + b"".join(s + b"\0" for s in strings)
        if len(payload) > PAYLOAD_MAX:
            raise GuestError("the command's arguments and variables are longer than 64 KiB")
        with self.changed:
            number = self._next_number
            self._next_number += 1
            command = Command(self, number, {STDOUT: stdout, STDERR: stderr})
            self._commands[number] = command
        self.send(number, RUN_TYPE, payload)
        return command

    def wait_for(self, condition, timeout, what):
        """Wait, with the condition variable held, until condition() or, with an error, too late."""
        end = None if timeout is None else time.monotonic() + timeout
        while not condition():
            self.check()
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                raise self.too_late(f"{what} within {timeout:.3g} s")
            self.changed.wait(left)

    def send(self, number, kind, payload):
        view = memoryview(HEADER.pack(number, kind, b"", len(payload)) + bytes(payload))
        with self._sending:
            while view:
                with self.changed:
                    self.wait_for(lambda: self._window, SEND_SECONDS,
                                  "the guest's agent did not read")
                    count = min(len(view), self._window)
                    self._window -= count
                try:
                    self._socket.sendall(view[:count])
                except OSError as error:
                    self._break(f"the channel to the guest: {error.strerror}")
                    self.check()
                view = view[count:]

    def stop(self):
        """Ask the guest to power off; without a guest, nothing happens."""
        try:
            self.send(0, STOP, b"")
        except GuestError:
            pass

    def close(self):
        try:
            self._socket.shutdown(2)
        except OSError:
            pass
        if threading.current_thread() is not self._thread:
            self._thread.join(1)  # it may be stuck in a function that takes output
        self._socket.close()

    def check(self):
        """Raises GuestError when there is no agent any more."""
        if self._broken:
            raise GuestError(self._describe_end(self._broken))

    def _break(self, reason):
        with self.changed:
            self._broken = self._broken or reason
            self.changed.notify_all()

    def _receive(self, count):
        data = bytearray()
        while len(data) < count:
            more = self._socket.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return bytes(data)

    def _read(self):
        try:
            while True:
                number, kind, zero, count = HEADER.unpack(self._receive(HEADER.size))
                if count > PAYLOAD_MAX or any(zero):
                    raise ValueError("a frame that no agent sends")
                self._handle(number, kind, self._receive(count))
        except EOFError:
            self._break("the guest has ended")
        except (OSError, ValueError, struct.error) as error:
            self._break(f"the channel to the guest: {error}")

    def _handle(self, number, kind, payload):
        if kind == HELLO and self._hello is None and len(payload) >= NUMBER.size:
            with self.changed:
                self._hello = payload
                self.changed.notify_all()
            return
        if kind == RECEIVED:
            with self.changed:
                self._window += NUMBER.unpack(payload)[0]
                self.changed.notify_all()
            return
        command = self._commands.get(number)
        if not command:
            raise ValueError(f"a frame for command {number}, which does not run")
        if kind in (STDOUT, STDERR):
            command._take_output(kind, payload)
        elif kind not in (STDIN_TAKEN, EXIT):
            raise ValueError(f"a frame of the unknown kind {kind}")
        with self.changed:
            if kind == STDIN_TAKEN:
                command._take_credit(*NUMBER.unpack(payload))
            elif kind == EXIT:
                command.status, = NUMBER.unpack(payload)
                del self._commands[number]
            self.changed.notify_all()

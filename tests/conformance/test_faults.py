# SPDX-License-Identifier: Apache-2.0
"""What is killed, cut or damaged ends with an error code, in time, and harms nobody else."""
import os
import random
import signal
import socket
import subprocess
import time

import pytest

import daemons
import relay

CLIENT = daemons.PROGRAMS / "driver_client"
END_SECONDS = 10  # within which whoever lost its peer must have noticed and ended


@pytest.fixture
def cudad():
    with daemons.Cudad() as daemon:
        yield daemon


def start(cudad, link, task):
    """A client that has said that it is ready, with its worker's process id."""
    before = set(cudad.workers())
    client = cudad.start_client(link, [CLIENT, task], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines = []
    while not lines or "ready" not in lines[-1]:
        line = client.stdout.readline()
        assert line, f"{task} over {link} ended at its start: {lines} {client.stderr.read()}"
        lines.append(line)
    workers = set(cudad.workers()) - before
    assert len(workers) == 1
    return client, workers.pop()


def finish(client, input_text=None):
    """The rest of its output; a client that hangs is a failure."""
    try:
        output, error = client.communicate(input_text, timeout=END_SECONDS)
    except subprocess.TimeoutExpired:
        client.kill()
        output, error = client.communicate()
        pytest.fail(f"the client hangs: {output} {error}")
    return output + error


def assert_unharmed(client):
    """An idle client goes on computing."""
    output = finish(client, "")
    assert client.returncode == 0 and "PASSED" in output, output


def assert_still_serves(cudad, link="unix"):
    result = cudad.run(link, [CLIENT, "launch"], timeout=30)
    assert result.returncode == 0, result.stdout + result.stderr


def assert_no_workers(cudad):
    daemons.wait_until(lambda: not cudad.workers(), 2, "all workers gone")


@pytest.mark.parametrize("link", daemons.LINKS)
@pytest.mark.parametrize("task", ("copy", "hold"))
def test_worker_killed(cudad, link, task):
    other, _ = start(cudad, link, "idle")
    client, worker = start(cudad, link, task)
    os.kill(worker, signal.SIGKILL)
    output = finish(client)
    assert client.returncode == 0, output
    assert "error CUDA_ERROR_" in output and "later calls fail too" in output
    assert_unharmed(other)
    assert_still_serves(cudad, link)
    assert_no_workers(cudad)


@pytest.mark.parametrize("link", daemons.LINKS)
@pytest.mark.parametrize("task", ("copy", "hold"))
def test_client_killed(cudad, link, task):
    other, _ = start(cudad, link, "idle")
    client, worker = start(cudad, link, task)
    client.kill()
    client.communicate()
    daemons.wait_until(lambda: worker not in cudad.workers(), 1, "the dead client's worker gone")
    assert_unharmed(other)
    assert_no_workers(cudad)


@pytest.mark.parametrize("how", (signal.SIGKILL, signal.SIGTERM))
@pytest.mark.parametrize("link", daemons.LINKS)
def test_supervisor_killed(link, how):
    with daemons.Cudad() as cudad:
        client, worker = start(cudad, link, "hold")
        os.kill(cudad.pid, how)
        cudad.process.wait(END_SECONDS)
        output = finish(client)
        assert client.returncode == 0 and "error CUDA_ERROR_" in output, output
        daemons.wait_until(lambda: not os.path.exists(f"/proc/{worker}"), 2, "the worker gone")
        late = cudad.run(link, [CLIENT, "launch"], timeout=20)
        assert late.returncode == 1 and "CUDA_ERROR_" in late.stderr, late.stderr
        if how == signal.SIGTERM:
            assert not cudad.socket.exists() and not cudad.control.exists()
        cudad.start()  # on the same paths, whatever was left there
        assert_still_serves(cudad, link)


def test_stopped_client_blocks_nobody(cudad):
    """A client that no longer reads or writes holds up no other one."""
    client, _ = start(cudad, "ring", "copy")
    client.send_signal(signal.SIGSTOP)
    try:
        assert_still_serves(cudad, "ring")
        assert_still_serves(cudad, "unix")
    finally:
        client.kill()
        client.communicate()
    assert_no_workers(cudad)


def run_damaged(cudad, damage):
    """A whole client through a relay that damages its messages; it must end in time."""
    path = cudad.folder / "relay.sock"
    with relay.Relay(cudad.socket, path, damage):
        environment = cudad.environment("unix")
        environment["CAUSEWAY_CUDA_SERVER"] = f"unix:{path}"
        result = daemons.run_program([CLIENT, "launch"], environment, timeout=20)
    assert result.returncode in (0, 1), f"{result.returncode}: {result.stderr}"
    if result.returncode == 1:
        assert "CUDA_ERROR_" in result.stderr or "FAILED" in result.stdout, result.stderr
    return result


def traffic(cudad):
    """How many bytes go each way in an undamaged run."""
    passed = {"up": 0, "down": 0}

    def count(way, offset, data):
        passed[way] = offset + len(data)
        return data

    assert run_damaged(cudad, count).returncode == 0
    return passed


@pytest.mark.parametrize("kind", (relay.cut, relay.flip, relay.huge))
def test_damaged_messages(cudad, kind):
    total = traffic(cudad)
    other, _ = start(cudad, "unix", "idle")
    chosen = random.Random(kind.__name__)
    for direction in ("up", "down"):
        # The start of the stream is where most of the structure is; then anywhere.
        positions = [0, 4, 8, 12, 16, 20, 24, 40, 64, 96]
        positions += [chosen.randrange(0, total[direction] - 4) & ~3 for _ in range(10)]
        for position in positions:
            run_damaged(cudad, kind(direction, position))
            assert cudad.alive(), cudad.log()
    assert_unharmed(other)
    assert_still_serves(cudad)
    assert_no_workers(cudad)


def test_garbage_connections(cudad):
    """Streams that never were a client's, and connections that say nothing."""
    other, _ = start(cudad, "unix", "idle")
    chosen = random.Random(1)
    silent = []
    for size in (0, 1, 3, 16, 100, 4096, 1 << 20):
        for tcp in (False, True):
            if tcp:
                connection = socket.create_connection(("127.0.0.1", cudad.tcp_port))
            else:
                connection = socket.socket(socket.AF_UNIX)
                connection.connect(str(cudad.socket))
            if size == 0:
                silent.append(connection)
                continue
            connection.settimeout(END_SECONDS)
            with connection:
                try:
                    connection.sendall(chosen.randbytes(size))
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(4096):
                        pass
                except ConnectionError:
                    pass
    for connection in silent:
        connection.settimeout(END_SECONDS)
        with connection:
            try:
                while connection.recv(4096):
                    pass  # closed by the daemon in the end, since nothing was said
            except ConnectionError:
                pass
    assert_unharmed(other)
    assert_still_serves(cudad)
    assert_no_workers(cudad)


def test_wrong_token(cudad):
    token = cudad.folder / "wrong-token"
    token.write_text("wrong\n")
    token.chmod(0o600)
    cudad.client_config.write_text(f"token_file = {token}\n")
    result = cudad.run("tcp", [CLIENT, "launch"], timeout=20)
    assert result.returncode == 1 and "CUDA_ERROR_NO_DEVICE" in result.stderr, result.stderr
    assert_still_serves(cudad)


def test_many_clients(cudad):
    """200 at once: each is served or told why not; the daemon is as before afterwards."""
    count = 200
    clients = [cudad.start_client("unix" if i % 2 else "ring", [CLIENT, "launch"],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
               for i in range(count)]
    deadline = time.monotonic() + 120
    served = 0
    for client in clients:
        try:
            output, error = client.communicate(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            for other in clients:
                other.kill()
            pytest.fail(f"{served} of {count} clients were served in time")
        served += client.returncode == 0 and "PASSED" in output
        assert client.returncode == 0 or "CUDA_ERROR_" in error, error
    assert served == count, f"{served} served\n{cudad.log()}"
    assert_no_workers(cudad)
    # A worker is gone a moment before the supervisor has heard of it.
    daemons.wait_until(lambda: len(os.listdir(f"/proc/{cudad.pid}/fd")) < 40, END_SECONDS,
                       "the supervisor holds few descriptors")

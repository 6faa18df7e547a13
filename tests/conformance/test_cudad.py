# SPDX-License-Identifier: Apache-2.0
"""causeway-cudad: who gets in, who is told no, and that nothing stays behind, whoever dies.

The workers are tests/conformance/cudad_test_worker.c, which speaks the greeting and obeys
one-letter commands. CAUSEWAY_CUDAD and CAUSEWAY_TEST_WORKER name the programs.
"""
import json
import os
import signal
import socket
import struct
import subprocess
import tempfile
import time

import pytest

CUDAD = os.environ["CAUSEWAY_CUDAD"]
WORKER = os.environ["CAUSEWAY_TEST_WORKER"]
TOKEN = "a token of the test"
UNIX, RING, TCP, VSOCK = 1, 2, 3, 4
MALFORMED, VERSION, DENIED, MEMORY, BUSY, BROKEN = 1, 2, 3, 4, 5, 6


def wait_for(condition, what, seconds=1.0):
    """The first true value of condition(), or a failure after that time."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.005)


def is_alive(pid):
    """Whether that process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def greeting(medium=UNIX, token=b"", version=2):
    return struct.pack("<IHBxI4xQQ64s32x", 0x4B4C5743, version, medium, len(token), 0, 0, token)


class Refused(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code
        self.text = text


def receive(sock, count):
    data = b""
    while len(data) < count:
        some = sock.recv(count - len(data))
        assert some, f"hang-up after {len(data)} of {count} bytes"
        data += some
    return data


def read_answer(sock):
    magic, _, code, text_bytes, zero, text = struct.unpack("<IHHII240s", receive(sock, 256))
    assert magic == 0x4B4C5743 and zero == 0
    if code:
        raise Refused(code, text[:text_bytes].decode())


class Client:
    """A client of the test worker over any socket."""

    def __init__(self, sock, medium=UNIX, token=b"", preamble=b""):
        self.sock = sock
        self.sock.settimeout(10)
        try:
            self.sock.sendall(preamble + greeting(medium, token))
        except BrokenPipeError:
            pass  # refused already: the answer is there to read
        read_answer(self.sock)

    def command(self, letter, answer_bytes=0):
        self.sock.sendall(letter)
        return receive(self.sock, answer_bytes)

    def arguments(self):
        return self.command(b"i", 256).rstrip(b"\0 ").decode()

    def echo(self):
        assert self.command(b"eZ", 1) == b"Z"

    def is_hung_up(self):
        try:
            self.sock.settimeout(5)
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.sock.close()


def preamble(cid, magic=0x44495743, version=1):
    return struct.pack("<IIQ", magic, version, cid)


class Cudad:
    """One causeway-cudad in a folder of its own."""

    def __init__(self, folder, *arguments, tcp=False):
        self.folder = folder
        self.socket = f"{folder}/cuda"
        self.switch_socket = f"{folder}/switch"
        self.log_path = f"{folder}/log"
        self.tcp_port = 0
        command = [CUDAD, "--socket", self.socket, "--switch-socket", self.switch_socket,
                   "--driver", "none", "--worker", WORKER, *arguments]
        if tcp:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.tcp_port = probe.getsockname()[1]
            with open(os.open(f"{folder}/token", os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
                file.write(TOKEN + "\n")
            command += ["--tcp", f"127.0.0.1:{self.tcp_port}", "--token-file", f"{folder}/token"]
        self.log_file = open(self.log_path, "wb")
        self.process = subprocess.Popen(command, stderr=self.log_file, stdin=subprocess.DEVNULL)
        wait_for(lambda: "serving" in self.log() or self.process.poll() is not None,
                 "start of cudad", 5)

    def log(self):
        with open(self.log_path) as file:
            return file.read()

    def connect(self, path=None):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect(path or self.socket)
        return sock

    def client(self):
        return Client(self.connect())

    def guest(self, cid):
        return Client(self.connect(self.switch_socket), VSOCK, preamble=preamble(cid))

    def tcp_connect(self):
        return socket.create_connection(("127.0.0.1", self.tcp_port), timeout=10)

    def status(self):
        with self.connect(self.socket + ".control") as sock:
            sock.sendall(b'{"command": "status"}\n')
            text = b""
            while some := sock.recv(65536):
                text += some
        return json.loads(text)

    def workers(self):
        return [client["worker"] for client in self.status()["clients"]]

    def guardian(self):
        return wait_for(self.find_guardian, "a guardian")

    def find_guardian(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            for pid in file.read().split():
                try:
                    with open(f"/proc/{pid}/comm") as name:
                        if name.read().strip() == "cudad-guardian" and is_alive(pid):
                            return int(pid)
                except FileNotFoundError:
                    pass
        return None

    def socket_files(self):
        return [name for name in os.listdir(self.folder)
                if name in ("cuda", "switch", "cuda.control")]

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(5)
        self.log_file.close()


@pytest.fixture
def start():
    """Starts daemons that end with the test; afterwards nothing may be left of them."""
    daemons = []
    with tempfile.TemporaryDirectory(prefix="causeway-cudad-") as folder:
        def start_one(*arguments, **options):
            place = tempfile.mkdtemp(dir=folder)
            daemons.append(Cudad(place, *arguments, **options))
            return daemons[-1]
        yield start_one
        for daemon in daemons:
            daemon.stop()
            assert daemon.socket_files() == []


def test_worker_gets_connection_and_shared_pages_and_nothing_else(start):
    cudad = start("--memory-limit", "12345")
    client = cudad.client()
    client.echo()
    assert client.arguments() == (f"--fd 3 --driver none --peer uid {os.getuid()} "
                                  f"pid {os.getpid()} --memory-limit 12345 --share 0 --folder --turns --clear "
                                  "--sandbox")
    descriptors = client.command(b"f", 64)
    assert list(descriptors[1:1 + descriptors[0]]) == [3, 5, 6, 7, 8]
    worker = cudad.workers()[0]
    assert os.getpgid(worker) == worker


def test_status_tells_who_is_served(start):
    cudad = start()
    first, guest = cudad.client(), cudad.guest(42)
    status = cudad.status()
    assert status["pid"] == cudad.process.pid
    assert [c["kind"] for c in status["clients"]] == ["uid", "cid"]
    assert [c["entrance"] for c in status["clients"]] == ["unix", "switch"]
    assert status["clients"][1]["identity"] == "cid 42"
    assert abs(status["clients"][0]["since"] - time.time()) < 60
    assert status["admitted"] == 2 and status["max_clients"] == 256
    first.close()
    guest.close()
    wait_for(lambda: cudad.status()["clients"] == [], "empty list of clients")


def test_two_hundred_clients_at_once(start):
    cudad = start()
    socks = [cudad.connect() for _ in range(200)]
    clients = [Client(sock) for sock in socks]
    for client in clients:
        client.echo()
    pids = cudad.workers()
    assert len(set(pids)) == 200
    for client in clients:
        client.close()
    wait_for(lambda: not any(is_alive(pid) for pid in pids), "end of 200 workers", 2)


def test_limit_is_told_in_a_sentence(start):
    cudad = start("--max-clients", "3")
    clients = [cudad.client() for _ in range(3)]
    with pytest.raises(Refused) as refused:
        cudad.client()
    assert refused.value.code == BUSY
    assert refused.value.text == "3 of 3 clients connected"
    clients[0].close()
    wait_for(lambda: len(cudad.workers()) == 2, "room for a client")
    cudad.client().echo()
    clients[1].echo()


def test_limit_per_identity(start):
    cudad = start("--max-clients-per-identity", "2")
    guests = [cudad.guest(7), cudad.guest(7)]
    with pytest.raises(Refused) as refused:
        cudad.guest(7)
    assert refused.value.text == "2 of 2 clients of this guest connected"
    cudad.guest(8).echo()
    cudad.client().echo()
    guests[0].echo()


@pytest.mark.parametrize("words", [
    preamble(0), preamble(2), preamble(0xFFFFFFFF), preamble(1 << 40), preamble(9, magic=1),
    preamble(9, version=2), b"\xff" * 16, b"GET / HTTP/1.0\r\n\r\n"],
    ids=["cid0", "host", "any", "wide", "magic", "version", "ones", "http"])
def test_bad_preamble_is_refused(start, words):
    cudad = start()
    with cudad.connect(cudad.switch_socket) as sock:
        sock.sendall(words)
        with pytest.raises(Refused) as refused:
            read_answer(sock)
    assert refused.value.code == DENIED
    assert cudad.status()["clients"] == []
    cudad.guest(9).echo()


def test_preamble_in_pieces(start):
    cudad = start()
    with cudad.connect(cudad.switch_socket) as sock:
        for byte in preamble(5):
            sock.send(bytes([byte]))
            time.sleep(0.001)
        Client(sock, VSOCK).echo()


def test_switch_socket_is_for_its_owner_alone(start):
    cudad = start()
    assert os.stat(cudad.switch_socket).st_mode & 0o777 == 0o600
    assert os.stat(cudad.socket + ".control").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("words", [b"\xff" * 128, b"\0" * 500, greeting(version=9),
                                   greeting(medium=TCP), greeting(medium=RING),
                                   greeting(medium=77), os.urandom(4096)],
                         ids=["ones", "zeros", "version", "tcp", "ring", "medium", "random"])
def test_garbage_on_the_socket_is_answered(start, words):
    cudad = start()
    with cudad.connect() as sock:
        sock.sendall(words)
        with pytest.raises(Refused) as refused:
            read_answer(sock)
        assert refused.value.code in (MALFORMED, VERSION, MEMORY)
    wait_for(lambda: cudad.workers() == [], "end of the worker")
    cudad.client().echo()


def test_tcp_is_off_by_default_and_wants_the_token(start):
    cudad = start(tcp=True)
    client = Client(cudad.tcp_connect(), TCP, TOKEN.encode())
    client.echo()
    assert "--token-fd 4" in client.arguments() and TOKEN not in client.arguments()
    for wrong in (b"", b"a token of the tesu", TOKEN.encode() + b"x", b"\0"):
        with pytest.raises(Refused) as refused:
            Client(cudad.tcp_connect(), TCP, wrong)
        assert refused.value.code == DENIED
    with pytest.raises(Refused) as refused:
        Client(cudad.tcp_connect(), UNIX)
    assert refused.value.code == MALFORMED
    assert len(cudad.workers()) == 1
    assert cudad.status()["refused"] == 5
    with open("/proc/net/tcp") as file:
        listening = [line for line in file if " 0A " in line]
    assert any(f":{cudad.tcp_port:04X} " in line for line in listening)


def test_vsock_port_is_listened_on(start):
    try:
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as probe:
            probe.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
            port = probe.getsockname()[1]
    except OSError as error:
        pytest.skip(f"no AF_VSOCK here: {error}")
    cudad = start("--vsock-port", str(port))
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as probe:
        with pytest.raises(OSError):
            probe.bind((socket.VMADDR_CID_ANY, port))
    cudad.client().echo()


def test_children_are_reaped_though_the_starter_ignored_them(start):
    handler = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        cudad = start()
        client = cudad.client()
        client.command(b"x\x07")
        assert client.is_hung_up()
        wait_for(lambda: "exited with status 7" in cudad.log(), "log")
    finally:
        signal.signal(signal.SIGCHLD, handler)


def test_tcp_half_a_greeting_is_no_worker(start):
    cudad = start(tcp=True)
    with cudad.tcp_connect() as sock:
        sock.sendall(greeting(TCP, TOKEN.encode())[:100])
        sock.shutdown(socket.SHUT_WR)
        with pytest.raises(Refused):
            read_answer(sock)
    assert cudad.workers() == []
    assert cudad.status()["admitted"] == 0


def test_slow_greetings_time_out_without_a_worker(start):
    """One connection per entrance that drips or is silent; all are answered and nobody waits."""
    cudad = start(tcp=True)
    slow = [cudad.tcp_connect(), cudad.connect(cudad.switch_socket)]
    begin = time.monotonic()
    for sock in slow:
        sock.send(b"\x43")
    assert cudad.workers() == []
    cudad.client().echo()
    for sock in slow:
        with pytest.raises(Refused) as refused:
            read_answer(sock)
        assert refused.value.text == "no greeting came in time"
    assert 4 < time.monotonic() - begin < 7
    wait_for(lambda: cudad.status()["pending"] == 0, "end of the slow ones", 3)


def test_refused_client_that_stays_is_dropped(start):
    cudad = start()
    with cudad.connect(cudad.switch_socket) as sock:
        sock.sendall(b"x" * 16)
        with pytest.raises(Refused):
            read_answer(sock)
        assert cudad.status()["pending"] == 1
        wait_for(lambda: cudad.status()["pending"] == 0, "end of the refused one", 3)


def test_dead_client_takes_its_worker_along(start):
    cudad = start()
    other = cudad.client()
    pid = os.fork()
    if pid == 0:
        try:
            client = cudad.client()
            client.echo()
            time.sleep(60)
        finally:
            os._exit(0)
    wait_for(lambda: len(cudad.workers()) == 2, "the second worker", 5)
    worker = cudad.workers()[1]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_for(lambda: not is_alive(worker), "end of the worker")
    other.echo()


def test_worker_that_hangs_is_killed_when_its_client_dies(start):
    cudad = start()
    client = cudad.client()
    worker = cudad.workers()[0]
    client.command(b"h")
    client.close()
    wait_for(lambda: not is_alive(worker), "end of the worker")
    wait_for(lambda: f"worker {worker} did not end in time and was killed" in cudad.log(), "log")


@pytest.mark.parametrize("letters, words", [
    (b"x\x03", "exited with status 3"), (b"k\x06", "died of signal 6"),
    (b"k\x09", "died of signal 9")])
def test_dead_worker_is_logged_once_and_its_client_knows(start, letters, words):
    cudad = start()
    other, client = cudad.client(), cudad.client()
    client.command(letters)
    assert client.is_hung_up()
    wait_for(lambda: words in cudad.log(), "log")
    other.echo()
    assert cudad.log().count(words) == 1
    assert f"uid {os.getuid()} pid {os.getpid()}" in cudad.log()
    assert len(cudad.workers()) == 1


def test_killed_worker_from_outside(start):
    cudad = start()
    client = cudad.client()
    os.kill(cudad.workers()[0], signal.SIGKILL)
    assert client.is_hung_up()
    cudad.client().echo()


def test_worker_that_cannot_start_is_an_answer(start, tmp_path):
    broken = tmp_path / "worker"
    broken.write_text("#!/nonexistent/interpreter\n")
    broken.chmod(0o755)
    cudad = start("--worker", str(broken))
    with pytest.raises(Refused) as refused:
        cudad.client()
    assert refused.value.code == BROKEN
    assert "cannot start worker" in refused.value.text


def test_terminate_ends_everything(start):
    cudad = start()
    clients = [cudad.client() for _ in range(5)]
    clients[0].command(b"h")
    pids = cudad.workers() + [cudad.guardian()]
    assert len(pids) == 6
    cudad.process.terminate()
    assert cudad.process.wait(2) == 0
    assert cudad.socket_files() == []
    assert not any(is_alive(pid) for pid in pids)
    assert all(client.is_hung_up() for client in clients)


def test_killed_supervisor_leaves_nothing(start):
    cudad = start()
    clients = [cudad.client() for _ in range(5)]
    clients[0].command(b"h")
    pids = cudad.workers() + [cudad.guardian()]
    assert sorted(cudad.socket_files()) == ["cuda", "cuda.control", "switch"]
    cudad.process.kill()
    wait_for(lambda: not any(is_alive(pid) for pid in pids), "end of workers and guardian")
    wait_for(lambda: cudad.socket_files() == [], "end of the socket files")
    assert all(client.is_hung_up() for client in clients)
    cudad.process.wait()


def test_killed_guardian_is_replaced_and_knows_all(start):
    cudad = start()
    client = cudad.client()
    worker = cudad.workers()[0]
    for _ in range(2):
        first = cudad.guardian()
        os.kill(first, signal.SIGKILL)
        second = wait_for(lambda: cudad.find_guardian() not in (None, first) and cudad.guardian(),
                          "another guardian", 3)
    client.echo()
    cudad.process.kill()
    wait_for(lambda: not is_alive(worker) and not is_alive(second), "end of worker and guardian")
    wait_for(lambda: cudad.socket_files() == [], "end of the socket files")


def test_guardian_spares_a_successors_sockets(start):
    first = start()
    guardian = first.guardian()
    os.kill(guardian, signal.SIGSTOP)
    first.process.kill()
    first.process.wait()
    second = subprocess.Popen([CUDAD, "--socket", first.socket, "--driver", "none", "--worker",
                               WORKER], stderr=subprocess.PIPE)
    try:
        assert b"serving" in second.stderr.readline()
        os.kill(guardian, signal.SIGCONT)
        wait_for(lambda: not is_alive(guardian), "end of the first guardian")
        first.client().echo()
    finally:
        second.terminate()
        second.wait(5)


def test_second_daemon_on_one_socket_says_why(start):
    first = start()
    second = subprocess.run([CUDAD, "--socket", first.socket, "--worker", WORKER],
                            capture_output=True, text=True, timeout=10)
    assert second.returncode != 0
    assert "somebody listens" in second.stderr
    first.client().echo()


@pytest.mark.parametrize("text, message", [
    ("cuda = { max_clients = 0; };", "max_clients is 0"),
    ("cuda = { max_client = 9; };", "unknown setting 'max_client'"),
    ("cuda = { max_clients = ;", ":1:"),
    ("cuda = { socket_mode = \"999\"; };", "socket_mode is '999'"),
    ("cuda = { tcp = \"127.0.0.1:0\"; };", "TCP needs a token")])
def test_bad_configuration_stops_the_start(tmp_path, text, message):
    config = tmp_path / "causeway.conf"
    config.write_text(text)
    result = subprocess.run([CUDAD, "--config", str(config), "--socket", str(tmp_path / "s"),
                             "--worker", WORKER], capture_output=True, text=True, timeout=10)
    assert result.returncode != 0 and message in result.stderr
    assert not (tmp_path / "s").exists()


def test_token_that_others_may_read_is_refused(tmp_path):
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o644)
    result = subprocess.run([CUDAD, "--socket", str(tmp_path / "s"), "--worker", WORKER, "--tcp",
                             "127.0.0.1:1", "--token-file", str(token)],
                            capture_output=True, text=True, timeout=10)
    assert result.returncode != 0 and "others may read it" in result.stderr


def test_configuration_is_read_and_options_win(start, tmp_path):
    config = tmp_path / "causeway.conf"
    config.write_text('cuda = { max_clients = 7; max_clients_per_identity = 2; '
                      'socket_mode = "0600"; };')
    cudad = start("--config", str(config), "--max-clients", "9")
    assert cudad.status()["max_clients"] == 9
    assert cudad.status()["max_clients_per_identity"] == 2
    assert os.stat(cudad.socket).st_mode & 0o777 == 0o600


def test_idle_supervisor_is_small_and_asleep(start):
    cudad = start()
    clients = [cudad.client() for _ in range(3)]

    def switches():
        with open(f"/proc/{cudad.process.pid}/status") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["voluntary_ctxt_switches"]), int(fields["VmRSS"].split()[0])

    wait_for(lambda: cudad.log().count("worker") == 3, "log of three workers")
    before, _ = switches()
    time.sleep(1)
    for client in clients:
        client.echo()  # traffic between client and worker does not concern it
    after, rss_kib = switches()
    assert after == before
    if os.environ.get("CAUSEWAY_SANITIZED", "none") == "none":
        assert rss_kib <= 10 * 1024

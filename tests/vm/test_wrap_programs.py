# SPDX-License-Identifier: Apache-2.0
"""Real programs over AF_VSOCK: unmodified, both ends wrapped, each in a guest of its own.

The guests have no network device, so nothing but vsock can carry what arrives; addresses are of
the built-in rules: 10.77.0.3 is the guest with CID 3. /usr is the host's, so the programs are those
of scripts/install-packages.
"""
import contextlib
import json
import pathlib
import shutil
import subprocess

import pytest
from daemons import BUILD, Switch

from testbed.guest import Guest
from testbed.machines import MACHINES

WRAPPER = [f"{BUILD}/cli/causeway:/opt/causeway",
           f"{BUILD}/vsock/wrap/libcauseway-wrap.so:/opt/libcauseway-wrap.so"]
RUN = ["/opt/causeway", "run", "--explain"]
SERVER, CLIENT = 3, 4
ADDRESS = "10.77.0.3"
SECONDS = 90
MIB = 1 << 20

SETUP = """set -e
chmod 666 /dev/vsock
echo 'sshd:x:100:100::/run/sshd:/bin/false' >>/etc/passwd
echo 'pg:x:1000:1000::/tmp:/bin/sh' >>/etc/passwd
echo 'pg:x:1000:' >>/etc/group
printf 'ip 0 IP\\ntcp 6 TCP\\n' >/etc/protocols
mkdir -p /run/sshd /tmp/www /var/log/nginx /var/lib/nginx
"""


def needs(*programs):
    """Skip where the host lacks a program."""
    missing = [name for name in programs
               if not (shutil.which(name, path="/usr/bin:/usr/sbin") or pathlib.Path(name).exists())]
    return pytest.mark.skipif(bool(missing), reason=f"missing: {', '.join(missing)}")


class Pair:
    """Two guests of one switch; a server runs in one, clients in the other.

    With @files those are their programs, else those of the host's /usr.
    """

    def __init__(self, kinds, stack, folder, files=()):
        self.folder = folder
        self.switch = stack.enter_context(Switch(cids=(SERVER, CLIENT)))
        self.guests = {}
        for cid, kind in zip((SERVER, CLIENT), kinds):
            guest = Guest(kind, files=[*WRAPPER, *files], folders=[] if files else ["/usr"],
                          memory_mib=512, quiet=True,
                          modules=["ipv6"] if kind == "uml" else [],
                          vhost_user_vsock=self.switch.guest_socket(cid))
            self.guests[cid] = stack.enter_context(guest)
            guest.run(["sh", "-c", SETUP], check=True)

    @contextlib.contextmanager
    def serves(self, port, words, before=(), line=b"and at vsock port %d "):
        """A wrapped server, once it listens on both worlds; ended with the block."""
        command = self.guests[SERVER].start(["sh", "-c", 'exec "$@" 2>&1', "sh", *before, *RUN,
                                             *words])
        try:
            command.expect(line % port if b"%d" in line else line, SECONDS)
            yield command
        finally:
            command.signal(15)
            command.wait(60)

    def client(self, *words, input=b"", wrapped=True):
        """A wrapped client, run to its end; its result, after a look at how it went."""
        result = self.guests[CLIENT].run([*RUN, *words] if wrapped else words, input=input,
                                         timeout=SECONDS)
        assert result.status == 0, (result.stdout + result.stderr).decode(errors="replace")
        assert b"as vsock 3:" in result.stderr
        return result.stdout

    def put(self, cid, path, content):
        """A file in a guest."""
        source = self.folder / "file"
        source.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.guests[cid].send_file(source, path, 0o644)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    kinds = [name for name in ("uml", "qemu") if not MACHINES[name]().unusable()]
    if not kinds:
        pytest.skip("this host runs no kind of guest")
    with contextlib.ExitStack() as stack:
        yield Pair([kinds[0], kinds[0]], stack, tmp_path_factory.mktemp("programs"))


@needs("redis-server", "redis-benchmark", "redis-cli")
def test_redis(pair):
    with pair.serves(6379, ["redis-server", "--port", "6379", "--bind", "0.0.0.0", "--save", "",
                            "--protected-mode", "no", "--dir", "/tmp"]):
        cli = ["redis-cli", "-h", ADDRESS]
        assert pair.client(*cli, "set", "key", "value") == b"OK\n"
        assert pair.client(*cli, "get", "key") == b"value\n"
        assert b" addr=10.77.0.4:" in pair.client(*cli, "client", "list")
        shown = pair.client("redis-benchmark", "-h", ADDRESS, "-n", "2000", "-c", "20", "-q",
                            "-t", "ping,set,get,lrange_100")
        assert shown.count(b"requests per second") >= 4


@needs("redis-server", "redis-cli")
def test_an_address_that_no_interface_has(pair):
    with pair.serves(6380, ["redis-server", "--port", "6380", "--bind", ADDRESS, "--save", "",
                            "--protected-mode", "no", "--dir", "/tmp"],
                     line=rb"bound to 10.77.0.3:6380, which is this machine's on vsock alone: done"):
        assert pair.client("redis-cli", "-h", ADDRESS, "-p", "6380", "ping") == b"PONG\n"


NGINX = """daemon off; user root; worker_processes 2; pid /tmp/nginx.pid; error_log stderr;
events { worker_connections 64; }
http {
    access_log /tmp/access.log; sendfile on;
    server { listen 80; listen [::]:80; root /tmp/www; }
    server { listen 81; location / { proxy_pass http://10.77.0.3:80; } }
}
"""


@needs("nginx", "wrk", "curl")
def test_nginx_wrk_and_curl(pair):
    content = bytes(i * i >> 3 & 255 for i in range(MIB))
    pair.put(SERVER, "/tmp/nginx.conf", NGINX)
    pair.put(SERVER, "/tmp/www/big", content)
    pair.put(SERVER, "/tmp/www/small", "hello\n")
    with pair.serves(80, ["nginx", "-c", "/tmp/nginx.conf"]):
        curl = ["curl", "-sS", "--fail"]
        assert pair.client(*curl, f"http://{ADDRESS}/big") == content
        assert pair.client(*curl, f"http://{ADDRESS}/small", "--tcp-fastopen") == b"hello\n"
        assert pair.client(*curl, "http://[fd00:77::3]/small") == b"hello\n"
        shown = pair.client("wrk", "-t2", "-c16", "-d1", f"http://{ADDRESS}:80/small")
        assert b"Requests/sec" in shown and b"Socket errors" not in shown, shown
        log = pair.guests[SERVER].run(["head", "-n", "2", "/tmp/access.log"]).stdout
        assert log.count(b"10.77.0.4 - - ") == 2 and b"GET /small" in log
        # The same server, over TCP of its own guest.
        local = pair.guests[SERVER].run([*curl, "http://127.0.0.1/small"])
        assert local.stdout == b"hello\n", local.stderr


@needs("nginx", "curl")
def test_nginx_as_a_client(pair):
    """A proxy: registers with epoll before connect(), and connects to another guest's server."""
    pair.put(SERVER, "/tmp/nginx.conf", NGINX)
    pair.put(SERVER, "/tmp/www/small", "hello\n")
    pair.put(CLIENT, "/tmp/nginx.conf", NGINX)
    with pair.serves(80, ["nginx", "-c", "/tmp/nginx.conf"]):
        proxy = pair.guests[CLIENT].start(["sh", "-c", 'exec "$@" 2>&1', "sh", *RUN, "nginx", "-c",
                                           "/tmp/nginx.conf"])
        proxy.expect(rb"and at vsock port 81 ", SECONDS)
        result = pair.guests[CLIENT].run(["curl", "-sS", "--fail", "http://127.0.0.1:81/small"])
        assert result.stdout == b"hello\n", result.stderr
        proxy.expect(rb"connects to 10\.77\.0\.3:80 as vsock 3:80")
        proxy.signal(15)
        proxy.wait(60)


def postgres_folder():
    return next(iter(sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))), None)


@needs(str(postgres_folder() or "/usr/lib/postgresql"))
def test_postgresql_and_pgbench(pair):
    programs = postgres_folder()
    as_user = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "env",
               "HOME=/tmp", "LC_ALL=C"]
    server = pair.guests[SERVER]
    server.run([*as_user, programs / "initdb", "-D", "/tmp/pg", "-A", "trust", "-U", "postgres",
                "--no-sync", "--no-instructions"], timeout=SECONDS, check=True)
    server.run(["sh", "-c", "echo 'host all all 10.77.0.4/32 trust' >/tmp/pg/pg_hba.conf"])
    with pair.serves(5432, [programs / "postgres", "-D", "/tmp/pg", "-k", "/tmp", "-h", "*",
                            "-c", "fsync=off", "-c", "tcp_keepalives_idle=33"], before=as_user) as postgres:
        name = ["-h", ADDRESS, "-U", "postgres"]
        postgres.expect(rb"ready to accept connections", SECONDS)
        shown = pair.client(programs / "psql", *name, "-Atc", "select inet_client_addr(), "
                            "inet_server_port(), current_setting('tcp_keepalives_idle')")
        assert shown == b"10.77.0.4|5432|33\n"
        pair.client(programs / "pgbench", *name, "-i", "-q", "postgres")
        shown = pair.client(programs / "pgbench", *name, "-c", "4", "-t", "50", "postgres")
        assert b"200/200" in shown


@needs("/usr/sbin/sshd", "ssh", "ssh-keygen")
def test_sshd_and_ssh(pair):
    key = pair.folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    for cid in SERVER, CLIENT:
        pair.guests[cid].send_file(key, "/root/key", 0o600)
    pair.guests[SERVER].send_file(f"{key}.pub", "/root/key.pub", 0o644)
    sent = bytes(range(256)) * 1024
    with pair.serves(2222, ["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-p", "2222", "-h",
                            "/root/key", "-o", "AuthorizedKeysFile=/root/key.pub", "-o",
                            "StrictModes=no", "-o", "PidFile=none"]):
        ssh = ["ssh", "-F", "none", "-i", "/root/key", "-p", "2222", "-o", "BatchMode=yes", "-o",
               "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
               f"root@{ADDRESS}"]
        shown = pair.client(*ssh, "echo $SSH_CONNECTION; cat", input=sent)
        first, _, rest = shown.partition(b"\n")
        assert first.split()[0::2] == [b"10.77.0.4", b"10.77.0.3"] and first.endswith(b" 2222")
        assert rest == sent


@needs("iperf3")
@pytest.mark.parametrize("way", (["-n", "16M"], ["-n", "16M", "-R"], ["-n", "16M", "-P", "3"]))
def test_iperf3(pair, way):
    with pair.serves(5201, ["iperf3", "-s", "-1"]):
        shown = json.loads(pair.client("iperf3", "-J", "-c", ADDRESS, *way))
        # It counts what had been read when the sender was through: for each stream a window, as
        # much of the switch's promise, and a block of which a part was read may be missing.
        missing = (256 + 256 + 128) * 1024 * len(shown["end"]["streams"])
        assert shown["end"]["sum_received"]["bytes"] >= 16 * MIB - missing
        assert shown["end"]["sum_sent"]["bytes"] >= 16 * MIB


@needs("iperf3")
@pytest.mark.skipif(any(machine().unusable() for machine in MACHINES.values()),
                    reason="this host does not run both kinds of guests")
def test_between_kinds_of_guests(tmp_path):
    """The server under QEMU, the client under User-Mode Linux."""
    with contextlib.ExitStack() as stack:
        mixed = Pair(["qemu", "uml"], stack, tmp_path, files=[shutil.which("iperf3")])
        with mixed.serves(5201, ["iperf3", "-s", "-1"]):
            shown = json.loads(mixed.client("iperf3", "-J", "-c", ADDRESS, "-n", "4M"))
            assert shown["end"]["sum_sent"]["bytes"] >= 4 * MIB


@needs("NPtcp")
def test_netpipe(pair):
    with pair.serves(5002, ["NPtcp"]):
        pair.client("NPtcp", "-h", ADDRESS, "-u", "65536", "-n", "5", "-o", "/tmp/np.out")
        table = pair.guests[CLIENT].run(["cat", "/tmp/np.out"], check=True).stdout.splitlines()
        assert int(table[-1].split()[0]) >= 65536 and float(table[-1].split()[1]) > 0


PYTHON_SERVER = """import asyncio
async def serve(reader, writer):
    assert writer.get_extra_info('peername')[0].endswith('10.77.0.4')
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(serve, '', 7100)
    await server.serve_forever()
asyncio.run(main())
"""
PYTHON_CLIENT = """import asyncio, os
async def one():
    reader, writer = await asyncio.open_connection('10.77.0.3', 7100)
    sent = os.urandom(200000)
    writer.write(sent)
    got = await reader.readexactly(len(sent))
    assert got == sent and writer.get_extra_info('peername') == ('10.77.0.3', 7100)
    writer.write_eof()
    assert await reader.read() == b''
    writer.close()
async def main():
    await asyncio.gather(*(one() for _ in range(40)))
    try:
        await asyncio.open_connection('10.77.0.3', 7199)
    except OSError as error:
        print('40 echoed,', type(error).__name__)
asyncio.run(main())
"""


@needs("/usr/bin/python3")
def test_python_asyncio(pair):
    """Listens at '' (0.0.0.0 and ::, one of them on vsock, too); 40 connections at once."""
    pair.put(SERVER, "/tmp/server.py", PYTHON_SERVER)
    pair.put(CLIENT, "/tmp/client.py", PYTHON_CLIENT)
    with pair.serves(7100, ["/usr/bin/python3", "/tmp/server.py"]):
        shown = pair.client("/usr/bin/python3", "/tmp/client.py")
        assert shown == b"40 echoed, ConnectionRefusedError\n"


NODE_SERVER = """require('http').createServer((request, response) => {
    let bytes = 0;
    request.on('data', part => bytes += part.length);
    request.on('end', () => response.end(JSON.stringify(
        [request.socket.remoteAddress, request.socket.localPort, bytes])));
}).listen(8080);
"""
NODE_CLIENT = """const http = require('http');
let left = 20;
for (let i = 0; i < 20; i++) {
    const request = http.request({ host: '10.77.0.3', port: 8080, method: 'POST' }, response => {
        response.on('data', part => { if (!--left) console.log(part.toString()); });
    });
    request.end(Buffer.alloc(100000));
}
"""


@needs("/usr/bin/node")
def test_node(pair):
    pair.put(SERVER, "/tmp/server.js", NODE_SERVER)
    pair.put(CLIENT, "/tmp/client.js", NODE_CLIENT)
    with pair.serves(8080, ["/usr/bin/node", "/tmp/server.js"]):
        shown = json.loads(pair.client("/usr/bin/node", "/tmp/client.js"))
        assert shown[0].endswith("10.77.0.4") and shown[1:] == [8080, 100000]

# SPDX-License-Identifier: Apache-2.0
"""causeway-scifnet between the host's node and a card's, each in a network of its own."""
import os
import subprocess

import pytest

import daemons

SCIFNET = daemons.BUILD / "scif" / "net" / "causeway-scifnet"
ADDRESSES = ("10.219.0.1", "10.219.0.2")  # of nodes 0 and 1
TCP_SERVER = """
import socket
server = socket.create_server(("10.219.0.2", 5000))
print("ready", flush=True)
peer, address = server.accept()
assert address[0] == "10.219.0.1", address
while data := peer.recv(65536):
    peer.sendall(data)
"""
TCP_CLIENT = """
import os, socket, threading
sent = os.urandom(1 << 20)
with socket.create_connection(("10.219.0.2", 5000), 20) as stream:
    def send():
        stream.sendall(sent)
        stream.shutdown(socket.SHUT_WR)
    thread = threading.Thread(target=send)
    thread.start()
    came = b"".join(iter(lambda: stream.recv(65536), b""))
    thread.join()
assert came == sent, len(came)
print("the same")
"""
UDP_SERVER = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.settimeout(20)
server.bind(("10.219.0.1", 5001))
print("ready", flush=True)
data, address = server.recvfrom(65536)
print(address[0], data == b"x" * 31000)
"""
# One packet from an address of another node's, one that is no node's, and one as it should be.
UDP_CLIENT = """
import socket, struct
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for source in ("10.219.0.5", "192.0.2.1"):
    packet = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0, socket.inet_aton(source),
                         socket.inet_aton("10.219.0.1")) + struct.pack("!HHHH", 5001, 5001, 14, 0) + b"forged"
    raw.sendto(packet, ("10.219.0.1", 0))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x" * 31000, ("10.219.0.1", 5001))
"""


@pytest.fixture(name="nodes", scope="module")
def nodes_fixture():
    """run(node, program): a Python program in that node's network."""
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun") or \
            subprocess.run(["unshare", "--net", "true"], check=False).returncode:
        pytest.skip("needs root, /dev/net/tun and namespaces")
    with daemons.Scifd() as scifd:
        started = [scifd.start_program(path, ["unshare", "--net", SCIFNET, "--node", str(node)])
                   for node, path in enumerate((scifd.host, scifd.card))]

        def inside(node, *command):
            return ["nsenter", "-t", str(started[node].pid), "--net", *command]

        def has_address(node):
            shown = subprocess.run(inside(node, "ip", "-o", "addr", "show", "scif0"), capture_output=True, text=True,
                                   check=False)
            return f"{ADDRESSES[node]}/" in shown.stdout

        try:
            for node in range(2):
                daemons.wait_until(lambda node=node: has_address(node), 20, f"node {node} has its address")
            yield lambda node, text: subprocess.Popen(inside(node, "/usr/bin/python3", "-c", text), text=True,
                                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        finally:
            for process in started:
                process.kill()
                process.wait()


def exchange(nodes, server_node, server_text, client_text):
    """What server and client print."""
    server = nodes(server_node, server_text)
    try:
        assert server.stdout.readline() == "ready\n"
        client = nodes(1 - server_node, client_text)
        said, _ = client.communicate(timeout=60)
        assert client.returncode == 0, said
        told, _ = server.communicate(timeout=60)
        assert server.returncode == 0, told
        return told, said
    finally:
        server.kill()
        server.wait()


def test_tcp_both_ways(nodes):
    assert exchange(nodes, 1, TCP_SERVER, TCP_CLIENT)[1] == "the same\n"


def test_forged_sources_do_not_arrive(nodes):
    """A node speaks for its own address alone; what it sends after that, nearly as long as may be, comes."""
    assert exchange(nodes, 0, UDP_SERVER, UDP_CLIENT)[0] == "10.219.0.2 True\n"


@pytest.mark.parametrize("option, said", [("--node=70000", "expected a number below"), ("--node=x", "expected a number"),
                                          ("--prefix=10.0.0.1", "expected an address"),
                                          ("--prefix=here", "expected an address")])
def test_bad_options_are_refused(option, said):
    done = subprocess.run([SCIFNET, option], capture_output=True, text=True, check=False)
    assert done.returncode == 64 and said in done.stderr

# SPDX-License-Identifier: Apache-2.0
"""A client, a node and a server in a row, for tests and benches that need sustained traffic through a node's rules."""

import array
import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from kproxy.dataplanes.contract import Applied, Dataplane
from kproxy.lab.host import Host, join
from kproxy.lab.namespaces import inside
from kproxy.table.routing_table import Changes

PORT: Final = 8080  # where the server answers, on every address of 10.128.0.0/9
_SOURCES: Final = tuple(f"172.20.0.{host}" for host in range(2, 66))  # the client's addresses
_PORTS: Final = array.array("H", range(1024, 65_536))
_BACKLOG: Final = 65_535  # a server that has to wait for a processor loses no connection


def _file_of_ports() -> int:
    """Return a file that every process reads on from where the last one, itself or another over fork, has stopped.

    A lock would stay shut for ever when a test kills the process that has it.
    """
    file = os.memfd_create("ports")
    os.write(file, _PORTS.tobytes())
    os.lseek(file, 0, os.SEEK_SET)
    return file


_ports: Final = _file_of_ports()


class Bed:
    """client - node - server, one after another; the server answers on every endpoint's address."""

    def __init__(self) -> None:
        self.client, self.node, self.server = Host("client"), Host("node"), Host("server")
        join(self.client, "eth0", self.node, "c0")
        join(self.server, "eth0", self.node, "s0")
        self.client.ip(*(f"addr add {source}/24 dev eth0" for source in _SOURCES), "route add default via 172.20.0.1")
        self.node.ip(
            "addr add 172.20.0.1/24 dev c0", "addr add 172.21.0.1/24 dev s0", "route add 10.128.0.0/9 via 172.21.0.2"
        )
        self.server.ip(
            "addr add 172.21.0.2/24 dev eth0", "route add default via 172.21.0.1", "route add local 10.128.0.0/9 dev lo"
        )
        for host in (self.client, self.node, self.server):
            host.sysctl("net/ipv4/tcp_congestion_control=reno")  # kernels that default to BBR distort every ratio
        self.client.sysctl("net/ipv4/ip_local_port_range=1024 65000")
        self.client.sysctl("net/ipv4/tcp_tw_reuse=1")
        self.server.sysctl(f"net/core/somaxconn={_BACKLOG}")

    def close(self) -> None:
        """Let go of the namespaces."""
        for host in (self.client, self.node, self.server):
            host.close()

    def commit(self, dataplane: Dataplane, changes: Changes) -> None:
        """Put a table into the node's kernel."""
        with inside(self.node.namespace):
            applied = dataplane.commit(dataplane.compile(dataplane.read_back(), changes))
        assert isinstance(applied, Applied), applied


def client_sockets() -> Iterator[socket.socket]:
    """Yield sockets for ever that dial each from an address and port that no other one had, in any process, for long.

    The kernel would choose the same ports again within seconds, and IPVS drops a SYN whose predecessor was reset.
    """
    while True:
        if not (taken := os.read(_ports, _PORTS.itemsize)):
            os.lseek(_ports, 0, os.SEEK_SET)
            continue
        port = int.from_bytes(taken, sys.byteorder)
        for source in _SOURCES:
            client = socket.socket()
            with contextlib.suppress(OSError):  # somebody else has it
                client.bind((source, port))
                yield client


class Clashes:
    """SYNs that conntrack has dropped on the node: ``more()`` since the last call, or since it was made.

    Two flows that are masqueraded on two processors may choose the same port at the same moment; the second one's first
    packet is dropped (``insert_failed``). One dial in a million is, whoever wrote the rules, and waits for a second.
    """

    def __init__(self, bed: Bed) -> None:
        self._node = bed.node
        self._seen = self._count()

    def more(self) -> int:
        """Return how many."""
        before, self._seen = self._seen, self._count()
        return self._seen - before

    def _count(self) -> int:
        with inside(self._node.namespace):
            heads, *processors = Path("/proc/thread-self/net/stat/nf_conntrack").read_text().splitlines()
        which = heads.split().index("insert_failed")
        return sum(int(line.split()[which], 16) for line in processors)


@contextlib.contextmanager
def child(host: Host, work: Callable[[], None]) -> Iterator[None]:
    """Run a function in a child process inside a host for a while."""
    pid = os.fork()
    if not pid:
        try:
            with inside(host.namespace):
                work()
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@contextlib.contextmanager
def serving(bed: Bed, work: Callable[[], None] | None = None) -> Iterator[None]:
    """Have the server accept, or do other work of that kind, for a while; it listens before the first dial."""
    with child(bed.server, work or accept_forever):
        deadline = time.monotonic() + 10
        while True:
            with inside(bed.server.namespace), socket.socket() as dial:
                if not dial.connect_ex(("127.0.0.1", PORT)):
                    break
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.01)
        yield


def reset_when_closed(connection: socket.socket) -> None:
    """Have closing it reset it, so that it does not linger."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def accept_forever() -> None:
    """Accept on every address and reset at once, so that no connection lingers."""
    server = socket.create_server(("0.0.0.0", PORT), backlog=_BACKLOG)
    while True:
        connection, _ = server.accept()
        reset_when_closed(connection)
        connection.close()


def echo_forever(welcome: Callable[[socket.socket], None] = reset_when_closed) -> None:
    """Accept on every address, welcome each client, and send back whatever comes."""
    server = socket.create_server(("0.0.0.0", PORT), backlog=_BACKLOG)
    server.setblocking(False)
    known = selectors.DefaultSelector()
    known.register(server, selectors.EVENT_READ)
    while True:
        for key, _ in known.select():
            if key.fileobj is server:
                connection, _ = server.accept()
                known.register(connection, selectors.EVENT_READ)
                with contextlib.suppress(OSError):  # who hangs up at once
                    welcome(connection)
                continue
            assert isinstance(key.fileobj, socket.socket)
            try:
                data = key.fileobj.recv(65_536)
                key.fileobj.sendall(data)
            except OSError:
                data = b""
            if not data:
                known.unregister(key.fileobj)
                key.fileobj.close()

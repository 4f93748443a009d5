# SPDX-License-Identifier: Apache-2.0
"""A client, a node and a server in a row, for tests and benches that need sustained traffic through a node's rules."""

import contextlib
import itertools
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Final

from kproxy.dataplanes.contract import Applied, Dataplane
from kproxy.lab.host import Host, join
from kproxy.lab.namespaces import inside
from kproxy.table.routing_table import Changes

PORT: Final = 8080  # where the server answers, on every address of 10.128.0.0/9
_SOURCES: Final = tuple(f"172.20.0.{host}" for host in range(2, 66))  # the client's addresses
_BIND_ADDRESS_NO_PORT: Final = 24  # IP_BIND_ADDRESS_NO_PORT of linux/in.h: the port is chosen when the socket connects
_BACKLOG: Final = 65_535  # a server that has to wait for a processor loses no connection


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
    """Yield sockets for ever that dial from one after another of the client's addresses.

    Whoever dials much from one address soon dials from a port that conntrack remembers. One such SYN in a million finds its
    predecessor half gone, and conntrack drops it (``insert_failed`` of its statistics), whatever the rules are.
    """
    for source in itertools.cycle(_SOURCES):
        client = socket.socket()
        client.setsockopt(socket.SOL_IP, _BIND_ADDRESS_NO_PORT, 1)
        client.bind((source, 0))
        yield client


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


def accept_forever() -> None:
    """Accept on every address and reset at once, so that no connection lingers."""
    server = socket.create_server(("0.0.0.0", PORT), backlog=_BACKLOG)
    while True:
        connection, _ = server.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

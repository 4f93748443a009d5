# SPDX-License-Identifier: Apache-2.0
"""Pods: servers that say who they are and whom they saw. All live in one event loop; only their sockets are apart."""

import asyncio
import contextlib
import socket
from typing import Final

from kproxy.lab.host import Host
from kproxy.lab.topology import Node, plug_pod

_BACKLOG: Final = 4096


class Pod:
    """A Pod on a node, answering ``name client-address`` to every connection and datagram on its ports."""

    def __init__(self, name: str, node: Node, labels: dict[str, str]) -> None:
        self.name = name
        self.node = node
        self.labels = labels
        self.addresses = node.next_addresses()
        self.host = Host(name)
        plug_pod(node, self.host, self.addresses)
        self._tasks: list[asyncio.Task[None]] = []
        self._datagrams: list[socket.socket] = []

    def serve(self, protocol: str, port: int) -> None:
        """Open a port, both families on one socket."""
        kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
        server = self.host.socket(socket.AF_INET6, kind)
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if protocol == "UDP":
            # Answers must leave from the dialled address; a Pod has one a family, so the kernel chooses right.
            server.bind(("::", port))
            self._datagrams.append(server)
            asyncio.get_running_loop().add_reader(server, self._echo, server)
            return
        server.bind(("::", port))
        server.listen(_BACKLOG)
        self._tasks.append(asyncio.create_task(self._accept(server), name=f"{self.name}:{port}"))

    def _echo(self, server: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                _, client = server.recvfrom(2048)
                server.sendto(self._answer(client[0]), client)

    def _answer(self, client: str) -> bytes:
        return f"{self.name} {client.removeprefix('::ffff:')}\n".encode()

    async def _accept(self, server: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                connection, client = await loop.sock_accept(server)
                with contextlib.suppress(OSError):
                    connection.send(self._answer(client[0]))  # a fresh socket's buffer always has room for one line
                connection.close()
        finally:
            server.close()

    async def close(self) -> None:
        """Stop serving and let go of the namespace."""
        for server in self._datagrams:
            asyncio.get_running_loop().remove_reader(server)
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.host.close()

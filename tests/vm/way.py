# SPDX-License-Identifier: Apache-2.0
"""A client, a node with IPVS and a host that is every server, in a row; and packets that tell which server they met.

The client may have any address of 172.20.0.0/16. The node takes every address of 10.96.0.0/15 for its own; packets to
10.97.0.0/16 get a mark. The servers are all addresses of 10.128.0.0/9.
"""

import itertools
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from kproxy.kernel.ipvs import Ipvs
from kproxy.kernel.ipvs_values import Operation, RealServer, VirtualServer
from kproxy.kernel.nft import Nft
from kproxy.lab.host import Host, join
from kproxy.lab.namespaces import inside

PORT: Final = 8080  # the servers'
MARK: Final = 7
CLIENT: Final = "172.20.0.2"
_MARKED: Final = f"""
table ip marks {{
  chain prerouting {{
    type filter hook prerouting priority mangle
    ip daddr 10.97.0.0/16 meta mark set {MARK}
  }}
}}
"""
_AT_ONCE: Final = 64  # datagrams on the way; more might not fit a queue
_PACKET_INFO: Final = 8  # IP_PKTINFO
_PATIENCE: Final = 5.0  # seconds for what is on the way: emulated machines are slow


class Datagram(msgspec.Struct, frozen=True):
    """A datagram to be sent."""

    source: str
    source_port: int
    destination: str
    port: int = 80


class Way:
    """The three hosts, and the door to IPVS in the middle one."""

    def __init__(self) -> None:
        self.client, self.node, self.server = Host("client"), Host("node"), Host("server")
        join(self.client, "eth0", self.node, "c0")
        join(self.server, "eth0", self.node, "s0")
        self.client.ip(f"addr add {CLIENT}/16 dev eth0", "route add default via 172.20.0.1")
        self.node.ip(
            "addr add 172.20.0.1/16 dev c0",
            "addr add 172.21.0.1/24 dev s0",
            "route add local 10.96.0.0/15 dev lo",
            "route add 10.128.0.0/9 via 172.21.0.2",
        )
        self.server.ip(
            "addr add 172.21.0.2/24 dev eth0", "route add default via 172.21.0.1", "route add local 10.128.0.0/9 dev lo"
        )
        with inside(self.node.namespace):
            Nft().apply(_MARKED)
            self.ipvs = Ipvs()
        self._raw = self.open(self.client, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._datagrams = self.open(self.server, socket.SOCK_DGRAM)
        self._datagrams.setsockopt(socket.IPPROTO_IP, _PACKET_INFO, 1)
        self._datagrams.bind(("0.0.0.0", PORT))
        self._listener = self.open(self.server, socket.SOCK_STREAM)
        self._listener.bind(("0.0.0.0", PORT))
        self._listener.listen(1024)

    def close(self) -> None:
        """Let go of everything."""
        for each in (self._raw, self._datagrams, self._listener):
            each.close()
        for host in (self.client, self.node, self.server):
            host.close()

    def open(self, host: Host, kind: int, protocol: int = 0) -> socket.socket:
        """Open an IPv4 socket inside a host; whoever waits at it, waits for a while only."""
        with inside(host.namespace):
            opened = socket.socket(socket.AF_INET, kind, protocol)
        opened.settimeout(_PATIENCE)
        return opened

    @contextmanager
    def service(self, server: VirtualServer, reals: Sequence[RealServer]) -> Iterator[None]:
        """Have a virtual server for a while."""
        added = [Operation.add_server(server), *(Operation.add_real(server.key, real) for real in reals)]
        assert self.ipvs.apply(added) == []
        try:
            yield
        finally:
            assert self.ipvs.apply([Operation.delete_server(server.key)]) == []

    def send(self, datagrams: Sequence[Datagram]) -> list[str]:
        """Send datagrams, one after the other, and return the address of the server each has met."""
        met: dict[int, str] = {}
        numbered = iter(enumerate(datagrams))
        while some := list(itertools.islice(numbered, _AT_ONCE)):
            for number, datagram in some:
                self._raw.sendto(_packet(datagram, number), (datagram.destination, 0))
            for _ in some:
                number, address = self._receive()
                met[number] = address
        return [met[number] for number in range(len(datagrams))]

    def _receive(self) -> tuple[int, str]:
        content, ancillary, _, _ = self._datagrams.recvmsg(64, 256)
        for level, kind, data in ancillary:
            if (level, kind) == (socket.IPPROTO_IP, _PACKET_INFO):
                return int.from_bytes(content, "big"), socket.inet_ntoa(data[8:12])
        raise AssertionError("the kernel does not tell where a datagram went")

    def dial(self, destination: str, port: int = 80) -> "Connection":
        """Open a TCP connection, established on both sides."""
        dialled = self.open(self.client, socket.SOCK_STREAM)
        dialled.connect((destination, port))
        accepted, _ = self._listener.accept()
        return Connection(dialled, accepted, str(accepted.getsockname()[0]))


class Connection:
    """A TCP connection and the address of the server it has met."""

    def __init__(self, dialled: socket.socket, accepted: socket.socket, server: str) -> None:
        self.dialled, self.accepted, self.server = dialled, accepted, server

    def close(self) -> None:
        """Reset it: IPVS no longer counts it as established then."""
        self.dialled.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.dialled.close()
        self.accepted.close()


def _packet(datagram: Datagram, number: int) -> bytes:
    """Return a whole IPv4 packet; the kernel fills in its length and checksum, UDP has none."""
    content = number.to_bytes(4, "big")
    udp = struct.pack("!HHHH", datagram.source_port, datagram.port, 8 + len(content), 0) + content
    addresses = socket.inet_aton(datagram.source) + socket.inet_aton(datagram.destination)
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses + udp

# SPDX-License-Identifier: Apache-2.0
"""A network namespace that plays the node under test, with everything around it in our hands.

Its interfaces are TUN devices: what we write enters the node as if a pod or an outside host had sent it, what the node sends
out we read. What it delivers to itself we see by raw sockets, which the kernel serves *after* the input hook and after
translation. So each packet's fate is observed where it happens, and no server, no ARP and no other process takes part.

A write to a TUN device is forwarded before it returns; a *sentinel* that takes the same way and is no business of anybody's
proves it, so silence is known without waiting for it.
"""

import contextlib
import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from kproxy.lab.namespaces import ip, private
from kproxy.table.addresses import family_of
from kproxy.table.errors import KernelError, Unsupported
from kproxy.table.terms import Family, Protocol
from tests.conformance.packets.wire import ICMP, NUMBERS, Kind, Packet, build, parse, parse_payload

TUNSETIFF: Final = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
IPV6_RECVPKTINFO, IPV6_PKTINFO = 49, 50
LOCAL: Final = ""  # where the node's own packets come from and what it keeps ends up
PATIENCE = 5.0  # seconds until a lost sentinel is an error: far beyond any scheduling delay
SENTINELS: Final = {Family.IPV4: ("198.18.0.2", "198.18.0.1"), Family.IPV6: ("2001:2::2", "2001:2::1")}
LOOPBACKS: Final = {Family.IPV4: "127.0.0.1", Family.IPV6: "::1"}
SYSCTLS: Final = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv4/icmp_ratemask": "0",  # every refusal is answered, however many there are
    "ipv6/conf/all/forwarding": "1",
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/icmp/ratemask": "",
}


class Sighting(msgspec.Struct, frozen=True):
    """A packet, and the interface it left by; ``LOCAL`` when the node kept it."""

    packet: Packet
    where: str


def _tun(name: str) -> int:
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Unsupported(f"/dev/net/tun cannot be opened ({error.strerror}): load the module tun") from error
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return descriptor


def _family_number(family: Family) -> int:
    return socket.AF_INET if family is Family.IPV4 else socket.AF_INET6


class Node:
    """The node. Make it with :func:`playing_node`, which enters its namespace."""

    def __init__(self, addresses: Sequence[str], behind: Mapping[str, Iterable[str]], uplink: str) -> None:
        self.addresses = tuple(addresses)
        self.sent = 0
        self._token = 0
        self._used: set[tuple[str, Family]] = set()
        self._write_sysctls()
        self._tuns = {name: _tun(name) for name in dict.fromkeys((*behind, uplink))}
        self._set_up(behind, uplink)
        self._senders = {
            family: socket.socket(_family_number(family), socket.SOCK_RAW, socket.IPPROTO_RAW) for family in Family
        }
        self._receivers = [
            (family, number, self._receiver(family, number))
            for family in Family
            for number in (*NUMBERS.values(), ICMP[family])
        ]
        self.listeners: list[socket.socket] = []
        self._sockets: list[socket.socket] = []

    @staticmethod
    def _write_sysctls() -> None:
        for name, value in SYSCTLS.items():
            with contextlib.suppress(FileNotFoundError):
                Path("/proc/sys/net", name).write_text(f"{value}\n", encoding="ascii")

    def _set_up(self, behind: Mapping[str, Iterable[str]], uplink: str) -> None:
        lines = ["link set lo up"]
        for name in self._tuns:
            lines += [f"link set {name} addrgenmode none txqueuelen 4096", f"link set {name} up"]
        lines += [f"addr add {address}/{_length(address)} dev {uplink}{_nodad(address)}" for address in self.addresses]
        lines += [f"route add {everywhere} dev {uplink}" for everywhere in ("0.0.0.0/0", "::/0")]
        lines += [
            f"route replace {address}/{_length(address)} dev {name}"
            for name, hosts in behind.items()
            for address in dict.fromkeys(hosts)
        ]
        ip(lines)

    @staticmethod
    def _receiver(family: Family, number: int) -> socket.socket:
        receiver = socket.socket(_family_number(family), socket.SOCK_RAW, number)
        receiver.setblocking(False)
        if family is Family.IPV6:
            receiver.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        return receiver

    def close(self) -> None:
        """Give back every descriptor."""
        for descriptor in self._tuns.values():
            os.close(descriptor)
        for sock in (*self._senders.values(), *(receiver for _, _, receiver in self._receivers), *self._sockets):
            sock.close()

    def token(self) -> int:
        """Return a number that no packet of this node has carried."""
        self._token += 1
        return self._token << 8 | 0x5A

    def listen(self, address: str, port: int) -> None:
        """Serve TCP on an address of the node: a host-network endpoint; UDP and SCTP are answered by hand.

        Somebody is there for UDP too, or else the kernel would refuse it.
        """
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            listener = socket.socket(_family_number(family_of(address)), kind | socket.SOCK_NONBLOCK)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            self._sockets.append(listener)
            if kind is socket.SOCK_STREAM:
                listener.listen(1024)
                self.listeners.append(listener)

    def own(self, address: str) -> None:
        """Give the node one more address, on loopback: a load balancer's that is bound here."""
        ip([f"addr replace {address}/{_length(address)} dev lo{_nodad(address)}"])

    def send(self, packet: Packet, where: str) -> None:
        """Have a packet enter by an interface, or made by the node itself (``LOCAL``)."""
        data = build(packet)
        self.sent += 1
        self._used.add((where, packet.family))
        if where:
            os.write(self._tuns[where], data)
            return
        with contextlib.suppress(PermissionError):  # how the output hook tells a local sender of reject and drop
            self._senders[packet.family].sendto(data, (packet.destination, 0))

    def settle(self) -> list[Sighting]:
        """Return everything seen since the last call, after a sentinel has followed on every way that was taken."""
        awaited = {self._sentinel(where, family) for where, family in self._used}
        self._used.clear()
        seen: list[Sighting] = []
        deadline = time.monotonic() + PATIENCE
        while True:
            for sighting in self.drain():
                if sighting.packet.token in awaited:
                    awaited.discard(sighting.packet.token)
                else:
                    seen.append(sighting)
            if not awaited:
                return [*seen, *self.drain()]
            if time.monotonic() > deadline:
                raise KernelError("a packet that is no Service's business did not pass the node; its chains drop too much")
            self.wait(0.5)

    def wait(self, seconds: float) -> None:
        """Wait until something may have come, or so long."""
        descriptors = [*self._tuns.values(), *(receiver.fileno() for _, _, receiver in self._receivers)]
        select.select(descriptors, [], [], seconds)

    def _sentinel(self, where: str, family: Family) -> int:
        source, destination = SENTINELS[family] if where else (LOOPBACKS[family], LOOPBACKS[family])
        packet = Packet(Kind.FIRST, Protocol.UDP, source, 9, destination, 9, self.token())
        if where:
            os.write(self._tuns[where], build(packet))
        else:
            self._senders[family].sendto(build(packet), (destination, 0))
        return packet.token

    def drain(self) -> Iterator[Sighting]:
        """Yield what has come meanwhile."""
        for name, descriptor in self._tuns.items():
            with contextlib.suppress(BlockingIOError):
                while True:
                    packet = parse(os.read(descriptor, 2048))
                    if packet:
                        yield Sighting(packet, name)
        for family, number, receiver in self._receivers:
            with contextlib.suppress(BlockingIOError):
                while True:
                    packet = _receive(receiver, family, number)
                    if packet:
                        yield Sighting(packet, LOCAL)


def _receive(receiver: socket.socket, family: Family, number: int) -> Packet | None:
    """Read one packet from a raw socket: with its header for IPv4, put together from ancillary data for IPv6."""
    data, ancillary, _, sender = receiver.recvmsg(2048, 64)
    if family is Family.IPV4:
        return parse(data)
    for level, type_, value in ancillary:
        if (level, type_) == (socket.IPPROTO_IPV6, IPV6_PKTINFO):
            return parse_payload(number, sender[0].partition("%")[0], socket.inet_ntop(socket.AF_INET6, value[:16]), data)
    return None


def _length(address: str) -> int:
    return 128 if ":" in address else 32


def _nodad(address: str) -> str:
    return " nodad" if ":" in address else ""


@contextlib.contextmanager
def playing_node(addresses: Sequence[str], behind: Mapping[str, Iterable[str]], uplink: str) -> Iterator[Node]:
    """Play a node with these addresses (on ``uplink``, which also has the default routes) for the length of a block.

    ``behind`` maps the names of further interfaces to the addresses of the pods behind them.
    """
    with private():
        node = Node(addresses, behind, uplink)
        try:
            yield node
        finally:
            node.close()

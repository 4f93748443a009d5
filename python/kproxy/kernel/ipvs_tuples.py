# SPDX-License-Identifier: Apache-2.0
"""IPVS's values as the tuples that ``_core`` takes and gives. Defaults of ours become the kernel's, and back."""

from collections.abc import Sequence
from typing import Final, TypeAlias

from kproxy.kernel.ipvs_values import (
    LONGEST_PREFIX,
    Forwarding,
    Held,
    HeldReal,
    Operation,
    RealServer,
    ServerKey,
    Statistics,
    VirtualServer,
)
from kproxy.table.terms import Family, Protocol

Key: TypeAlias = tuple[int, int, str, int, int]  # family, protocol (0: by mark), address, port, mark
Server: TypeAlias = tuple[str, int, int, int, str]  # scheduler, flags, seconds of persistence, prefix, engine
Real: TypeAlias = tuple[str, int, int, int, int, int]  # address, port, weight, forwarding, upper, lower
ReadServer: TypeAlias = tuple[Key, Server, list[int]]  # with statistics
ReadReal: TypeAlias = tuple[Real, list[int], list[int]]  # with its connections (established, others, templates), statistics
Change: TypeAlias = tuple[int, Key, Server | None, Real | None]

FAMILY_NUMBERS: Final = {Family.IPV4: 2, Family.IPV6: 10}  # AF_INET, AF_INET6
_FAMILIES: Final = {number: family for family, number in FAMILY_NUMBERS.items()}
_PROTOCOL_NUMBERS: Final = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}
_PROTOCOLS: Final = {number: protocol for protocol, number in _PROTOCOL_NUMBERS.items()}
_ONE_PACKET: Final = 2  # bits of a server's flags; bit 0 says that it is persistent, bit 1 is the kernel's own
_SCHEDULER_FLAGS: Final = 3


def key_tuple(key: ServerKey) -> Key:
    """Return a virtual server's name."""
    protocol = 0 if key.protocol is None else _PROTOCOL_NUMBERS[key.protocol]
    return (FAMILY_NUMBERS[key.family], protocol, key.address, key.port, key.mark)


def change_tuple(operation: Operation) -> Change:
    """Return an operation."""
    server, real = operation.server, operation.real
    return (
        operation.command,
        key_tuple(operation.key),
        None if server is None else server_tuple(server),
        None if real is None else (real.address, real.port, real.weight, real.forwarding, real.upper, real.lower),
    )


def server_tuple(server: VirtualServer) -> Server:
    """Return what a virtual server is, without its name."""
    flags = (server.persistence > 0) | server.one_packet << _ONE_PACKET | server.scheduler_flags << _SCHEDULER_FLAGS
    return (server.scheduler, flags, server.persistence, server.prefix or LONGEST_PREFIX[server.key.family], server.engine)


def read_server(held: ReadServer, reals: Sequence[ReadReal]) -> Held | None:
    """Return a virtual server; None for one of a protocol that no Service has."""
    (number, protocol, address, port, mark), (scheduler, flags, seconds, prefix, engine), statistics = held
    if protocol and protocol not in _PROTOCOLS:
        return None
    family = _FAMILIES[number]
    key = ServerKey(family, _PROTOCOLS.get(protocol), address, port, mark)
    persistent = flags & 1
    server = VirtualServer(
        key,
        scheduler,
        seconds if persistent else 0,
        prefix if persistent and prefix != LONGEST_PREFIX[family] else 0,
        bool(flags >> _ONE_PACKET & 1),
        flags >> _SCHEDULER_FLAGS & 7,
        engine,
    )
    return Held(server, tuple(map(read_real, reals)), Statistics(*statistics))


def read_real(held: ReadReal) -> HeldReal:
    """Return a real server."""
    (address, port, weight, forwarding, upper, lower), (active, inactive, persistent), statistics = held
    real = RealServer(address, port, weight, Forwarding(forwarding), upper, lower)
    return HeldReal(real, active, inactive, persistent, Statistics(*statistics))

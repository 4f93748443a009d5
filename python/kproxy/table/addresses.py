# SPDX-License-Identifier: Apache-2.0
"""Canonical text of addresses and prefixes.

Old API objects may hold IPv4 addresses with leading zeros; they are read as decimal, as the API server once did. Nothing
that is not canonical may reach a kernel tool.
"""

import functools
import ipaddress
import socket
from typing import TypeAlias

from kproxy.table.terms import Family

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def _decimal(text: str) -> str:
    """Drop leading zeros of dotted-decimal octets (the IPv4 tail of an IPv6 address too)."""
    head, colon, tail = text.rpartition(":")
    if "." not in tail:
        return text
    octets = [octet.lstrip("0") or "0" if octet.isascii() and octet.isdigit() else octet for octet in tail.split(".")]
    return head + colon + ".".join(octets)


@functools.lru_cache(maxsize=1 << 16)
def parse_address(text: str) -> Address:
    """Read an address leniently. Raises ValueError when it is none (zone identifiers are refused)."""
    address = ipaddress.ip_address(_decimal(text))
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f"{text!r} carries a zone, which no Service address can")
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
    return address


@functools.lru_cache(maxsize=1 << 14)
def parse_network(text: str) -> Network:
    """Read a prefix leniently; host bits are masked off. Raises ValueError when it is none."""
    address, slash, length = text.partition("/")
    if not slash:
        raise ValueError(f"{text!r} is not a CIDR: the prefix length is missing")
    if "%" in address:
        raise ValueError(f"{text!r} carries a zone, which no prefix can")
    if not (length.isascii() and length.isdigit()):
        raise ValueError(f"{text!r} is not a CIDR: {length!r} is not a prefix length")  # a netmask is not one either
    return ipaddress.ip_network(f"{_decimal(address)}/{length}", strict=False)


def canonical_address(text: str) -> str:
    """Return an address as its one canonical text: the same object where it is canonical already.

    The C library's reading is strict and takes 0.1 µs, which counts at 250,000 endpoints; what it refuses, or writes in
    another way than Python does, goes the lenient way. Raises ValueError when it is no address.
    """
    try:
        if ":" not in text:
            socket.inet_pton(socket.AF_INET, text)
            return text
        if "." not in text:
            canonical = socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, text))
            if "." not in canonical:
                return text if canonical == text else canonical
    except OSError:
        pass
    return str(parse_address(text))


def family_of(address: str) -> Family:
    """Tell the family of canonical address or prefix text."""
    return Family.IPV6 if ":" in address else Family.IPV4


def join_port(address: str, port: int) -> str:
    """Join address and port as text: ``10.0.0.1:80`` or ``[fd00::1]:80``."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def contains(networks: tuple[str, ...], address: str) -> bool:
    """Tell whether any of the prefixes holds the address."""
    parsed = parse_address(address)
    return any(parsed.version == network.version and parsed in network for network in map(parse_network, networks))


def is_loopback(address: str) -> bool:
    """Tell whether the address is in 127.0.0.0/8 or is ::1."""
    return parse_address(address).is_loopback

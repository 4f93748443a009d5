# SPDX-License-Identifier: Apache-2.0
"""Elements of nftables' sets and maps, in both their forms.

Inside a dataplane an element is what the kernel compares: register bytes, each field of a concatenation padded to four.
``Codec`` turns values into those bytes, ``Schema`` knows a set's fields, prints bytes as ``nft`` text and declares the set.
Printing is for people and for the text path; nothing on the steady path does it.
"""

import ipaddress
import socket
import struct
from collections.abc import Iterator
from typing import Final, TypeAlias

import msgspec

from kproxy.table.frontend import Frontend
from kproxy.table.terms import Family, FrontendKind, Protocol

Key: TypeAlias = bytes
Data: TypeAlias = bytes | None  # None: the element of a set

PROTOCOLS: Final = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}
_PROTOCOL_BYTES: Final = {protocol: bytes((number, 0, 0, 0)) for protocol, number in PROTOCOLS.items()}
_PROTOCOL_OF: Final = {number: protocol for protocol, number in PROTOCOLS.items()}
_PROTOCOL_TEXT: Final = {number: protocol.lower() for protocol, number in PROTOCOLS.items()}
_ID: Final = struct.Struct("=I")  # meta priority and numgen leave host byte order in the register


class Codec:
    """Values to register bytes, for one family."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self._family = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
        self.width = 4 if family is Family.IPV4 else 16  # of an address, in bytes

    def address(self, text: str) -> bytes:
        """Encode an address. Raises OSError when the text is none of this family."""
        return socket.inet_pton(self._family, text)

    def frontend(self, frontend: Frontend) -> Key:
        """Encode a frontend's key: address, protocol, port; a NodePort's without the address."""
        port = _PROTOCOL_BYTES[frontend.protocol] + frontend.port.to_bytes(2, "big") + b"\0\0"
        return port if frontend.kind is FrontendKind.NODE_PORT else self.address(frontend.address) + port

    def place(self, key: Key) -> tuple[Protocol, str, int]:
        """Decode the key of a frontend that has an address: protocol, address, port."""
        address = socket.inet_ntop(self._family, key[: self.width])
        protocol = _PROTOCOL_OF[key[self.width]]
        return protocol, address, int.from_bytes(key[self.width + 4 : self.width + 6], "big")

    def endpoint(self, address: str, port: int) -> bytes:
        """Encode what an endpoint id leads to."""
        return self.address(address) + port.to_bytes(2, "big") + b"\0\0"

    def endpoint_of(self, key: str) -> bytes:
        """Encode what an ``Endpoint.key`` names."""
        address, _, port = key.rpartition(":")
        return self.endpoint(address.strip("[]"), int(port))

    def traffic(self, protocol: Protocol, key: str) -> Key:
        """Encode what a translated packet of an ``Endpoint.key`` is known by."""
        endpoint = self.endpoint_of(key)
        return endpoint[:-4] + _PROTOCOL_BYTES[protocol] + endpoint[-4:]

    def endpoint_text(self, data: bytes) -> str:
        """Decode what ``endpoint`` encoded, as ``Endpoint.key`` writes it."""
        address = socket.inet_ntop(self._family, data[:-4])
        port = int.from_bytes(data[-4:-2], "big")
        return f"{address}:{port}" if self.family is Family.IPV4 else f"[{address}]:{port}"

    def interval(self, prefix: str) -> tuple[bytes, bytes]:
        """Encode the first and last address of a prefix."""
        network = ipaddress.ip_network(prefix)
        return network[0].packed, network[-1].packed

    def hairpin(self, address: str) -> Key:
        """Encode an address as its own client."""
        return self.address(address) * 2


def number(value: int) -> bytes:
    """Encode a set id, an endpoint id, a shape or a code."""
    return _ID.pack(value)


def read_number(data: bytes) -> int:
    """Decode what ``number`` encoded."""
    value: int = _ID.unpack(data)[0]
    return value


def number_text(value: int) -> str:
    """Print a number as the traffic class it is declared as."""
    return f"{value >> 16:x}:{value & 0xFFFF:x}"


class Field(msgspec.Struct, frozen=True):
    """One part of a key or of data: the expression that yields it, its width in bytes, its type where that has a name."""

    expression: str
    width: int
    type: str = ""

    def text(self, data: bytes) -> str:
        """Print the field's bytes as nft reads and writes them."""
        if self.expression.endswith("addr"):
            return socket.inet_ntop(socket.AF_INET if self.width == 4 else socket.AF_INET6, data[: self.width])
        if self.expression == "meta l4proto":
            return _PROTOCOL_TEXT.get(data[0], str(data[0]))
        if self.expression == "th dport":
            return str(int.from_bytes(data[:2], "big"))
        value = read_number(data[:4])
        return number_text(value) if self.expression == "meta priority" else str(value)


PROTOCOL: Final = Field("meta l4proto", 1, "inet_proto")
PORT: Final = Field("th dport", 2, "inet_service")
ID: Final = Field("meta priority", 4, "classid")  # declared as a traffic class: that is what the scratch register is to nft


def addresses(family: Family) -> tuple[Field, Field]:
    """Return a packet's source and destination address as fields."""
    ip, width, kind = ("ip", 4, "ipv4_addr") if family is Family.IPV4 else ("ip6", 16, "ipv6_addr")
    return Field(f"{ip} saddr", width, kind), Field(f"{ip} daddr", width, kind)


class Schema(msgspec.Struct, frozen=True):
    """One set (``data`` is None) or map: its fields and flags."""

    name: str
    key: tuple[Field, ...]
    data: tuple[Field, ...] | None = None
    verdict: bool = False
    counter: bool = False
    interval: bool = False  # of the key's last field
    dynamic_size: int = 0

    @property
    def noun(self) -> str:
        """Return ``map`` or ``set``."""
        return "map" if self.data is not None or self.verdict else "set"

    @property
    def declaration(self) -> str:
        """Return the body of the declaration, lines joined by newlines."""
        value = ": verdict" if self.verdict else f": {_typeof(self.data)}" if self.data is not None else ""
        if all(field.type for field in (*self.key, *(self.data or ()))):
            value = f": {_types(self.data)}" if self.data is not None else value
            lines = [f"type {_types(self.key)} {value}".rstrip()]
        else:
            lines = [f"typeof {_typeof(self.key)} {value}".rstrip()]
        if self.dynamic_size:
            lines += [f"size {self.dynamic_size}", "flags dynamic,timeout"]
        if self.interval:
            lines.append("flags interval")
        if self.counter:
            lines.append("counter")
        return "\n".join(f"\t\t{line}" for line in lines)

    def key_text(self, key: Key, key_end: Key | None = None) -> str:
        """Print a key; with ``key_end`` its last field as a prefix or range."""
        parts = [field.text(data) for field, data in _split(self.key, key)]
        if key_end is not None:
            parts[-1] = _range_text(parts[-1], [field.text(data) for field, data in _split(self.key, key_end)][-1])
        return " . ".join(parts)

    def data_text(self, data: bytes) -> str:
        """Print the value of a map's element."""
        return " . ".join(field.text(part) for field, part in _split(self.data or (), data))

    def element_text(self, key: Key, data: Data, key_end: Key | None = None) -> str:
        """Print an element."""
        text = self.key_text(key, key_end)
        return text if data is None else f"{text} : {self.data_text(data)}"


def _typeof(fields: tuple[Field, ...]) -> str:
    return " . ".join(field.expression for field in fields)


def _types(fields: tuple[Field, ...]) -> str:
    return " . ".join(field.type for field in fields)


def _split(fields: tuple[Field, ...], data: bytes) -> Iterator[tuple[Field, bytes]]:
    offset = 0
    for field in fields:
        yield field, data[offset : offset + field.width]
        offset += (field.width + 3) & ~3


def _range_text(first: str, last: str) -> str:
    networks = list(ipaddress.summarize_address_range(ipaddress.ip_address(first), ipaddress.ip_address(last)))
    return str(networks[0]) if len(networks) == 1 else f"{first}-{last}"

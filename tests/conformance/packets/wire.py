# SPDX-License-Identifier: Apache-2.0
"""Packets as bytes: the first packet of a connection, its answer, and what a refusal looks like.

Every first packet carries a *token* that survives translation and comes back in answers and in ICMP quotes: TCP's sequence
number, the first bytes of a UDP datagram, SCTP's initiate tag. So hundreds of connections may be under way at once and each
packet that turns up is still known. Where a proxy ends connections and opens its own, only what TCP carries comes through:
``SAID`` and ``ECHO`` have the token as their payload.
"""

import enum
import functools
import ipaddress
import struct
from typing import Final

import msgspec

from kproxy.table.terms import Family, Protocol

NUMBERS: Final = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}
PROTOCOLS: Final = {number: protocol for protocol, number in NUMBERS.items()}
ICMP: Final = {Family.IPV4: 1, Family.IPV6: 58}

SYN, RST, PSH, ACK = 0x02, 0x04, 0x08, 0x10
INIT, INIT_ACK, ABORT = 1, 2, 6
ASK, ANSWER = b"ask!", b"yes!"
ANSWER_SEQUENCE: Final = 0x1234


class Kind(enum.Enum):
    """What a packet says."""

    FIRST = "first"  # SYN, datagram, INIT
    ANSWER = "answer"  # SYN-ACK, datagram back, INIT-ACK
    RESET = "reset"  # TCP RST in reply to a SYN
    REFUSED = "refused"  # ICMP: port unreachable, or administratively prohibited
    UNROUTED = "unrouted"  # ICMP: any other destination unreachable; means that the test's own routes are wrong
    SAID = "said"  # TCP payload of a client
    ECHO = "echo"  # and what an endpoint says to it
    CUT = "cut"  # TCP RST in the midst of a connection


CONNECTED: Final = frozenset({Kind.ANSWER, Kind.SAID, Kind.ECHO})  # kinds by which TCP's numbers are known


class Packet(msgspec.Struct, frozen=True):
    """One packet. For the two ICMP kinds the addresses and ports are those of the packet it quotes.

    ``sequence`` and ``acknowledged`` are those of TCP, once a connection is there.
    """

    kind: Kind
    protocol: Protocol
    source: str
    source_port: int
    destination: str
    destination_port: int
    token: int
    sequence: int = 0
    acknowledged: int = 0

    @property
    def family(self) -> Family:
        """Tell the family of the addresses."""
        return Family.IPV6 if ":" in self.destination else Family.IPV4

    def reply(self) -> "Packet":
        """Return the answer that the addressed server would give."""
        return Packet(
            Kind.ANSWER,
            self.protocol,
            self.destination,
            self.destination_port,
            self.source,
            self.source_port,
            self.token,
        )


def _crc32c_table() -> tuple[int, ...]:
    """Return the byte table of CRC32c (Castagnoli, reflected 0x82F63B78), as RFC 9260 appendix A wants it."""
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC32C: Final = _crc32c_table()


def crc32c(data: bytes) -> int:
    """Return SCTP's checksum of a whole SCTP packet whose checksum field is zero."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC32C[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def internet_checksum(data: bytes) -> int:
    """Return the ones' complement sum of RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@functools.lru_cache(maxsize=4096)
def packed(address: str) -> bytes:
    """Return an address as network bytes."""
    return ipaddress.ip_address(address).packed


@functools.lru_cache(maxsize=4096)
def _text(address: bytes) -> str:
    return str(ipaddress.ip_address(address))


def _segment(packet: Packet) -> tuple[int, int, int, bytes]:
    """Return a TCP packet's numbers, flags and payload. An answer acknowledges token + 1 and has a number of its own."""
    match packet.kind:
        case Kind.FIRST:
            return packet.token, 0, SYN, b""
        case Kind.SAID | Kind.ECHO:
            payload = struct.pack("!I", packet.token) + (ASK if packet.kind is Kind.SAID else ANSWER)
            return packet.sequence, packet.acknowledged, PSH | ACK, payload
        case Kind.CUT:
            return packet.sequence, packet.acknowledged, RST | ACK, b""
        case _:
            return ANSWER_SEQUENCE, packet.token + 1 & 0xFFFFFFFF, SYN | ACK, b""


def _transport(packet: Packet) -> bytes:
    """Build what follows the IP header, its checksum still zero (SCTP: already right)."""
    ports = struct.pack("!HH", packet.source_port, packet.destination_port)
    first = packet.kind is Kind.FIRST
    match packet.protocol:
        case Protocol.TCP:
            sequence, acknowledged, flags, payload = _segment(packet)  # window 64240, no options
            return ports + struct.pack("!IIBBHHH", sequence, acknowledged, 5 << 4, flags, 64240, 0, 0) + payload
        case Protocol.UDP:
            payload = struct.pack("!I", packet.token) + (ASK if first else ANSWER)
            return ports + struct.pack("!HH", 8 + len(payload), 0) + payload
        case Protocol.SCTP:
            # tag, a_rwnd, streams out and in, first TSN; an answer also needs a state cookie to be whole
            chunk, tag, mine, cookie = (
                (INIT, 0, packet.token, b"") if first else (INIT_ACK, packet.token, 0x5678, b"\0\x07\0\x08yes!")
            )
            body = struct.pack("!IIHHI", mine, 65535, 1, 1, 1) + cookie
            whole = ports + struct.pack("!II", tag, 0) + struct.pack("!BBH", chunk, 0, 4 + len(body)) + body
            return whole[:8] + struct.pack("<I", crc32c(whole)) + whole[12:]


def build(packet: Packet) -> bytes:
    """Build a first packet or an answer, from the IP header on, all checksums right."""
    source, destination = packed(packet.source), packed(packet.destination)
    number = NUMBERS[packet.protocol]
    payload = _transport(packet)
    if packet.protocol is not Protocol.SCTP:
        offset = 16 if packet.protocol is Protocol.TCP else 6
        pseudo = source + destination + struct.pack("!II", len(payload), number)
        checksum = internet_checksum(pseudo + payload) or 0xFFFF
        payload = payload[:offset] + struct.pack("!H", checksum) + payload[offset + 2 :]
    if packet.family is Family.IPV6:
        return struct.pack("!IHBB", 6 << 28, len(payload), number, 64) + source + destination + payload
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, number, 0) + source + destination
    return header[:10] + struct.pack("!H", internet_checksum(header)) + header[12:] + payload


def parse(data: bytes) -> Packet | None:
    """Read a packet from its IP header on. None: nothing this suite has sent, nor a reaction to it."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        number, source, destination, payload = data[9], data[12:16], data[16:20], data[(data[0] & 0xF) * 4 :]
    elif version == 6 and len(data) >= 40:
        number, source, destination, payload = data[6], data[8:24], data[24:40], data[40:]
    else:
        return None
    return parse_payload(number, _text(source), _text(destination), payload)


def parse_payload(number: int, source: str, destination: str, payload: bytes) -> Packet | None:
    """Read what follows an IP header whose fields are already known."""
    if number in ICMP.values():
        return _unreachable(number, payload)
    protocol = PROTOCOLS.get(number)
    if protocol is None or len(payload) < 8:
        return None
    source_port, destination_port = struct.unpack_from("!HH", payload)
    said = {Protocol.TCP: _tcp, Protocol.UDP: _udp, Protocol.SCTP: _sctp}[protocol](payload)
    if said is None:
        return None
    kind, token = said
    numbers = struct.unpack_from("!II", payload, 4) if protocol is Protocol.TCP and kind in CONNECTED else (0, 0)
    return Packet(kind, protocol, source, source_port, destination, destination_port, token, *numbers)


def _tcp(payload: bytes) -> tuple[Kind, int] | None:
    (sequence,) = struct.unpack_from("!I", payload, 4)
    if len(payload) < 14:
        return Kind.FIRST, sequence  # an ICMP quote of the least length
    (acknowledged,) = struct.unpack_from("!I", payload, 8)
    flags = payload[13] & (SYN | RST | ACK)
    if flags == SYN:
        return Kind.FIRST, sequence
    if flags == SYN | ACK:
        return Kind.ANSWER, acknowledged - 1 & 0xFFFFFFFF
    if flags == RST | ACK:
        return Kind.RESET, acknowledged - 1 & 0xFFFFFFFF
    said = payload[(payload[12] >> 4) * 4 :]
    if flags == ACK and len(said) == 8 and said[4:] in (ASK, ANSWER):
        return (Kind.SAID if said[4:] == ASK else Kind.ECHO), int.from_bytes(said[:4], "big")
    return None


def _udp(payload: bytes) -> tuple[Kind, int] | None:
    if len(payload) < 16 or payload[12:16] not in (ASK, ANSWER):
        return None
    (token,) = struct.unpack_from("!I", payload, 8)
    return (Kind.FIRST if payload[12:16] == ASK else Kind.ANSWER), token


def _sctp(payload: bytes) -> tuple[Kind, int] | None:
    if len(payload) < 20:
        return None
    tag, chunk, initiate = struct.unpack_from("!I", payload, 4)[0], payload[12], struct.unpack_from("!I", payload, 16)[0]
    if chunk == INIT:
        return Kind.FIRST, initiate
    if chunk == INIT_ACK:
        return Kind.ANSWER, tag
    return None


def _unreachable(number: int, payload: bytes) -> Packet | None:
    """Read a destination unreachable and the packet it quotes."""
    if len(payload) < 8:
        return None
    type_, code = payload[0], payload[1]
    if (number, type_) not in ((ICMP[Family.IPV4], 3), (ICMP[Family.IPV6], 1)):
        return None
    quoted = parse(payload[8:])
    if quoted is None:
        return None
    refusals = (3, 9, 10, 13) if number == ICMP[Family.IPV4] else (1, 4)
    return msgspec.structs.replace(quoted, kind=Kind.REFUSED if code in refusals else Kind.UNROUTED)

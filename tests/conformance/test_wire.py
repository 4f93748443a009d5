# SPDX-License-Identifier: Apache-2.0
"""The bytes that the packet suite sends are what they claim to be."""

import struct

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kproxy.table.terms import Family, Protocol
from tests.conformance.packets.wire import ANSWER_SEQUENCE, Kind, Packet, build, crc32c, internet_checksum, packed, parse

ports = st.integers(1, 65535)
tokens = st.integers(1, 2**32 - 1)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    """Draw a first packet of any protocol and family."""
    addresses = st.ip_addresses(v=draw(st.sampled_from([4, 6]))).map(str)
    kind, protocol = draw(st.sampled_from([Kind.FIRST, Kind.ANSWER])), draw(st.sampled_from(list(Protocol)))
    return Packet(kind, protocol, draw(addresses), draw(ports), draw(addresses), draw(ports), draw(tokens))


@given(packets())
def test_what_is_built_is_read_back(packet: Packet) -> None:
    """Every packet reads back as what it was built from; a TCP answer has numbers of its own."""
    if packet.protocol is Protocol.TCP and packet.kind is Kind.ANSWER:
        packet = msgspec.structs.replace(packet, sequence=ANSWER_SEQUENCE, acknowledged=packet.token + 1 & 0xFFFFFFFF)

    assert parse(build(packet)) == packet


@given(packets(), st.sampled_from([Kind.SAID, Kind.ECHO]), tokens, tokens)
def test_what_is_said_is_read_back(packet: Packet, kind: Kind, sequence: int, acknowledged: int) -> None:
    """What goes through a TCP connection is known by its token, whatever the connection's numbers are."""
    said = msgspec.structs.replace(packet, kind=kind, protocol=Protocol.TCP, sequence=sequence, acknowledged=acknowledged)

    assert parse(build(said)) == said


@given(packets())
def test_checksums_are_right(packet: Packet) -> None:
    """The kernel drops a packet whose checksum is wrong before any rule sees it."""
    data = build(packet)
    header = 20 if packet.family is Family.IPV4 else 40
    if packet.family is Family.IPV4:
        assert internet_checksum(data[:20]) == 0
    payload = data[header:]
    if packet.protocol is Protocol.SCTP:
        assert struct.unpack_from("<I", payload, 8)[0] == crc32c(payload[:8] + bytes(4) + payload[12:])
        return
    number = {Protocol.TCP: 6, Protocol.UDP: 17}[packet.protocol]
    pseudo = packed(packet.source) + packed(packet.destination) + struct.pack("!II", len(payload), number)
    assert internet_checksum(pseudo + payload) in (0, 0xFFFF)


def test_crc32c_check_value() -> None:
    """The check value of RFC 3720 appendix B.4 and of every catalogue of checksums."""
    assert crc32c(b"123456789") == 0xE3069283


@given(packets(), st.sampled_from([(3, Kind.REFUSED), (0, Kind.UNROUTED), (13, Kind.REFUSED)]))
def test_refusals_are_read_by_what_they_quote(packet: Packet, said: tuple[int, Kind]) -> None:
    """An ICMP destination unreachable is known by the packet it quotes, and by its code."""
    code, kind = said
    first = msgspec.structs.replace(packet, kind=Kind.FIRST)
    family = first.family
    if family is Family.IPV6:
        code = {3: 4, 0: 0, 13: 1}[code]
    icmp = bytes([3 if family is Family.IPV4 else 1, code, 0, 0, 0, 0, 0, 0]) + build(first)
    carrier = build(msgspec.structs.replace(first, protocol=Protocol.UDP))
    header = bytearray(carrier[: 20 if family is Family.IPV4 else 40])
    header[9 if family is Family.IPV4 else 6] = 1 if family is Family.IPV4 else 58
    assert parse(bytes(header) + icmp) == msgspec.structs.replace(first, kind=kind)


@given(st.binary(max_size=120))
def test_noise_is_not_taken_for_ours(noise: bytes) -> None:
    """Whatever else a node sends, reading it never fails."""
    parse(noise)

# SPDX-License-Identifier: Apache-2.0
"""An element's two forms say the same."""

import subprocess
from collections.abc import Iterator

import pytest

from kproxy import _core
from kproxy.dataplanes.nftables import layout
from kproxy.dataplanes.nftables.elements import read_slot, schemas, slot
from kproxy.dataplanes.nftables.layout import WORDS, Kind, Options
from kproxy.dataplanes.nftables.structure import declarations
from kproxy.kernel.nfnl import NUMBERS
from kproxy.kernel.nft_elements import Codec, number, read_number
from kproxy.lab.namespaces import private
from kproxy.table.frontend import Frontend
from kproxy.table.terms import Family, FrontendKind, Protocol

ADDRESSES = {Family.IPV4: "10.96.0.1", Family.IPV6: "fd00:96::1"}
PREFIXES = {Family.IPV4: "192.0.2.0/24", Family.IPV6: "2001:db8::/64"}

Example = tuple[str, bytes, bytes | None, bytes | None]


def _frontend(family: Family, kind: FrontendKind, protocol: Protocol) -> Frontend:
    return Frontend(kind, protocol, "" if kind is FrontendKind.NODE_PORT else ADDRESSES[family], 8443)


def examples(family: Family) -> Iterator[Example]:
    """Yield an element for each set that elements are ever written to: set, key, data, last key."""
    codec = Codec(family)
    for protocol in Protocol:
        service = codec.frontend(_frontend(family, FrontendKind.CLUSTER_IP, protocol))
        nodeport = codec.frontend(_frontend(family, FrontendKind.NODE_PORT, protocol))
        for kind, key in ((Kind.SERVICE, service), (Kind.NODEPORT, nodeport)):
            yield kind.shapes, key, number(0x0720_8001), None
            yield kind.sets, key, number(2), None
            yield kind.locals, key, number(7), None
        yield layout.GUARDED, service, None, None
        first, last = codec.interval(PREFIXES[family])
        yield layout.ALLOWED, service + first, None, service + last
    yield layout.SLOTS, slot(2, 300), number(0x8000_0001), None
    yield layout.ENDPOINTS, number(0x8000_0001), codec.endpoint(ADDRESSES[family], 53), None
    yield layout.CLUSTER_IPS, codec.address(ADDRESSES[family]), None, None
    yield layout.NODEPORT_ADDRESSES, codec.address(ADDRESSES[family]), None, None
    yield layout.HAIRPIN, codec.hairpin(ADDRESSES[family]), None, None


@pytest.mark.packets
@pytest.mark.parametrize("family", list(Family))
def test_text_and_bytes_are_the_same_to_the_kernel(family: Family) -> None:
    """What is added as text by nft is found by its bytes, with the same data."""
    known = schemas(family, Options())
    table = f"{WORDS[family].ip} {layout.TABLE}"
    with private():
        lines = list(declarations(table, known))
        lines += [
            f"add element {table} {name} {{ {known[name].element_text(key, data, end)} }}"
            for name, key, data, end in examples(family)
        ]
        subprocess.run(["nft", "-f", "-"], input="\n".join(lines) + "\n", text=True, check=True)
        door = _core.NftSocket()
        for name in {name for name, *_ in examples(family)}:
            held = {(key, data, end) for key, end, data, *_ in door.dump(NUMBERS[family], layout.TABLE, name)}
            assert held == {(key, data, end) for each, key, data, end in examples(family) if each == name}


def test_numbers_and_slots_read_back() -> None:
    """Encoding and decoding are inverse."""
    assert read_number(number(0x8000_0001)) == 0x8000_0001
    assert read_slot(slot(0xFFFE, 65_535)) == (0xFFFE, 65_535)


@pytest.mark.parametrize("key", ["10.0.0.1:8080", "[fd00::1]:8080"])
def test_endpoints_are_printed_as_their_keys(key: str) -> None:
    """The kernel's bytes are an endpoint's identity again."""
    codec = Codec(Family.IPV6 if key.startswith("[") else Family.IPV4)

    assert codec.endpoint_text(codec.endpoint_of(key)) == key


def test_a_prefix_prints_as_one_and_a_range_as_a_range() -> None:
    """Source ranges are prefixes always; somebody else's range is shown as what it is."""
    codec = Codec(Family.IPV4)
    schema = schemas(Family.IPV4, Options())[layout.ALLOWED]
    name = codec.frontend(_frontend(Family.IPV4, FrontendKind.CLUSTER_IP, Protocol.TCP))
    ends = codec.address("10.0.0.1"), codec.address("10.0.0.6")

    assert schema.key_text(name + ends[0], name + ends[1]) == "10.96.0.1 . tcp . 8443 . 10.0.0.1-10.0.0.6"

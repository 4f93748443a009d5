# SPDX-License-Identifier: Apache-2.0
"""Addresses have one canonical text, however fast it is found."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.table.addresses import canonical_address, contains, parse_address, parse_network

texts = st.one_of(
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map(lambda address: address.exploded),
    st.ip_addresses(v=4).map(lambda address: ".".join(f"{octet:03d}" for octet in address.packed)),
    st.ip_addresses(v=4).map(lambda address: f"::{address}"),
    st.ip_addresses(v=4).map(lambda address: f"64:ff9b::{address}"),
)


@given(texts)
def test_the_fast_way_and_the_lenient_way_agree(text: str) -> None:
    """Canonical text is what Python's own reading writes."""
    assert canonical_address(text) == str(parse_address(text))


@given(st.ip_addresses().filter(lambda address: getattr(address, "ipv4_mapped", None) is None))
def test_canonical_text_is_kept_as_the_same_object(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Text that is canonical already costs no new string."""
    text = str(address)

    assert canonical_address(text) is text or ":" in text
    assert canonical_address(canonical_address(text)) == text


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.256", "10.0.0.1/8", "fe80::1%eth0", "web", "1.2.3.4.5", "::g"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """Neither names, prefixes nor zones pass for addresses."""
    with pytest.raises(ValueError, match=r"."):
        canonical_address(text)


def test_mapped_addresses_are_ipv4() -> None:
    """An IPv4 address in IPv6's clothes is one IPv4 address."""
    assert canonical_address("::ffff:10.0.0.1") == canonical_address("::ffff:a00:1") == "10.0.0.1"


def test_a_prefix_needs_its_length() -> None:
    """An address alone is no range; host bits are masked off, leading zeros read as decimal."""
    with pytest.raises(ValueError, match="prefix length is missing"):
        parse_network("10.0.0.1")
    assert str(parse_network("10.1.2.003/016")) == "10.1.0.0/16"
    assert contains(("10.0.0.0/8", "fd00::/8"), "fd00::1")
    assert not contains((), "10.0.0.1")

# SPDX-License-Identifier: Apache-2.0
"""Source ranges become disjoint prefixes that hold the same addresses."""

import ipaddress
import itertools

from hypothesis import given
from hypothesis import strategies as st

from kproxy.routing.source_ranges import allowed_sources, with_node
from kproxy.table.addresses import contains
from kproxy.table.frontend import Sources
from kproxy.table.terms import Family

prefixes = st.builds(
    lambda last, length: f"10.0.{last >> 8}.{last & 255}/{length}", st.integers(0, 0x3FF), st.integers(20, 32)
)


@given(st.lists(prefixes, min_size=1, max_size=8), st.integers(0, 0x3FF))
def test_merging_changes_nobodys_access(entries: list[str], last: int) -> None:
    """Whoever one of the ranges holds is let in, and nobody else; the prefixes are sorted and disjoint."""
    address = f"10.0.{last >> 8}.{last & 255}"
    sources = allowed_sources(entries, Family.IPV4, [])
    assert sources is not None

    held = any(ipaddress.ip_address(address) in ipaddress.ip_network(entry, strict=False) for entry in entries)
    assert contains(sources.ranges, address) == held
    networks = [ipaddress.IPv4Network(text) for text in sources.ranges]
    assert networks == sorted(networks)
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(networks))


def test_families_are_told_apart_and_closed() -> None:
    """Each family has its own ranges; the one that is not named lets nobody in; without any there is no filter."""
    entries = [" 10.0.0.0/8", "203.0.113.000/025", "10.1.0.0/16", ""]

    assert allowed_sources(entries, Family.IPV4, []) == Sources(("10.0.0.0/8", "203.0.113.0/25"))
    assert allowed_sources(entries, Family.IPV6, []) == Sources(())
    assert allowed_sources([], Family.IPV4, []) is None
    assert allowed_sources(None, Family.IPV4, []) is None
    assert allowed_sources(["  "], Family.IPV4, []) is None


def test_a_filter_of_wrong_ranges_only_is_closed() -> None:
    """Somebody asked for a filter and mistyped it: open would be worse than closed."""
    complaints: list[str] = []

    assert allowed_sources(["10.0.0.0/33"], Family.IPV4, complaints) == Sources(())
    assert len(complaints) == 1


def test_the_address_itself_is_let_in_with_the_node() -> None:
    """Only where a range holds the node's own address, and only once that is known."""
    ranges = Sources(("192.168.0.0/24",))

    assert with_node(ranges, "192.168.0.2").itself
    assert not with_node(ranges, "10.0.0.1").itself
    assert not with_node(ranges, "").itself

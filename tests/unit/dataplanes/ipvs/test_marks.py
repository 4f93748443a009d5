# SPDX-License-Identifier: Apache-2.0
"""Marks by which IPVS knows a virtual server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.dataplanes.ipvs.marks import LAST_NUMBER, Mark, Marks
from kproxy.table.terms import EndpointSet

places = st.tuples(st.integers(0, 31), st.integers(0, 31)).filter(lambda pair: pair[0] != pair[1])
marks = st.builds(Mark, st.integers(1, LAST_NUMBER), st.sampled_from(EndpointSet), st.booleans(), st.booleans())


@given(places, marks)
def test_a_mark_says_what_was_put_into_it(bits: tuple[int, int], mark: Mark) -> None:
    """Wherever the two configured bits are, the rest keeps out of their way, and a taken mark reads the same."""
    how = Marks(*bits)
    packed = how.pack(mark)

    assert how.unpack(packed) == how.unpack(packed | how.take) == mark
    assert packed < 1 << 32
    assert not packed & how.take
    assert bool(packed & how.masquerade) is mark.masquerade
    assert bool(packed & how.node) is mark.masquerade_node
    assert packed & how.shape == how.prefix
    assert not packed & 0x30000 & ~how.masquerade


@given(places, marks, marks)
def test_different_marks_differ(bits: tuple[int, int], one: Mark, other: Mark) -> None:
    """No two virtual servers share a mark."""
    how = Marks(*bits)

    assert (one == other) is (how.pack(one) == how.pack(other))


@pytest.mark.parametrize("value", [0, 0x4000, 0x10000, 0x40000, 0x44000, 0x20000, 0x8000, 0x200, 0xFFFFFFFF])
def test_marks_of_others_are_not_ours(value: int) -> None:
    """What kube-proxy, CNI plugins and our own bits set alone is never taken for a virtual server's mark."""
    assert Marks(14, 18).unpack(value) is None

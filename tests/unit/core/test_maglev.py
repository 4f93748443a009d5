# SPDX-License-Identifier: Apache-2.0
"""Maglev tables as Python gets them."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy._core import Maglev, maglev, maglev_size

WEIGHTS = st.lists(st.integers(0, 100), min_size=1, max_size=20)


def names(count: int) -> list[bytes]:
    """Return so many endpoints."""
    return [f"10.0.{each >> 8}.{each & 255}:8080".encode() for each in range(count)]


@given(WEIGHTS)
def test_every_slot_is_filled_and_shares_follow_the_weights(weights: list[int]) -> None:
    """Each endpoint has the slots its weight deserves; the last, unfinished round shifts at most one slot an endpoint."""
    slots = Counter(maglev(names(len(weights)), weights, b"seed"))
    total = sum(weights)

    if not total:
        assert not slots
        return
    size = slots.total()
    assert size == maglev_size(sum(weight > 0 for weight in weights))
    assert all(abs(slots[each] - size * weight / total) <= len(weights) for each, weight in enumerate(weights))


@given(st.permutations(range(12)))
def test_the_order_of_endpoints_does_not_matter(order: list[int]) -> None:
    """Two nodes that learn of the endpoints in different order agree on every slot."""
    endpoints = names(12)
    shuffled = [endpoints[each] for each in order]

    assert [shuffled[slot] for slot in maglev(shuffled, [1] * 12, b"seed")] == [
        endpoints[slot] for slot in maglev(endpoints, [1] * 12, b"seed")
    ]


def test_a_table_picks_from_its_slots() -> None:
    """The same hash always leads to the same endpoint, and hashes spread as the slots do."""
    table = Maglev(names(3), [1, 1, 2], b"seed", 1021)

    assert len(table) == len(table.slots()) == 1021
    assert (table.pick(0), table.pick(2**64 - 1)) == (table.slots()[0], table.slots()[-1])
    assert [round(each / 10_000) for each in table.spread(40_000)] == [1, 1, 2]
    assert table.slots() == maglev(names(3), [1, 1, 2], b"seed", 1021)


def test_nobody_to_pick() -> None:
    """Without usable endpoints there is an empty table, and no error."""
    assert maglev([], [], b"seed") == []
    assert maglev(names(2), [0, 0], b"seed") == []
    assert Maglev(names(2), [0, 0], b"seed").pick(7) is None


@pytest.mark.parametrize(
    ("weights", "size", "words"),
    [([1], 0, "2 endpoints cannot have 1 weights"), ([1, 1], 1000, "must be a prime"), ([1, 1], 1, "must be a prime")],
)
def test_what_cannot_be_built_is_said(weights: list[int], size: int, words: str) -> None:
    """One clear sentence each."""
    with pytest.raises(ValueError, match=words):
        Maglev(names(2), weights, b"seed", size)

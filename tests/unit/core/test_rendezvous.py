# SPDX-License-Identifier: Apache-2.0
"""Rendezvous hashing as Python gets it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy._core import Rendezvous

NAMES = [f"10.0.0.{each}:8080".encode() for each in range(8)]
KEYS = range(0, 1 << 64, (1 << 64) // 499)


@given(st.lists(st.integers(0, 100), min_size=8, max_size=8), st.integers(0, 7))
def test_who_leaves_takes_no_other_client_along(weights: list[int], gone: int) -> None:
    """Only the clients of an endpoint that leaves get another one, whatever the weights."""
    whole = Rendezvous(NAMES, weights, b"seed")
    without = Rendezvous(NAMES, [0 if each == gone else weight for each, weight in enumerate(weights)], b"seed")

    for key in KEYS:
        assert without.pick(key) == whole.pick(key) or whole.pick(key) == gone


def test_spread_counts_the_picks() -> None:
    """Shares follow the weights, and an endpoint without weight has none."""
    counts = Rendezvous(NAMES[:3], [1, 0, 3], b"seed").spread(100_000)

    assert sum(counts) == 100_000
    assert counts[1] == 0
    assert 23_500 <= counts[0] <= 26_500


def test_nobody_is_picked_of_nobody() -> None:
    """Without an endpoint that has a weight there is no pick."""
    assert Rendezvous([], [], b"seed").pick(7) is None
    assert Rendezvous(NAMES[:2], [0, 0], b"seed").pick(7) is None


def test_weights_must_match_the_endpoints() -> None:
    """A weight too few is an error that says so."""
    with pytest.raises(ValueError, match="2 endpoints cannot have 1 weights"):
        Rendezvous(NAMES[:2], [1], b"seed")

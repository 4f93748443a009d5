# SPDX-License-Identifier: Apache-2.0
"""Slots: who stays keeps its place, and a change costs what it changes."""

import itertools
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.dataplanes.nftables.slots import Rearrangement, Slots, difference, rearrange, renumber, repeats
from kproxy.table.endpoint import Endpoint
from kproxy.table.terms import Family, Method
from tests.unit.dataplanes.tables import endpoint

_HOSTS = st.lists(st.integers(1, 150), unique=True, max_size=120)


def _set(hosts: list[int], weights: dict[int, int] | None = None) -> tuple[Endpoint, ...]:
    found = (endpoint(Family.IPV4, host, weight=(weights or {}).get(host, 1)) for host in hosts)
    return tuple(sorted(found, key=lambda each: each.key))


@given(_HOSTS, _HOSTS, st.integers(0, 150))
def test_a_difference_is_what_sets_would_say(before: list[int], after: list[int], touched: int) -> None:
    """Left, joined and changed, each once, whether few or many."""
    old = _set(before)
    new = tuple(msgspec.structs.replace(e, zone="z") if e.key.endswith(f".{touched}:8080") else e for e in _set(after))
    found = difference(old, new)

    assert {each.key for each in found.left} == {f"10.244.0.{host}:8080" for host in {*before} - {*after}}
    assert {each.key for each in found.joined} == {f"10.244.0.{host}:8080" for host in {*after} - {*before}}
    assert len(found.left) + len(found.joined) == len({*before} ^ {*after})
    assert [one.key for one, _ in found.changed] == [f"10.244.0.{touched}:8080"] * (touched in before and touched in after)


@given(_HOSTS, _HOSTS)
def test_equals_keep_their_slots_and_ids(before: list[int], after: list[int]) -> None:
    """Every endpoint has one slot; of those that stay only the ones at the end may move, into holes."""
    old = rearrange(Slots(), _set(before), difference((), _set(before)), Method.RANDOM, itertools.count(100)).slots
    step = rearrange(old, _set(after), difference(_set(before), _set(after)), Method.RANDOM, itertools.count(1000))
    new = step.slots

    assert Counter(new.keys) == Counter(f"10.244.0.{host}:8080" for host in after)
    assert new.ids.keys() == set(new.keys)
    assert all(new.ids[key] == old.ids[key] for key in new.ids.keys() & old.ids.keys())
    moved = [index for index, key in enumerate(new.keys) if key in old.ids and old.keys.index(key) != index]
    assert len(moved) <= max(0, len({*before} - {*after}) - len({*after} - {*before}))
    _replays(old, step)


def _replays(old: Slots, step: Rearrangement) -> None:
    """Apply a rearrangement's parts to the old slots: that must give the new ones."""
    held = {index: old.ids[key] for index, key in enumerate(old.keys) if key}
    for index, before, identifier in step.filled:
        assert held.get(index) == before
        held[index] = identifier
    for index, identifier in step.surplus:
        assert held.pop(index) == identifier
    new = step.slots
    assert held == {index: new.ids[key] for index, key in enumerate(new.keys) if key}


@given(_HOSTS, _HOSTS, st.sampled_from([Method.RANDOM, Method.MH]), st.dictionaries(st.integers(1, 150), st.integers(0, 9)))
def test_weights_and_hashes_replay_too(before: list[int], after: list[int], method: Method, weights: dict[int, int]) -> None:
    """Whatever the method, what is sent makes the slots what they shall be."""
    one, other = _set(before[:9]), _set(after[:9], weights)
    old = rearrange(Slots(), one, difference((), one), Method.RANDOM, itertools.count(100)).slots
    step = rearrange(old, other, difference(one, other), method, itertools.count(1000))

    assert set(step.slots.keys) == {each.key for each in other if each.weight}
    _replays(old, step)


def test_new_numbers_for_all() -> None:
    """Every slot is filled anew, every old id dies."""
    old = rearrange(Slots(), _set([1, 2]), difference((), _set([1, 2])), Method.RANDOM, itertools.count(100)).slots
    step = renumber(old, itertools.count(200))

    assert step.slots.keys == old.keys
    assert sorted(step.slots.ids.values()) == [200, 201]
    assert sorted(identifier for identifier, _ in step.dead) == [100, 101]
    _replays(old, step)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [([5, 10], [1, 2]), ([7], [1]), ([1, 100], [1, 100]), ([3, 3, 3], [1, 1, 1])],
)
def test_weights_are_reduced(weights: list[int], expected: list[int]) -> None:
    """By what they have in common."""
    assert repeats(weights) == expected


def test_many_weights_are_rounded_within_bounds() -> None:
    """A thousand endpoints of all weights take about four slots each, the lightest one."""
    weights = [1 + each % 100 for each in range(1000)]
    found = repeats(weights)

    assert sum(found) <= 4 * 1096
    assert min(found) == 1
    heavy, light = (sum(n for n, w in zip(found, weights, strict=True) if w == weight) for weight in (100, 50))
    assert heavy / light == pytest.approx(2, rel=0.15)

# SPDX-License-Identifier: Apache-2.0
"""Which endpoint stands in which slot of a set, and how few slots change when endpoints come and go.

A set of n equal endpoints has the slots 0..n-1, one each. Weights repeat an endpoint; the ``mh`` method takes the table
Maglev fills. Who stays keeps its slots; who comes takes the place of who leaves; else the last endpoint fills the hole.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from kproxy import _core
from kproxy.table.endpoint import Endpoint
from kproxy.table.terms import Method

WEIGHTED_SLOTS: Final = 4096  # at most so many for weights, or four an endpoint: a share is off by less than one slot
MAGLEV_SIZES: Final = (1021, 4093, 16381, 65521, 262_139, 1_048_573)  # primes: the first of at least 100 slots an endpoint

FEW: Final = 64  # changes of one set that are looked for one by one


class Slots(msgspec.Struct, frozen=True, gc=False):
    """A set as committed. ``keys``: the endpoint in each slot; ``ids``: each endpoint's id.

    ``weight`` is the one weight all endpoints share, 0 when they differ. A hole (None) is only ever read from a kernel that
    somebody else has touched.
    """

    keys: tuple[str | None, ...] = ()
    ids: dict[str, int] = {}
    weight: int = 0
    hashed: bool = False


class Difference(msgspec.Struct, frozen=True, gc=False):
    """Endpoints that left, came, and those whose facts changed (before, after)."""

    left: Sequence[Endpoint] = ()
    joined: Sequence[Endpoint] = ()
    changed: Sequence[tuple[Endpoint, Endpoint]] = ()

    def __bool__(self) -> bool:
        """Tell whether anything differs."""
        return bool(self.left or self.joined or self.changed)


SAME: Final = Difference()


def difference(before: tuple[Endpoint, ...], after: tuple[Endpoint, ...]) -> Difference:
    """Compare two sets ordered by key. What is equal is skipped at the speed of tuple comparison."""
    if before is after or not (before or after):
        return SAME
    if not before or not after:
        return Difference(before, after)
    left: list[Endpoint] = []
    joined: list[Endpoint] = []
    changed: list[tuple[Endpoint, Endpoint]] = []
    one = other = 0
    for _ in range(FEW):
        same = _common(before, one, after, other)
        one, other = one + same, other + same
        if one == len(before) or other == len(after):
            break
        old, new = before[one], after[other]
        one, other = one + (old.key <= new.key), other + (new.key <= old.key)
        if old.key == new.key:
            changed.append((old, new))
        elif old.key < new.key:
            left.append(old)
        else:
            joined.append(new)
    rest = {endpoint.key: endpoint for endpoint in before[one:]}
    for new in after[other:]:
        then = rest.pop(new.key, None)
        if then is None:
            joined.append(new)
        elif then != new:
            changed.append((then, new))
    left += rest.values()
    return Difference(left, joined, changed)


def _common(before: tuple[Endpoint, ...], one: int, after: tuple[Endpoint, ...], other: int) -> int:
    """Return how many endpoints are equal from two places on."""
    low, step, size = 0, 32, min(len(before) - one, len(after) - other)
    while low < size:
        high = min(low + step, size)
        if before[one + low : one + high] != after[other + low : other + high]:
            break
        low, step = high, step * 2
    else:
        return size
    while low < high - 1:  # the first that differs is in low..high
        middle = (low + high) // 2
        if before[one + low : one + middle] == after[other + low : other + middle]:
            low = middle
        else:
            high = middle
    return low


class Rearrangement(msgspec.Struct, frozen=True, gc=False):
    """From one ``Slots`` to the next, as the kernel has to learn it.

    ``born`` and ``dead``: endpoint ids that come and go, with the endpoint's key. ``filled``: slot, the id it held (None: it
    is new) and the id it gets. ``surplus``: slots that no count reaches any more, with the id they hold.
    """

    slots: Slots
    born: Sequence[tuple[int, str]] = ()
    filled: Sequence[tuple[int, int | None, int]] = ()
    surplus: Sequence[tuple[int, int]] = ()
    dead: Sequence[tuple[int, str]] = ()


def rearrange(
    old: Slots, after: tuple[Endpoint, ...], change: Difference, method: Method, fresh: Iterator[int]
) -> Rearrangement:
    """Work out the slots of a changed set. ``fresh`` yields endpoint ids never used before."""
    hashed = method is Method.MH
    if not old.keys and not hashed and len(weights := {endpoint.weight for endpoint in after}) == 1 and weights != {0}:
        return _fill([endpoint.key for endpoint in after], weights.pop(), fresh)
    if (
        old.weight
        and not (hashed or old.hashed or change.changed)
        and all(endpoint.weight == old.weight for endpoint in change.joined)
    ):
        return _exchange(old, [e.key for e in change.left], [e.key for e in change.joined], fresh)
    usable = [endpoint for endpoint in after if endpoint.weight > 0]
    weights = {endpoint.weight for endpoint in usable}
    keys = maglev_keys(usable) if hashed else _place(old.keys, usable, weights)
    present = {endpoint.key for endpoint in usable}
    left = [key for key in old.ids if key not in present]
    joined = [endpoint.key for endpoint in usable if endpoint.key not in old.ids]
    touched = [index for index, (then, now) in enumerate(itertools.zip_longest(old.keys[: len(keys)], keys)) if then != now]
    weight = weights.pop() if len(weights) == 1 and len(usable) == len(after) else 0
    return _conclude(Slots(tuple(keys), _renew(old.ids, left, joined, fresh), weight, hashed), old, touched, left, joined)


def _fill(keys: list[str], weight: int, fresh: Iterator[int]) -> Rearrangement:
    """Make a set of equals where there was none: every endpoint gets a slot and an id."""
    ids = dict(zip(keys, fresh, strict=False))
    born = [(identifier, key) for key, identifier in ids.items()]
    filled = [(index, None, identifier) for index, identifier in enumerate(ids.values())]
    return Rearrangement(Slots(tuple(keys), ids, weight), born, filled)


def renumber(old: Slots, fresh: Iterator[int]) -> Rearrangement:
    """Give every endpoint a new id, so that no client is bound to one any more."""
    ids = dict(zip(old.ids, fresh, strict=False))
    slots = Slots(old.keys, ids, old.weight, old.hashed)
    return _conclude(slots, old, range(len(old.keys)), list(old.ids), list(old.ids))


def _exchange(old: Slots, left: Sequence[str], joined: Sequence[str], fresh: Iterator[int]) -> Rearrangement:
    """Change a set of equals: newcomers fill holes, then the ends do; cost follows what left and joined."""
    keys: list[str | None] = list(old.keys)
    if len(left) > 8:
        places = {key: index for index, key in enumerate(keys)}
        holes = sorted(places[key] for key in left)
    else:
        holes = sorted(map(keys.index, left))
    for hole, key in zip(holes, joined, strict=False):
        keys[hole] = key
    touched = holes[: len(joined)]
    touched += range(len(keys), len(keys) + len(joined) - len(touched))
    keys += joined[len(holes) :]
    open_holes = holes[len(joined) :]
    size = len(keys) - len(open_holes)
    movers = (index for index in range(size, len(keys)) if index not in open_holes)
    for hole in open_holes:
        if hole < size:
            keys[hole] = keys[next(movers)]
            touched.append(hole)
    slots = Slots(tuple(keys[:size]), _renew(old.ids, left, joined, fresh), old.weight)
    return _conclude(slots, old, touched, left, joined)


def _renew(ids: dict[str, int], left: Sequence[str], joined: Sequence[str], fresh: Iterator[int]) -> dict[str, int]:
    renewed = dict(ids)
    for key in left:
        del renewed[key]
    renewed.update(zip(joined, fresh, strict=False))
    return renewed


def _conclude(slots: Slots, old: Slots, touched: Iterable[int], left: Sequence[str], joined: Sequence[str]) -> Rearrangement:
    keys, ids, before = slots.keys, slots.ids, old.keys
    return Rearrangement(
        slots,
        [(ids[key], key) for key in joined],
        [
            (index, old.ids[then] if index < len(before) and (then := before[index]) is not None else None, ids[now])
            for index in touched
            if (now := keys[index]) is not None
        ],
        [(index, old.ids[key]) for index, key in enumerate(before[len(keys) :], len(keys)) if key is not None],
        [(old.ids[key], key) for key in left],
    )


def _place(old: tuple[str | None, ...], usable: Sequence[Endpoint], weights: set[int]) -> list[str]:
    counts = Counter(
        {endpoint.key: 1 for endpoint in usable}
        if len(weights) < 2
        else dict(zip((endpoint.key for endpoint in usable), repeats([endpoint.weight for endpoint in usable]), strict=True))
    )
    placed: list[str | None] = []
    for key in old[: counts.total()]:
        if key is not None and counts[key] > 0:
            counts[key] -= 1
            placed.append(key)
        else:
            placed.append(None)
    missing = counts.elements()
    return [next(missing) if key is None else key for key in placed] + list(missing)


def repeats(weights: Sequence[int]) -> list[int]:
    """Return how many slots each weight gets: in exact proportion where that fits, else rounded, but at least one."""
    divisor = math.gcd(*weights)
    exact = [weight // divisor for weight in weights]
    total, bound = sum(exact), max(WEIGHTED_SLOTS, 4 * len(weights))
    if total <= bound:
        return exact
    return [max(1, round(share * bound / total)) for share in exact]


def maglev_keys(usable: Sequence[Endpoint]) -> list[str]:
    """Return the key in each slot of the Maglev table (NSDI '16, section 3.4), its size by the count of endpoints."""
    if not usable:
        return []
    size = next((size for size in MAGLEV_SIZES if size >= 100 * len(usable)), MAGLEV_SIZES[-1])
    names = [endpoint.key for endpoint in usable]
    table = _core.maglev([name.encode() for name in names], [endpoint.weight for endpoint in usable], b"", size)
    return [names[index] for index in table]

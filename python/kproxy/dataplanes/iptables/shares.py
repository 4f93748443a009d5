# SPDX-License-Identifier: Apache-2.0
"""Exact shares out of rules that are tried in order.

The first of n equal rules must take 1/n of all packets, the second 1/(n-1) of those it is left, the last the rest; with
weights, its weight out of what the remaining ones weigh together. The kernel draws 31 random bits.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

_ONE: Final = 1 << 31
FAN_OUT: Final = 16  # rules tried in order at most; beyond, a rule leads to a chain with a part of them


def matches(weights: Sequence[int]) -> Iterator[str]:
    """Yield the match of each rule; that of the last has no text."""
    rest = sum(weights)
    for weight in weights:
        yield probability(weight, rest) if weight < rest else ""
        rest -= weight


def probability(weight: int, total: int) -> str:
    """Return the match that lets a share of packets through, printed as iptables does."""
    return f" -m statistic --mode random --probability {round(weight * _ONE / total) / _ONE:.11f}"


def pieces(items: Sequence[T]) -> list[Sequence[T]]:
    """Split a long sequence into at most ``FAN_OUT`` pieces of nearly one length."""
    count = min(FAN_OUT, -(-len(items) // FAN_OUT))
    bounds = [len(items) * index // count for index in range(count + 1)]
    return [items[start:end] for start, end in itertools.pairwise(bounds)]

# SPDX-License-Identifier: Apache-2.0
"""Counters: new connections of frontends and endpoints, refused packets.

The rules count. A chain that is written anew would begin at zero, so its counts are read before and given to the rules that
come: to the same rule, else to one that counts the same. What then counts nothing any more is kept in memory.
"""

from collections import Counter
from collections.abc import Mapping

import msgspec

from kproxy.dataplanes.contract import Counters, Lock, Traffic
from kproxy.dataplanes.iptables.committed import Committed, Counted
from kproxy.dataplanes.iptables.layout import Chain, Reason
from kproxy.dataplanes.iptables.rules import ENDPOINT, FRONTEND, REFUSED, Chains, Count

_NOTHING = (0, 0)


class Carried(msgspec.Struct, frozen=True):
    """What the rules that come begin at, and what none of them counts."""

    begun: Counted
    left: Mapping[Count, int]


def carry(before: Chains, counted: Counted, after: Chains) -> Carried:
    """Share out what rules have counted that go, or are written anew."""
    left: dict[Count, tuple[int, int]] = {}
    by_text: dict[tuple[str, str], tuple[int, int]] = {}
    for chain, rules in before.items():
        for rule, counts in zip(rules, counted.get(chain, ()), strict=False):
            if counts[0]:
                by_text[chain[0], rule.text] = _sum(by_text.get((chain[0], rule.text), _NOTHING), counts)
                if rule.count:
                    left[rule.count] = _sum(left.get(rule.count, _NOTHING), counts)
    begun: dict[Chain, list[tuple[int, int]]] = {}
    for chain, rules in after.items():
        begun[chain] = [by_text.pop((chain[0], rule.text), _NOTHING) if rule.count else _NOTHING for rule in rules]
        for rule, counts in zip(rules, begun[chain], strict=True):
            if rule.count in left:
                left[rule.count] = (left[rule.count][0] - counts[0], left[rule.count][1] - counts[1])
    for chain, rules in after.items():
        for index, rule in enumerate(rules):
            if rule.count in left:
                begun[chain][index] = _sum(begun[chain][index], left.pop(rule.count))
    return Carried(
        {chain: tuple(counts) for chain, counts in begun.items()},
        {count: packets for count, (packets, _) in left.items() if packets},
    )


def _sum(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return (one[0] + other[0], one[1] + other[1])


class Totals:
    """The sums of what is counted and what was kept."""

    def __init__(self) -> None:
        self._kept: Counter[Count] = Counter()

    def keep(self, left: Mapping[Count, int]) -> None:
        """Keep what no rule counts any more."""
        self._kept.update(left)

    def of(self, committed: Committed, counted: Counted, lock: Lock) -> Counters:
        """Return what routes and reasons have counted."""
        if committed.state is None:
            return Counters({}, {}, {}, lock)
        totals = Counter(self._kept)
        for chain, counts in committed.counts.items():
            for count, (packets, _) in zip(counts, counted.get(chain, ()), strict=False):
                if count and packets:
                    totals[count] += packets
        frontends = {
            (key, str(frontend)): Traffic(totals[Count(FRONTEND, str(frontend), key)])
            for key, route in committed.state.routes.items()
            for frontend in route.frontends
        }
        endpoints = {
            (key, endpoint.key): Traffic(totals[Count(ENDPOINT, endpoint.key, key)])
            for key, route in committed.state.routes.items()
            for endpoint in (*route.all, *route.local)
        }
        return Counters(frontends, endpoints, {reason: totals[Count(REFUSED, reason)] for reason in Reason}, lock)

# SPDX-License-Identifier: Apache-2.0
"""The rules that choose an endpoint.

A short set without affinity stands in the leaf itself. Any other has a chain: with more than sixteen endpoints a chain of
chains, so that a choice takes tens of comparisons and not hundreds; with affinity, first a rule for each endpoint that asks
whether it had this client before.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from kproxy.dataplanes.iptables import shares
from kproxy.dataplanes.iptables.affinity import memory_of
from kproxy.dataplanes.iptables.layout import NAT, PREFIX, Chain, Options, hashed
from kproxy.dataplanes.iptables.rules import Match, Rule, translation
from kproxy.table.endpoint import Endpoint
from kproxy.table.route import Route
from kproxy.table.terms import EndpointSet

SHORT: Final = 8  # endpoints that stand in a leaf
_LETTERS: Final = {EndpointSet.ALL: "A", EndpointSet.LOCAL: "L"}


def usable(route: Route, which: EndpointSet) -> list[Endpoint]:
    """Return the endpoints of a set that take new connections."""
    return [endpoint for endpoint in route.endpoints(which) if endpoint.weight]


def is_short(route: Route, which: EndpointSet) -> bool:
    """Tell whether a set may stand in a leaf."""
    return not route.affinity and len(usable(route, which)) <= SHORT


def chain_of(route: Route, which: EndpointSet) -> Chain:
    """Return the chain that chooses from a set."""
    return (NAT, f"{PREFIX}{_LETTERS[which]}-{hashed(str(route.key))}")


def in_place(route: Route, which: EndpointSet, match: Match) -> Iterator[Rule]:
    """Yield the rules that choose from a short set."""
    endpoints = usable(route, which)
    for endpoint, share in zip(endpoints, shares.matches([each.weight for each in endpoints]), strict=True):
        yield translation(route.key, endpoint.key, match.text + share)


def chains(route: Route, which: EndpointSet, options: Options) -> Iterator[tuple[Chain, tuple[Rule, ...]]]:
    """Yield the chains of a set that does not stand in leaves: name and rules."""
    endpoints = usable(route, which)
    memory = memory_of(route, options) if route.affinity else None
    first = [rule for endpoint in endpoints for rule in memory.recall(endpoint)] if memory else []
    table, name = chain_of(route, which)
    serial = iter(range(1, len(endpoints) + 1))

    def level(name: str, part: Sequence[Endpoint]) -> Iterator[tuple[Chain, tuple[Rule, ...]]]:
        rules = list(first) if part is endpoints else []
        if len(part) <= shares.FAN_OUT:
            for endpoint, share in zip(part, shares.matches([each.weight for each in part]), strict=True):
                matches = Match(protocol=route.key.protocol).text + share
                rules.append(memory.choose(endpoint, matches) if memory else translation(route.key, endpoint.key, matches))
        else:
            parts = shares.pieces(part)
            weights = [sum(endpoint.weight for endpoint in each) for each in parts]
            for each, share in zip(parts, shares.matches(weights), strict=True):
                below = f"{chain_of(route, which)[1]}-{next(serial):03X}"
                rules.append(Rule(f"{share} -g {below}", route.key))
                yield from level(below, each)
        yield (table, name), tuple(rules)

    yield from level(name, endpoints)
    if memory:
        yield from memory.chains(endpoints)

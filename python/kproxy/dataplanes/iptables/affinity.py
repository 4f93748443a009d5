# SPDX-License-Identifier: Apache-2.0
"""How an endpoint remembers its clients.

The memory belongs to a route's endpoint, so all frontends and both endpoint sets share it. Where there is ipset it is a set
whose entries time out; without, a list of the match ``recent``, which holds a hundred clients and drops the oldest then.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from kproxy.dataplanes.iptables.layout import NAT, PREFIX, WORDS, Chain, Options, hashed, set_name
from kproxy.dataplanes.iptables.rules import Match, Rule, translation
from kproxy.table.endpoint import Endpoint
from kproxy.table.route import Route

LIST_CLIENTS: Final = 100  # a list holds; the module's parameter ip_list_tot can only be given when it is loaded


class Lists:
    """Clients are remembered by the match ``recent``: a list for each endpoint."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._protocol = Match(protocol=route.key.protocol).text
        self._mask = WORDS[route.key.family].mask

    def _list(self, endpoint: Endpoint) -> str:
        name = f"{PREFIX}{hashed(str(self._route.key), endpoint.key)}"
        return f"--name {name} --mask {self._mask} --rsource"

    def recall(self, endpoint: Endpoint) -> Iterator[Rule]:
        """Yield the rule for a client that came before."""
        match = f"{self._protocol} -m recent --update --seconds {self._route.affinity} --reap {self._list(endpoint)}"
        yield translation(self._route.key, endpoint.key, match)

    def choose(self, endpoint: Endpoint, matches: str) -> Rule:
        """Return the rule that takes a client and remembers it."""
        return translation(self._route.key, endpoint.key, f"{matches} -m recent --set {self._list(endpoint)}")

    @staticmethod
    def chains(_: Sequence[Endpoint]) -> Iterator[tuple[Chain, tuple[Rule, ...]]]:
        """No chain is needed."""
        yield from ()


class Sets:
    """Clients are remembered by ipset: a set and a chain for each endpoint."""

    def __init__(self, route: Route) -> None:
        self._route = route

    def _set(self, endpoint: Endpoint) -> str:
        return set_name(self._route.key.family, str(self._route.key), endpoint.key)

    def _chain(self, endpoint: Endpoint) -> str:
        return f"{PREFIX}E-{hashed(str(self._route.key), endpoint.key)}"

    def recall(self, endpoint: Endpoint) -> Iterator[Rule]:
        """Yield the rule for a client that came before."""
        yield Rule(f" -m set --match-set {self._set(endpoint)} src -g {self._chain(endpoint)}", self._route.key)

    def choose(self, endpoint: Endpoint, matches: str) -> Rule:
        """Return the rule that takes a client."""
        return Rule(f"{matches} -g {self._chain(endpoint)}", self._route.key)

    def chains(self, endpoints: Sequence[Endpoint]) -> Iterator[tuple[Chain, tuple[Rule, ...]]]:
        """Yield the chains that remember the client and translate."""
        route = self._route
        for endpoint in endpoints:
            remember = f" -j SET --add-set {self._set(endpoint)} src --exist --timeout {route.affinity}"
            translated = translation(route.key, endpoint.key, Match(protocol=route.key.protocol).text)
            yield (NAT, self._chain(endpoint)), (Rule(remember, route.key), translated)


def memory_of(route: Route, options: Options) -> Lists | Sets:
    """Return how a route's endpoints remember their clients."""
    return Sets(route) if options.sets else Lists(route)


def sets_of(route: Route, options: Options) -> Iterator[str]:
    """Yield the names of the ipsets a route's chains need."""
    if route.affinity and options.sets:
        for endpoint in {endpoint.key: endpoint for endpoint in (*route.all, *route.local)}.values():
            if endpoint.weight:
                yield set_name(route.key.family, str(route.key), endpoint.key)

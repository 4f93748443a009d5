# SPDX-License-Identifier: Apache-2.0
"""The rules of table ``nat`` by which a frontend's clients are marked, counted and sent on.

A leaf marks for masquerading what most of its frontends want marked, once; a frontend that wants something else says so
itself. Whatever passes a leaf without a frontend leaves it unmarked.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from kproxy.dataplanes.iptables import balance
from kproxy.dataplanes.iptables.layout import NAT, PREFIX, WORDS, Chain, Options, hashed
from kproxy.dataplanes.iptables.meeting import NOBODY, Classes, Meeting, Meetings
from kproxy.dataplanes.iptables.rules import FRONTEND, Count, Match, Rule
from kproxy.table.frontend import Frontend
from kproxy.table.route import Route, RouteKey
from kproxy.table.terms import EndpointSet, FrontendKind


def comment_of(key: RouteKey) -> str:
    """Return what names a route in the rules: protocol and family are told by the rule itself."""
    return f"{key.service}:{key.port}"


def match_of(key: RouteKey, frontend: Frontend) -> Match:
    """Return the match of a frontend, with its route's name."""
    destination = WORDS[key.family].host(frontend.address) if frontend.address else ""
    port = str(frontend.port)
    return Match(destination=destination, protocol=frontend.protocol, comment=comment_of(key), port=port)


def scopes_in_chains(route: Route, meetings: Meetings) -> set[EndpointSet]:
    """Return which of a route's sets have chains of their own, because some frontend goes to them."""
    found: set[EndpointSet] = set()
    for frontend in route.frontends:
        met = meetings.of(route, frontend)
        if met.whole is None or not balance.is_short(route, met.whole):
            found |= met.scopes.keys()
    return found


def guard_of(key: RouteKey, frontend: Frontend) -> Chain:
    """Return the chain that lets only some sources in to a frontend."""
    return (NAT, f"{PREFIX}G-{hashed(str(key), str(frontend))}")


def inside_of(key: RouteKey, frontend: Frontend) -> Chain:
    """Return the chain of those that were let in."""
    return (NAT, f"{PREFIX}I-{hashed(str(key), str(frontend))}")


class Translator:
    """Writes the rules of frontends, for the clients of one node."""

    def __init__(self, options: Options, meetings: Meetings) -> None:
        self._options = options
        self._meetings = meetings

    def leaf(self, held: Sequence[tuple[Route, Frontend]]) -> list[Rule]:
        """Return the rules of a leaf."""
        met = [self._meetings.of(route, frontend) for route, frontend in held]
        wishes = Counter(
            each.marked for (_, frontend), each in zip(held, met, strict=True) if each.scopes and frontend.sources is None
        )
        marked = max(wishes, key=lambda each: (wishes[each], sorted(each)), default=NOBODY)
        rules = [Rule(f"{match.text}{self._options.set_mark}") for match in met[0].clients.matches(marked)] if marked else []
        for (route, frontend), each in zip(held, met, strict=True):
            rules += self._frontend(route, frontend, each, marked)
        if marked:
            rules.append(Rule(self._options.clear_mark))
        return rules

    def guards(self, route: Route, frontend: Frontend) -> Iterator[tuple[Chain, tuple[Rule, ...]]]:
        """Yield the chains of a frontend that only some may dial."""
        met = self._meetings.of(route, frontend)
        if frontend.sources is None or not met.scopes:
            return
        name = inside_of(route.key, frontend)
        inside = list(self._within(route, frontend, met, Match(protocol=frontend.protocol), NOBODY))
        if met.whole is None:
            inside.append(Rule(" -j ACCEPT", route.key))
        yield name, tuple(inside)
        rules = [Rule(f"{Match(source=source).text} -g {name[1]}", route.key) for source in allowed(route, frontend)]
        yield guard_of(route.key, frontend), (*rules, Rule(" -j ACCEPT", route.key))

    def _frontend(self, route: Route, frontend: Frontend, met: Meeting, marked: Classes) -> Iterator[Rule]:
        """Yield a frontend's rules. ``marked``: the classes that are marked already.

        Who is refused at an address must not meet a NodePort of the same number instead, hence ACCEPT, which ends nat.
        """
        match = match_of(route.key, frontend)
        if met.scopes and frontend.sources is not None:
            if marked:
                yield Rule(f"{match.text}{self._options.clear_mark}", route.key)
            yield Rule(f"{match.text} -g {guard_of(route.key, frontend)[1]}", route.key)
            return
        if met.scopes:
            yield from self._within(route, frontend, met, match, marked)
        if frontend.kind not in (FrontendKind.CLUSTER_IP, FrontendKind.NODE_PORT) and met.whole is None:
            yield Rule(f"{match.text} -j ACCEPT", route.key)

    def _within(self, route: Route, frontend: Frontend, met: Meeting, match: Match, marked: Classes) -> Iterator[Rule]:
        """Yield the rules for those who may dial a frontend."""
        clients = met.clients
        if met.marked != marked & met.balanced:
            if marked:
                yield Rule(f"{match.text}{self._options.clear_mark}", route.key)
            for client in clients.matches(met.marked):
                yield Rule(f"{match.also(client).text}{self._options.set_mark}", route.key)
        counted = Count(FRONTEND, str(frontend), route.key)
        whole = met.whole
        if whole is not None and balance.is_short(route, whole):
            yield Rule(match.text, route.key, counted)
            yield from balance.in_place(route, whole, msgspec.structs.replace(match, comment=""))
            return
        for scope in sorted(met.scopes):
            chain = balance.chain_of(route, scope)[1]
            for client in clients.matches(met.scopes[scope]):
                yield Rule(f"{match.also(client).text} -g {chain}", route.key, counted)


def allowed(route: Route, frontend: Frontend) -> list[str]:
    """Return the sources that may dial a guarded frontend, as matches have them."""
    if frontend.sources is None:
        return []
    itself = [WORDS[route.key.family].host(frontend.address)] if frontend.sources.itself else []
    return list(dict.fromkeys([*frontend.sources.ranges, *itself]))

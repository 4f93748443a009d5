# SPDX-License-Identifier: Apache-2.0
"""The rules of table ``filter`` that refuse what ``nat`` left untranslated, because only there a packet may be refused.

Only what was not translated gets here, so a frontend's rules need not say who was balanced: whoever reaches them and is of a
refused class is refused, and whoever is not let in by the source ranges is dropped.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from kproxy.dataplanes.iptables.layout import FILTER, PREFIX, WORDS, Chain, Reason, hashed
from kproxy.dataplanes.iptables.meeting import Meeting, Meetings
from kproxy.dataplanes.iptables.rules import REFUSED, Count, Match, Rule
from kproxy.dataplanes.iptables.translate import allowed, match_of
from kproxy.table.frontend import Frontend
from kproxy.table.route import Route, RouteKey
from kproxy.table.terms import Action, Family

_REASONS: Final = {Action.REJECT: Reason.NO_ENDPOINTS, Action.DROP: Reason.NO_LOCAL_ENDPOINTS}


def target_of(family: Family, action: Action) -> str:
    """Return the target that refuses."""
    return f" -j REJECT --reject-with {WORDS[family].reject}" if action is Action.REJECT else " -j DROP"


def chain_of(key: RouteKey, frontend: Frontend) -> Chain:
    """Return the chain that refuses those whom a guarded frontend lets in."""
    return (FILTER, f"{PREFIX}J-{hashed(str(key), str(frontend))}")


class Refuser:
    """Writes the rules that refuse, for the clients of one node."""

    def __init__(self, meetings: Meetings) -> None:
        self._meetings = meetings

    def refuses(self, route: Route, frontend: Frontend) -> bool:
        """Tell whether a frontend ever refuses anybody."""
        return frontend.sources is not None or bool(self._meetings.of(route, frontend).refused)

    def leaf(self, held: Sequence[tuple[Route, Frontend]]) -> list[Rule]:
        """Return the rules of a leaf."""
        return [rule for route, frontend in held for rule in self._frontend(route, frontend)]

    def guards(self, route: Route, frontend: Frontend) -> Iterator[tuple[Chain, tuple[Rule, ...]]]:
        """Yield the chain of those who are let in, if any of them are refused."""
        met = self._meetings.of(route, frontend)
        if frontend.sources is not None and met.refused:
            rules = self._by_class(route, met, Match())
            yield chain_of(route.key, frontend), tuple(rules)

    def _frontend(self, route: Route, frontend: Frontend) -> Iterator[Rule]:
        met = self._meetings.of(route, frontend)
        match = match_of(route.key, frontend)
        if frontend.sources is None:
            yield from self._by_class(route, met, match)
            return
        for source in allowed(route, frontend) if met.refused else ():
            let_in = match.also(Match(source=source)).text
            yield Rule(f"{let_in} -j {chain_of(route.key, frontend)[1]}", route.key)
        counted = Count(REFUSED, Reason.SOURCE_RANGE)
        yield Rule(f"{match.text}{target_of(route.key.family, Action.DROP)}", route.key, counted)

    @staticmethod
    def _by_class(route: Route, met: Meeting, match: Match) -> Iterator[Rule]:
        for action in sorted(met.refused):
            target = target_of(route.key.family, action)
            for client in met.clients.matches(met.refused[action]):
                yield Rule(f"{match.also(client).text}{target}", route.key, Count(REFUSED, _REASONS[action]))

# SPDX-License-Identifier: Apache-2.0
"""Everything that shall be in force, and any chain of it as text.

A state is a value: ``changed`` returns another that shares what did not change. It keeps routes and trees, no text: a chain
is written when somebody asks for it, which costs microseconds.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import msgspec

from kproxy.dataplanes.iptables import balance, layout, skeleton, spaces
from kproxy.dataplanes.iptables.affinity import sets_of
from kproxy.dataplanes.iptables.layout import WORDS, Chain, Options
from kproxy.dataplanes.iptables.meeting import Meetings
from kproxy.dataplanes.iptables.refuse import Refuser
from kproxy.dataplanes.iptables.rules import Match, Rule
from kproxy.dataplanes.iptables.spaces import SPACES, Grown, Held, Space
from kproxy.dataplanes.iptables.translate import Translator, scopes_in_chains
from kproxy.dataplanes.iptables.tree import ROOT, Prefix, Tree, affected
from kproxy.table.node import FamilyFacts
from kproxy.table.route import Route, RouteKey
from kproxy.table.terms import Family

Written: TypeAlias = dict[Chain, tuple[Rule, ...]]


class Setting(msgspec.Struct, frozen=True):
    """What all chains depend on."""

    family: Family
    options: Options
    facts: FamilyFacts


class State:
    """Routes with their places in the trees, under one setting."""

    def __init__(
        self,
        setting: Setting,
        routes: Mapping[RouteKey, Route],
        grown: Mapping[Space, Grown],
        meetings: Meetings | None = None,
    ) -> None:
        self.setting = setting
        self.routes = routes
        self._grown = grown
        self._meetings = meetings or Meetings(setting.family, setting.facts)
        self._translator = Translator(setting.options, self._meetings)
        self._refuser = Refuser(self._meetings)

    @classmethod
    def of(cls, setting: Setting, routes: Iterable[Route]) -> "State":
        """Return the state of these routes."""
        empty = {space: Grown(Tree(space.bits(setting.family)), {}) for space in SPACES}
        return cls(setting, {}, empty).changed({route.key: route for route in routes})

    def changed(self, routes: Mapping[RouteKey, Route | None]) -> "State":
        """Return the state with these routes in place of those of their names; None: without."""
        come: dict[Space, list[tuple[int, Held]]] = {}
        gone: dict[Space, list[tuple[int, Held]]] = {}
        after = dict(self.routes)
        for key, route in routes.items():
            before = after.pop(key, None)
            if before is not None:
                for space, place, held in self._positions(before):
                    gone.setdefault(space, []).append((place, held))
            if route is not None:
                after[key] = route
                for space, place, held in self._positions(route):
                    come.setdefault(space, []).append((place, held))
        grown = dict(self._grown)
        for space in come.keys() | gone.keys():
            grown[space] = grown[space].changed(come.get(space, []), gone.get(space, []))
        return State(self.setting, after, grown, self._meetings)

    def _positions(self, route: Route) -> Iterator[tuple[Space, int, Held]]:
        refuses = frozenset(frontend for frontend in route.frontends if self._refuser.refuses(route, frontend))
        return spaces.positions(route, refuses=refuses)

    def sets(self) -> set[str]:
        """Return the ipsets that the chains name."""
        return {name for route in self.routes.values() for name in sets_of(route, self.setting.options)}

    # --- chains

    def everything(self) -> Written:
        """Return every chain."""
        written: Written = {}
        for space, grown in self._grown.items():
            for prefix in grown.tree.leaves(ROOT):
                written[space.chain(prefix, self.setting.family)] = self._leaf(space, prefix)
            for prefix in grown.tree.nodes():
                if prefix != ROOT:
                    written[space.chain(prefix, self.setting.family)] = self._node(space, prefix)
        for route in self.routes.values():
            written.update(self._own(route))
        written.update(skeleton.fixed(self.setting.family, self.setting.facts, self.setting.options))
        for root in {space.root for space in SPACES}:
            written[root] = self._root(root)
        return written

    def differing(self, other: "State", keys: Iterable[RouteKey]) -> tuple[Written, Written]:
        """Return the chains that may differ from those of a state under the same setting, as they are there and here."""
        there: Written = {}
        here: Written = {}
        places: dict[Space, set[int]] = {}
        for key in keys:
            for state, written in ((other, there), (self, here)):
                route = state.routes.get(key)
                if route is not None:
                    written.update(state._own(route))  # noqa: SLF001 - the other is a state too
                    for space, place, _ in state._positions(route):  # noqa: SLF001
                        places.setdefault(space, set()).add(place)
        for space, touched in places.items():
            for state, written in ((other, there), (self, here)):
                found = affected(other._grown[space].tree, self._grown[space].tree, touched)  # noqa: SLF001
                written.update(state._of(space, found.leaves, found.nodes))  # noqa: SLF001
                written[space.root] = state._root(space.root)  # noqa: SLF001
        return there, here

    def _of(self, space: Space, leaves: set[Prefix], nodes: set[Prefix]) -> Written:
        """Return those of a space's leaves and nodes that this state has."""
        grown, family = self._grown[space], self.setting.family
        written: Written = {}
        for prefix in nodes - {ROOT}:
            if self._is_node(grown.tree, prefix):
                written[space.chain(prefix, family)] = self._node(space, prefix)
        for prefix in leaves:
            places = grown.tree.within(prefix)
            if places and grown.tree.leaf(places[0]) == prefix:
                written[space.chain(prefix, family)] = self._leaf(space, prefix)
        return written

    @staticmethod
    def _is_node(tree: Tree, prefix: Prefix) -> bool:
        places = tree.within(prefix)
        return bool(places) and prefix in tree.path(places[0])

    def _leaf(self, space: Space, prefix: Prefix) -> tuple[Rule, ...]:
        grown = self._grown[space]
        places = grown.tree.within(prefix)
        if space is spaces.HAIRPINS:
            return tuple(self._hairpin(place) for place in places)
        held = [(each.route, each.frontend) for place in places for each in grown.held[place] if each.frontend]
        writer = self._translator if space.root[0] == layout.NAT else self._refuser
        return tuple(writer.leaf(held))

    def _hairpin(self, place: int) -> Rule:
        address = WORDS[self.setting.family].host(spaces.text(place, self.setting.family))
        return Rule(f"{Match(source=address, destination=address).text}{self.setting.options.masquerade}")

    def _node(self, space: Space, prefix: Prefix) -> tuple[Rule, ...]:
        ways = self._grown[space].tree.ways(prefix)
        return tuple(space.rule(prefix, way, self.setting.family) for way in ways)

    def _root(self, root: Chain) -> tuple[Rule, ...]:
        ways = [rule for space in SPACES if space.root == root for rule in self._node(space, ROOT)]
        if root == layout.SERVICES:
            return skeleton.services(ways, self.setting.facts, self.setting.family)
        if root == layout.REFUSE:
            return skeleton.refuse(ways, self.setting.facts, self.setting.family)
        return tuple(ways)

    def _own(self, route: Route) -> Written:
        """Return the chains that are a route's alone."""
        written: Written = {}
        for scope in scopes_in_chains(route, self._meetings):
            written.update(balance.chains(route, scope, self.setting.options))
        for frontend in route.frontends:
            written.update(self._translator.guards(route, frontend))
            written.update(self._refuser.guards(route, frontend))
        return written

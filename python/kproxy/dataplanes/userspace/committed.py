# SPDX-License-Identifier: Apache-2.0
"""What of ours the kernel and the relay hold, and how it becomes the next.

``Committed`` belongs to its dataplane and changes in place, only after the kernel has said yes. The kernel's elements are
kept as they are; what the relay holds, its handle keeps. After a read-back the routes are not known yet: the first compile
works out what each one should have, and whatever no route claims is surplus.
"""

import itertools
from collections.abc import Iterable, Mapping

import msgspec

from kproxy.dataplanes.nft_tables import Facts
from kproxy.dataplanes.userspace.elements import ElementKey, Elements
from kproxy.table.route import Route, RouteKey

_REVISIONS = itertools.count(1)


class Outcome(msgspec.Struct):
    """How ``Committed`` differs once a transaction is in."""

    revision: int
    routes: dict[RouteKey, Route | None] = {}
    elements: dict[ElementKey, bytes | None] = {}  # that are there now
    gone: set[ElementKey] = set()
    claims: dict[ElementKey, int] = {}  # new counts of shared elements; 0: gone
    codes: frozenset[int] = frozenset()
    structure: int = 0
    facts: Facts | None = None


class Committed:
    """The dataplane's state.

    Attributes: ``elements`` that the kernel holds; ``codes`` of policy chains that are there; ``structure``: a digest of all
    chains as last written, None where they are missing or somebody has edited them; ``is_routed``: taken packets are brought
    to this node; ``is_obsolete``: a table of ours is there that is none of this layout; ``routes`` and ``facts`` in force,
    None while unknown; ``claims``: how many routes have a shared element; ``revision`` is another after each transaction.
    """

    def __init__(self) -> None:
        self.revision = next(_REVISIONS)
        self.elements: Elements = {}
        self.codes: frozenset[int] = frozenset()
        self.structure: int | None = None
        self.is_routed = False
        self.is_obsolete = False
        self.routes: dict[RouteKey, Route] | None = None
        self.claims: dict[ElementKey, int] = {}
        self.facts: Facts | None = None

    @property
    def known(self) -> Mapping[RouteKey, Route]:
        """Return the routes in force, as far as they are known."""
        return self.routes or {}

    def adopt(self, routes: Iterable[Route], facts: Facts, claims: dict[ElementKey, int]) -> None:
        """Know the routes that a comparison has found in force."""
        self.routes = {route.key: route for route in routes}
        self.facts, self.claims = facts, claims

    def advance(self, outcome: Outcome) -> None:
        """Take over what a transaction has done."""
        self.revision = next(_REVISIONS)
        routes = self.routes = {} if self.routes is None else self.routes
        for key, route in outcome.routes.items():
            if route is None:
                routes.pop(key, None)
            else:
                routes[key] = route
        for element in outcome.gone:
            self.elements.pop(element, None)
        self.elements.update(outcome.elements)
        for element, count in outcome.claims.items():
            if count:
                self.claims[element] = count
            else:
                self.claims.pop(element, None)
        self.codes, self.structure, self.facts = outcome.codes, outcome.structure, outcome.facts
        self.is_routed, self.is_obsolete = True, False

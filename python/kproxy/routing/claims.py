# SPDX-License-Identifier: Apache-2.0
"""Who gets a frontend that two Services claim: the first by creation, then by name.

The loser is reported and takes over when the winner goes. The outcome depends on who claims, never on the order in which
they came; the cost follows the change.

A NodePort and a load balancer's (or external) IP that equals a node address are *not* one frontend: the exact address is
looked up first and takes that address from the NodePort; the other addresses stay with it. So they need no settling.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec

from kproxy.table.addresses import join_port
from kproxy.table.frontend import Frontend
from kproxy.table.node import NodeFacts
from kproxy.table.route import Route
from kproxy.table.routing_table import Conflict, RoutingTable, ServiceRoutes
from kproxy.table.terms import Family, Protocol

Claim: TypeAlias = tuple[Family, str, Protocol, int]


class Claims:
    """What every Service asks for, and who holds what."""

    def __init__(self) -> None:
        self._asked: dict[str, ServiceRoutes] = {}
        self._holders: dict[Claim, str | tuple[str, ...]] = {}  # a tuple, the winner first, where several claim it
        self._contested: dict[Claim, tuple[Conflict, ...]] = {}
        self._conflicts: tuple[Conflict, ...] = ()

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """Every claim that lost, sorted."""
        return self._conflicts

    def asked(self, service: str) -> ServiceRoutes | None:
        """Return what a Service asks for, settled or not."""
        return self._asked.get(service)

    def settle(self, changes: Mapping[str, ServiceRoutes | None]) -> dict[str, ServiceRoutes | None]:
        """Take in what Services ask for now (None: they are gone).

        Returns what each of them gets, and what those get whose claims were won or lost by it.
        """
        disputed: dict[Claim, None] = {}
        for service, routes in changes.items():
            before = self._asked.get(service)
            if routes is None:
                self._asked.pop(service, None)
            else:
                self._asked[service] = routes
            self._replace(service, before, routes, disputed)
        affected = dict.fromkeys(changes)
        for claim in disputed:
            affected.update(dict.fromkeys(self._judge(claim)))
        if disputed:
            self._conflicts = tuple(sorted({conflict for lost in self._contested.values() for conflict in lost}))
        return {service: self._granted(service) for service in affected}

    def _replace(
        self, service: str, before: ServiceRoutes | None, after: ServiceRoutes | None, disputed: dict[Claim, None]
    ) -> None:
        """Move a Service's claims from what it asked for to what it asks for; note those with more than one claimant."""
        old = claims_of(before)
        new = claims_of(after)
        reordered = before is not None and after is not None and before.created != after.created
        for claim in old:
            if claim in new and not reordered:
                continue
            holder = self._holders[claim]
            if isinstance(holder, str):
                del self._holders[claim]
            else:
                left = tuple(name for name in holder if name != service)
                self._holders[claim] = left[0] if len(left) == 1 else left
                disputed[claim] = None
        for claim in new:
            if claim in old and not reordered:
                continue
            holder = self._holders.setdefault(claim, service)
            if holder == service:
                continue
            self._holders[claim] = (*((holder,) if isinstance(holder, str) else holder), service)
            disputed[claim] = None

    def _judge(self, claim: Claim) -> tuple[str, ...]:
        """Put the winner of a claim first and note who lost it. Returns everybody who claims it."""
        holder = self._holders.get(claim)
        if holder is None or isinstance(holder, str):
            self._contested.pop(claim, None)
            return () if holder is None else (holder,)
        ranked = tuple(sorted(holder, key=self._rank))
        self._holders[claim] = ranked
        frontend = _claim_text(*claim[1:])
        self._contested[claim] = tuple(Conflict(frontend, ranked[0], loser) for loser in ranked[1:])
        return ranked

    def _rank(self, service: str) -> tuple[str, str]:
        return (self._asked[service].created, service)

    def _granted(self, service: str) -> ServiceRoutes | None:
        """Return what a Service asks for without what it lost: the very same object where it lost nothing."""
        asked = self._asked.get(service)
        if asked is None:
            return None
        lost = {claim for claim in claims_of(asked) if not self._wins(service, claim)} if self._contested else set()
        return without(asked, lost) if lost else asked

    def _wins(self, service: str, claim: Claim) -> bool:
        holder = self._holders[claim]
        return holder == service or holder[0] == service


def settled_table(node: NodeFacts, asked: Mapping[str, ServiceRoutes]) -> RoutingTable:
    """Settle all claims at once and return the table."""
    claims = Claims()
    settled = claims.settle(dict(asked))
    return RoutingTable(node, {name: routes for name, routes in settled.items() if routes}, claims.conflicts)


def claims_of(routes: ServiceRoutes | None) -> set[Claim]:
    """Return every claim of a Service."""
    if routes is None:
        return set()
    return {_claim(route.key.family, frontend) for route in routes.routes for frontend in route.frontends}


def without(asked: ServiceRoutes, lost: set[Claim]) -> ServiceRoutes:
    """Take lost frontends out of a Service. A route that has none left goes."""
    routes = []
    for route in asked.routes:
        kept = tuple(one for one in route.frontends if _claim(route.key.family, one) not in lost)
        if kept:
            routes.append(route if len(kept) == len(route.frontends) else _with_frontends(route, kept))
    serving = [
        msgspec.structs.replace(
            one, frontends=tuple(claim for claim in one.frontends if (one.key.family, *claim) not in lost)
        )
        for one in asked.serving
    ]
    return msgspec.structs.replace(asked, routes=tuple(routes), serving=tuple(one for one in serving if one.frontends))


def _with_frontends(route: Route, frontends: Iterable[Frontend]) -> Route:
    return msgspec.structs.replace(route, frontends=tuple(frontends))


def _claim(family: Family, frontend: Frontend) -> Claim:
    return (family, frontend.address, frontend.protocol, frontend.port)


def _claim_text(address: str, protocol: Protocol, port: int) -> str:
    return f"{join_port(address, port) if address else f'*:{port}'}/{protocol}"

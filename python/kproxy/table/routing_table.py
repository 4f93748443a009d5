# SPDX-License-Identifier: Apache-2.0
"""The whole table, and what changed between two of them."""

from collections.abc import Iterator, Mapping

import msgspec

from kproxy.table.node import NodeFacts
from kproxy.table.route import Route, RouteKey
from kproxy.table.terms import Family, Protocol


class HealthPort(msgspec.Struct, frozen=True, gc=False):
    """A health-check node port: green while this node has a ready endpoint of the Service."""

    service: str  # namespace/name
    port: int
    local_ready: int  # distinct addresses of local ready endpoints, both families together


class Serving(msgspec.Struct, frozen=True, gc=False):
    """Every endpoint that still serves a UDP port in one family, policies ignored: its flows must not be cut.

    ``frontends`` are claims ``(address or "", protocol, port)``; ``endpoints`` are ``address:port``.
    """

    key: RouteKey
    frontends: tuple[tuple[str, Protocol, int], ...]
    endpoints: frozenset[str]


class ServiceRoutes(msgspec.Struct, frozen=True, gc=False):
    """All that one Service contributes to the table."""

    service: str  # namespace/name
    created: str = ""  # RFC 3339; with the name it settles who gets a frontend two Services claim
    routes: tuple[Route, ...] = ()
    health: HealthPort | None = None
    serving: tuple[Serving, ...] = ()


class Conflict(msgspec.Struct, frozen=True, order=True):
    """A frontend two Services claim: the loser does not get it while the winner lives."""

    frontend: str
    winner: str
    loser: str


class RoutingTable(msgspec.Struct, frozen=True):
    """What every packet shall meet on this node.

    ``services`` maps ``namespace/name`` to its routes; it is never changed in place, and untouched values are shared with
    the table before. The frontends of all routes are disjoint: ``conflicts`` names the claims that lost.
    """

    node: NodeFacts = NodeFacts()
    services: Mapping[str, ServiceRoutes] = {}
    conflicts: tuple[Conflict, ...] = ()

    def routes(self, family: Family | None = None) -> Iterator[Route]:
        """Yield every route (of one family)."""
        for service in self.services.values():
            for route in service.routes:
                if family is None or route.key.family is family:
                    yield route

    def get(self, key: RouteKey) -> Route | None:
        """Return the route of that name, if there is one."""
        service = self.services.get(key.service)
        return next((route for route in service.routes if route.key == key), None) if service else None


class RouteChange(msgspec.Struct, frozen=True, gc=False):
    """One route before and after. None: it was not, or is not any more, there."""

    key: RouteKey
    before: Route | None
    after: Route | None


class Times(msgspec.Struct, frozen=True):
    """When a change passed each station, in seconds of the monotonic clock; 0 where it did not yet.

    ``triggers`` are wall-clock seconds of the endpoint changes behind it, as their controller annotated them.
    """

    received: float = 0.0
    resolved: float = 0.0
    committed: float = 0.0
    triggers: tuple[float, ...] = ()


class Changes(msgspec.Struct, frozen=True):
    """What differs between the table in force and the one that shall be.

    ``before`` is None when nothing is known of the table in force (at start, after drift): then ``routes`` names every route
    of ``after``, and whatever the kernel holds beside them is surplus. ``node`` says that NodeFacts differ. ``services``
    names every Service whose entry differs, be it by nothing that a packet meets (a health port, a serving UDP endpoint).
    """

    before: RoutingTable | None
    after: RoutingTable
    routes: tuple[RouteChange, ...] = ()
    node: bool = False
    times: Times = Times()
    services: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether there is anything to do."""
        return self.before is None or bool(self.routes) or self.node

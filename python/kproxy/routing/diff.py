# SPDX-License-Identifier: Apache-2.0
"""What differs between two tables."""

from collections.abc import Iterable
from typing import Final

from kproxy.table.routing_table import Changes, RouteChange, RoutingTable, ServiceRoutes, Times

NO_TIMES: Final = Times()


def changes_from_nothing(table: RoutingTable, times: Times = NO_TIMES) -> Changes:
    """Return the changes that lead to a table when nothing is known of the one in force."""
    routes = _by_priority([RouteChange(route.key, None, route) for route in table.routes()])
    return Changes(None, table, routes, node=True, times=times, services=tuple(table.services))


def changes_between(
    before: RoutingTable, after: RoutingTable, touched: Iterable[str] | None = None, times: Times = NO_TIMES
) -> Changes:
    """Return what differs. ``touched`` names the Services that may differ; None: look at all of them.

    Services and routes that both tables share cost one identity test each.
    """
    names = before.services.keys() | after.services.keys() if touched is None else touched
    routes: list[RouteChange] = []
    services: list[str] = []
    for name in names:
        old, new = before.services.get(name), after.services.get(name)
        if old is new or old == new:
            continue
        services.append(name)
        routes.extend(_route_changes(old, new))
    return Changes(before, after, _by_priority(routes), before.node != after.node, times, tuple(sorted(services)))


def _route_changes(old: ServiceRoutes | None, new: ServiceRoutes | None) -> list[RouteChange]:
    before = {route.key: route for route in old.routes} if old else {}
    after = {route.key: route for route in new.routes} if new else {}
    return [
        RouteChange(key, before.get(key), after.get(key))
        for key in dict.fromkeys((*before, *after))
        if before.get(key) != after.get(key)
    ]


def _by_priority(routes: list[RouteChange]) -> tuple[RouteChange, ...]:
    """Put what the cluster needs first in front."""

    def urgency(change: RouteChange) -> int:
        route = change.after or change.before
        return -route.priority if route else 0

    return tuple(sorted(routes, key=urgency))

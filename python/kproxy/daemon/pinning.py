# SPDX-License-Identifier: Apache-2.0
"""A table with some routes pinned to what is in force: what a dataplane can be brought to when not all is possible. Pure."""

from collections.abc import Iterable, Mapping

import msgspec

from kproxy.table.route import Route, RouteKey
from kproxy.table.routing_table import Changes, RouteChange, RoutingTable, ServiceRoutes
from kproxy.table.terms import Family


def pinned(table: RoutingTable, routes: Mapping[RouteKey, Route | None]) -> RoutingTable:
    """Return the table with each named route replaced by what is given, or taken out. The table itself without any."""
    if all(table.get(key) is route for key, route in routes.items()):
        return table
    services = dict(table.services)
    for key, route in routes.items():
        service = services.get(key.service, ServiceRoutes(key.service))
        others = tuple(other for other in service.routes if other.key != key)
        services[key.service] = msgspec.structs.replace(service, routes=(*others, route) if route else others)
    return msgspec.structs.replace(table, services=services)


def changes_between(
    before: RoutingTable | None, after: RoutingTable, keys: Iterable[RouteKey], family: Family, *, node: bool
) -> Changes:
    """Return what one family's dataplane has to do; ``keys`` are all that may differ, and are ignored without ``before``."""
    if before is None:
        routes = tuple(RouteChange(route.key, None, route) for route in after.routes(family))
        return Changes(None, after, routes, node=True)
    pairs = ((key, before.get(key), after.get(key)) for key in keys)
    routes = tuple(RouteChange(key, old, new) for key, old, new in pairs if old is not new and old != new)
    return Changes(before, after, routes, node=node and before.node != after.node)

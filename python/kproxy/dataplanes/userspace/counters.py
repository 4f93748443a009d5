# SPDX-License-Identifier: Apache-2.0
"""Counters: connections and bytes as the relay counts them, refused packets as the rules do."""

from collections.abc import Iterable, Mapping

from kproxy.dataplanes.contract import Counters, Traffic
from kproxy.dataplanes.userspace.elements import served_frontends
from kproxy.dataplanes.userspace.layout import Options, Reason
from kproxy.dataplanes.userspace.relay import RelayHandle
from kproxy.table.route import Route, RouteKey

_NOTHING = Traffic(bytes=0)


def read_counters(routes: Iterable[Route], relay: RelayHandle, refusals: Mapping[int, int], options: Options) -> Counters:
    """Return the counters of the routes in force."""
    _, of_frontends, of_endpoints = relay.counts()
    frontends = {(row[0], row[1]): Traffic(row[2], None, row[7] + row[8]) for row in of_frontends}
    endpoints = {(row[0], row[1]): Traffic(row[2], None, row[7] + row[8]) for row in of_endpoints}
    told_frontends: dict[tuple[RouteKey, str], Traffic] = {}
    told_endpoints: dict[tuple[RouteKey, str], Traffic] = {}
    for route in routes:
        key, name = route.key, str(route.key)
        for frontend in map(str, served_frontends(route, options)):
            told_frontends[key, frontend] = frontends.get((name, frontend), _NOTHING)
        for endpoint in (*route.all, *route.local):
            told_endpoints[key, endpoint.key] = endpoints.get((name, endpoint.key), _NOTHING)
    return Counters(
        told_frontends,
        told_endpoints,
        {str(reason): refusals.get(reason.code, 0) for reason in Reason} if refusals else {},
    )

# SPDX-License-Identifier: Apache-2.0
"""Routing tables of any size, made directly: for benches that begin behind ``routing``."""

import ipaddress
from collections.abc import Iterable

from kproxy.table.endpoint import Endpoint
from kproxy.table.frontend import Frontend
from kproxy.table.node import FamilyFacts, NodeFacts, PodTest
from kproxy.table.route import REJECT, Policy, Route, RouteKey, Verdict
from kproxy.table.routing_table import Changes, RouteChange, RoutingTable, ServiceRoutes
from kproxy.table.terms import Action, Family, FrontendKind, Protocol

_BALANCE = Verdict(Action.BALANCE)
_MASQUERADED = Verdict(Action.BALANCE, masquerade=True)
INTERNAL = Policy(pod=_BALANCE, node=_MASQUERADED, outside=_MASQUERADED)
EXTERNAL = Policy(pod=_MASQUERADED, node=_MASQUERADED, outside=_MASQUERADED)
NOBODY = Policy(pod=REJECT, node=REJECT, outside=REJECT)
SERVICES = ipaddress.ip_network("10.96.0.0/12")
PODS = ipaddress.ip_network("10.128.0.0/9")


def endpoint(number: int, port: int = 8080) -> Endpoint:
    """Return the endpoint of that number: its own address in 10.128.0.0/9."""
    address = str(PODS[number + 1])
    return Endpoint(key=f"{address}:{port}", address=address, port=port, node="elsewhere")


def route(number: int, endpoints: Iterable[Endpoint], *, affinity: int = 0) -> Route:
    """Return the route of Service ``bench/service-NUMBER``, with one TCP ClusterIP at port 80."""
    key = RouteKey("bench", f"service-{number}", "http", Protocol.TCP, Family.IPV4)
    chosen = tuple(sorted(endpoints, key=lambda item: item.key))
    return Route(
        key=key,
        internal=INTERNAL if chosen else NOBODY,
        external=EXTERNAL if chosen else NOBODY,
        frontends=(Frontend(FrontendKind.CLUSTER_IP, Protocol.TCP, str(SERVICES[number + 1]), 80),),
        all=chosen,
        affinity=affinity,
    )


def facts(pods: str = str(PODS)) -> NodeFacts:
    """Return a node that takes 10.128.0.0/9 for Pods."""
    return NodeFacts("node", ipv4=FamilyFacts(pods=PodTest(cidr=pods), service_cidrs=(str(SERVICES),)))


def table(routes: Iterable[Route], node: NodeFacts | None = None) -> RoutingTable:
    """Return the table of these routes, one Service each."""
    return RoutingTable(
        node or facts(), {item.key.service: ServiceRoutes(item.key.service, routes=(item,)) for item in routes}
    )


def sized(services: int, endpoints: int) -> RoutingTable:
    """Return a table of so many Services with so many endpoints each, all different."""
    return table(
        route(number, (endpoint(number * endpoints + slot) for slot in range(endpoints))) for number in range(services)
    )


def whole(after: RoutingTable) -> Changes:
    """Return the changes that load a table where nothing is known."""
    return Changes(None, after, tuple(RouteChange(item.key, None, item) for item in after.routes()), node=True)


def replaced(before: RoutingTable, item: Route) -> Changes:
    """Return the changes that put one route in another's place."""
    after = RoutingTable(before.node, {**before.services, item.key.service: ServiceRoutes(item.key.service, routes=(item,))})
    return Changes(before, after, (RouteChange(item.key, before.get(item.key), item),), services=(item.key.service,))

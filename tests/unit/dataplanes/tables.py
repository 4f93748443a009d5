# SPDX-License-Identifier: Apache-2.0
"""Routing tables by hand and at random, for dataplanes: well formed as routing makes them, small enough to collide often."""

from collections.abc import Iterable

import msgspec
from hypothesis import strategies as st

from kproxy.table.addresses import join_port
from kproxy.table.endpoint import Endpoint
from kproxy.table.frontend import Frontend, Sources
from kproxy.table.node import FamilyFacts, NodeFacts, NodePortAddresses, PodTest
from kproxy.table.route import DROP, REJECT, Policy, Route, RouteKey, Verdict
from kproxy.table.routing_table import Changes, RouteChange, RoutingTable, ServiceRoutes
from kproxy.table.terms import Action, EndpointSet, Family, FrontendKind, Method, Protocol

PREFIXES = {Family.IPV4: "10.{}.0.{}", Family.IPV6: "fd00:{}::{}"}
ALL, MASQUERADED = Verdict(Action.BALANCE), Verdict(Action.BALANCE, masquerade=True)
LOCAL = Verdict(Action.BALANCE, EndpointSet.LOCAL)
CLUSTER = Policy(ALL, MASQUERADED, MASQUERADED)
EXTERNAL = Policy(MASQUERADED, MASQUERADED, MASQUERADED)
EXTERNAL_LOCAL = Policy(ALL, MASQUERADED, LOCAL)
NO_LOCAL = Policy(ALL, MASQUERADED, DROP)
REFUSED = Policy(REJECT, REJECT, REJECT)


def address(family: Family, net: int, host: int) -> str:
    """Return an address of a small world."""
    return PREFIXES[family].format(net, host)


def endpoint(family: Family, host: int, *, local: bool = False, node: str | None = None, weight: int = 1) -> Endpoint:
    """Return an endpoint; ``node`` is another one's unless it is local."""
    where = address(family, 244, host)
    named = ("here" if local else "there") if node is None else node
    return Endpoint(join_port(where, 8080), where, 8080, named, local, weight=weight)


def ordered(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Return endpoints in a route's order."""
    return tuple(sorted(endpoints, key=lambda each: each.key))


def frontend(family: Family, host: int, port: int = 80, protocol: Protocol = Protocol.TCP) -> Frontend:
    """Return a ClusterIP."""
    return Frontend(FrontendKind.CLUSTER_IP, protocol, address(family, 96, host), port)


def nodeport(port: int, protocol: Protocol = Protocol.TCP) -> Frontend:
    """Return a NodePort."""
    return Frontend(FrontendKind.NODE_PORT, protocol, "", port)


def balancer_ip(family: Family, host: int, sources: Sources | None = None) -> Frontend:
    """Return a LoadBalancer IP."""
    return Frontend(FrontendKind.LOAD_BALANCER_IP, Protocol.TCP, address(family, 203, host), 80, sources)


def route(
    family: Family, name: str, frontends: Iterable[Frontend], endpoints: Iterable[Endpoint], **fields: object
) -> Route:
    """Return a route whose policies fit its endpoints, unless ``fields`` say otherwise."""
    everything = ordered(endpoints)
    local = ordered(each for each in everything if each.local)
    given = {
        "internal": CLUSTER if everything else REFUSED,
        "external": EXTERNAL if everything else REFUSED,
        "all": everything,
        **fields,
    }
    if given["external"] is EXTERNAL_LOCAL:
        given["local"] = local
        given["external"] = EXTERNAL_LOCAL if local else NO_LOCAL if everything else REFUSED
    return msgspec.convert(
        {"key": RouteKey("shop", name, "http", Protocol.TCP, family), "frontends": tuple(frontends), **given},
        Route,
        strict=False,
        from_attributes=True,
    )


def node(family: Family, **fields: object) -> NodeFacts:
    """Return a node that serves NodePorts everywhere and knows Pods by address."""
    prefix = address(family, 244, 0) + ("/16" if family is Family.IPV4 else "/32")
    facts = FamilyFacts(pods=PodTest(cidr=prefix), nodeports=NodePortAddresses(every=True))
    facts = msgspec.structs.replace(facts, **fields)
    return NodeFacts("here", facts) if family is Family.IPV4 else NodeFacts("here", ipv6=facts)


def table(facts: NodeFacts, routes: Iterable[Route]) -> RoutingTable:
    """Return a table of routes, each a Service of its own."""
    return RoutingTable(facts, {each.key.service: ServiceRoutes(each.key.service, routes=(each,)) for each in routes})


def changes(before: RoutingTable | None, after: RoutingTable) -> Changes:
    """Return what differs."""
    old = {each.key: each for each in before.routes()} if before else {}
    new = {each.key: each for each in after.routes()}
    differing = [key for key in {**old, **new} if before is None or old.get(key) != new.get(key)]
    return Changes(
        before,
        after,
        tuple(RouteChange(key, old.get(key), new.get(key)) for key in differing),
        node=before is not None and before.node != after.node,
    )


@st.composite
def _routes(draw: st.DrawFn, family: Family) -> list[Route]:
    """Draw routes over a few frontends and endpoints; no two claim the same frontend."""
    claims: set[tuple[str, Protocol, int]] = set()
    found = []
    for name in draw(st.lists(st.sampled_from("abcd"), unique=True, max_size=4)):
        ranges = st.sampled_from(
            [(), (address(family, 203, 1) + "/32" if family is Family.IPV4 else address(family, 203, 1) + "/128",)]
        )
        everywhere = ("10.0.0.0/8",) if family is Family.IPV4 else ("fd00::/16",)
        sources = st.none() | st.builds(Sources, ranges | st.just(everywhere), st.booleans())
        candidates = [
            *(frontend(family, host) for host in draw(st.lists(st.integers(1, 3), unique=True, max_size=2))),
            *(nodeport(30000 + host) for host in draw(st.lists(st.integers(1, 3), unique=True, max_size=2))),
            *(
                balancer_ip(family, host, draw(sources))
                for host in draw(st.lists(st.integers(1, 2), unique=True, max_size=1))
            ),
        ]
        frontends = [each for each in candidates if each.claim not in claims]
        claims |= {each.claim for each in frontends}
        weights = draw(st.sampled_from([st.just(1), st.just(1), st.just(3), st.integers(0, 4)]))
        endpoints = [
            endpoint(family, host, local=host < 4, node=None if host < 7 else "", weight=draw(weights))
            for host in draw(st.lists(st.integers(1, 8), unique=True, max_size=6))
        ]
        found.append(
            route(
                family,
                name,
                frontends,
                endpoints,
                **({"external": EXTERNAL_LOCAL} if draw(st.booleans()) else {}),
                affinity=draw(st.sampled_from([0, 0, 0, 10, 20])),
                method=draw(st.sampled_from([Method.RANDOM, Method.RANDOM, Method.RANDOM, Method.MH])),
                priority=draw(st.sampled_from([0, 0, 5])),
            )
        )
    return found


@st.composite
def tables(draw: st.DrawFn, family: Family) -> RoutingTable:
    """Draw a table."""
    prefix = address(family, 96, 0) + ("/16" if family is Family.IPV4 else "/32")
    facts = node(
        family,
        pods=draw(st.sampled_from([None, PodTest(interface="cni0"), PodTest(interface_prefix="veth")])),
        nodeports=draw(
            st.sampled_from([NodePortAddresses(every=True), NodePortAddresses(addresses=(address(family, 0, 1),))])
        ),
        service_cidrs=draw(st.sampled_from([(), (prefix,)])),
    )
    return table(facts, draw(_routes(family)))

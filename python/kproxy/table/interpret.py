# SPDX-License-Identifier: Apache-2.0
"""The table's own reading of a packet: the model that every mode is held to, and what ``kproxy explain`` tells.

The order of the checks is that of the real dataplanes: who may dial the address at all; the exact address; the NodePort on
the addresses that serve it; a wrong port of an active ClusterIP; an address of a ServiceCIDR that nobody has; not ours.
"""

from collections.abc import Sequence

import msgspec

from kproxy.table.addresses import contains, family_of, is_loopback, join_port
from kproxy.table.endpoint import Endpoint
from kproxy.table.frontend import Frontend
from kproxy.table.node import FamilyFacts
from kproxy.table.route import Route, RouteKey, Verdict
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Action, Client, EndpointSet, Family, FrontendKind, Protocol


class Packet(msgspec.Struct, frozen=True):
    """The first packet of a connection. Addresses are canonical; ``interface`` is empty when this node made it."""

    source: str
    destination: str
    port: int
    protocol: Protocol = Protocol.TCP
    interface: str = ""

    def __str__(self) -> str:
        """Return ``10.0.0.2 > 10.96.0.1:80/TCP``."""
        return f"{self.source} > {join_port(self.destination, self.port)}/{self.protocol}"


class Candidate(msgspec.Struct, frozen=True):
    """An endpoint the packet may be sent to, how probably, and whether its source is rewritten then."""

    endpoint: Endpoint
    probability: float
    masquerade: bool


class Meeting(msgspec.Struct, frozen=True):
    """What a packet meets, and why in one sentence. ``key`` and ``frontend`` are None where no route is concerned.

    ``affinity`` is the time-out of the route's client affinity: with one, a client that came before goes where it went.
    """

    action: Action
    client: Client
    reason: str
    key: RouteKey | None = None
    frontend: Frontend | None = None
    candidates: tuple[Candidate, ...] = ()
    affinity: int = 0


class Interpreter:
    """A table with its frontends indexed: reading a packet does not scan the cluster."""

    def __init__(self, table: RoutingTable) -> None:
        self.table = table
        self._frontends: dict[tuple[Family, str, Protocol, int], tuple[Route, Frontend]] = {}
        self._cluster_ips: set[str] = set()
        for route in table.routes():
            for frontend in route.frontends:
                self._frontends[route.key.family, *frontend.claim] = (route, frontend)
                if frontend.kind is FrontendKind.CLUSTER_IP:
                    self._cluster_ips.add(frontend.address)

    def meet(self, packet: Packet) -> Meeting:
        """Tell what a packet meets on this node. Raises ValueError when its addresses are of two families."""
        family = family_of(packet.destination)
        if family_of(packet.source) is not family:
            raise ValueError(f"{packet}: source and destination are of two families")
        facts = self.table.node.of(family)
        client = client_of(packet, facts)
        found = self._frontends.get((family, packet.destination, packet.protocol, packet.port))
        if found:
            return _meet_frontend(packet, client, *found)
        found = self._frontends.get((family, "", packet.protocol, packet.port))
        if found:
            if serves_node_ports(packet.destination, facts):
                return _meet_frontend(packet, client, *found)
            if packet.destination in facts.addresses:
                return Meeting(Action.PASS, client, f"NodePorts are not served on {packet.destination}", found[0].key)
        return self._meet_none(packet, client, facts)

    def _meet_none(self, packet: Packet, client: Client, facts: FamilyFacts) -> Meeting:
        if packet.destination in self._cluster_ips:
            words = f"{packet.destination} is the ClusterIP of a Service without a port {packet.port}/{packet.protocol}"
            return Meeting(self.table.node.wrong_port, client, words)
        if contains(facts.service_cidrs, packet.destination):
            words = f"{packet.destination} is in a ServiceCIDR, and no Service has it"
            return Meeting(self.table.node.unallocated, client, words)
        return Meeting(Action.PASS, client, f"{join_port(packet.destination, packet.port)} is no Service's")


def meet(table: RoutingTable, packet: Packet) -> Meeting:
    """Tell what one packet meets. For many packets keep an ``Interpreter``."""
    return Interpreter(table).meet(packet)


def client_of(packet: Packet, facts: FamilyFacts) -> Client:
    """Tell who dials, in the order of ``Client``."""
    if is_loopback(packet.destination):
        return Client.LOOPBACK
    if facts.pods and facts.pods.matches(packet.source, packet.interface):
        return Client.POD
    if packet.source in facts.addresses or is_loopback(packet.source):
        return Client.NODE
    return Client.OUTSIDE


def serves_node_ports(address: str, facts: FamilyFacts) -> bool:
    """Tell whether NodePorts are served on an address."""
    if is_loopback(address):
        return facts.nodeports.loopback
    return address in (facts.addresses if facts.nodeports.every else facts.nodeports.addresses)


def candidates(endpoints: Sequence[Endpoint], verdict: Verdict, source: str) -> tuple[Candidate, ...]:
    """Return the endpoints with their shares by weight. Whoever is sent to itself is masqueraded: the hairpin law."""
    total = sum(endpoint.weight for endpoint in endpoints)
    return tuple(
        Candidate(endpoint, endpoint.weight / total, verdict.masquerade or endpoint.address == source)
        for endpoint in endpoints
        if endpoint.weight
    )


def _meet_frontend(packet: Packet, client: Client, route: Route, frontend: Frontend) -> Meeting:
    if not _is_let_in(packet.source, frontend):
        words = f"{packet.source} is in none of the loadBalancerSourceRanges of {route.key.service}"
        return Meeting(Action.DROP, client, words, route.key, frontend)
    verdict = route.policy(frontend.role).of(client)
    endpoints = route.endpoints(verdict.endpoints) if verdict.action is Action.BALANCE else ()
    return Meeting(
        verdict.action,
        client,
        _reason(route, frontend, verdict, len(endpoints)),
        route.key,
        frontend,
        candidates(endpoints, verdict, packet.source),
        route.affinity,
    )


def _is_let_in(source: str, frontend: Frontend) -> bool:
    sources = frontend.sources
    if sources is None:
        return True
    return contains(sources.ranges, source) or (sources.itself and source == frontend.address)


def _reason(route: Route, frontend: Frontend, verdict: Verdict, endpoints: int) -> str:
    service = f"{frontend.kind} {frontend} of {route.key.service}"
    match verdict.action:
        case Action.BALANCE:
            which = f"{endpoints} endpoint{'' if endpoints == 1 else 's'}"
            here = " of this node" if verdict.endpoints is EndpointSet.LOCAL else ""
            return f"{service} balances over {which}{here}{', masqueraded' if verdict.masquerade else ''}"
        case Action.REJECT:
            return f"{service} has no endpoint that could serve, on any node"
        case Action.DROP:
            return f"{service} has traffic policy Local and no endpoint on this node; others can serve"
        case Action.PASS:
            return f"{service} is not served to {Client.LOOPBACK} clients"

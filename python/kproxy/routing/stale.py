# SPDX-License-Identifier: Apache-2.0
"""Which UDP flows in the connection tracking table lead nowhere any more. Decisions only: the deleting is done elsewhere.

A UDP client that goes on sending keeps its flow alive for ever, and with it the endpoint it was once sent to. So after a
change the flows to the changed frontends are held against every endpoint that still serves, policies ignored: a flow whose
reply would come from another one is deleted, and the client's next packet is balanced anew. Other than kube-proxy we also
look after Services that lost all endpoints or are gone, and compare the address of a flow to a NodePort.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import msgspec

from kproxy.table.addresses import is_loopback, join_port
from kproxy.table.node import NodeFacts
from kproxy.table.routing_table import RoutingTable, Serving
from kproxy.table.terms import Family, Protocol

Destination: TypeAlias = tuple[str, int]  # an address and a UDP port


class Flow(msgspec.Struct, frozen=True):
    """A tracked connection: where the client sent to, and who answers it. Addresses are canonical."""

    protocol: Protocol
    destination: str
    port: int
    reply_source: str
    reply_port: int


class Cleanup(msgspec.Struct, frozen=True):
    """What to look for after a change.

    ``serving``: for each destination to ask the kernel for, the endpoints whose flows are kept. ``gone``: destinations that
    are no frontend any more.
    """

    serving: Mapping[Destination, frozenset[str]] = {}
    gone: frozenset[Destination] = frozenset()

    def __bool__(self) -> bool:
        """Tell whether there is anything to ask the kernel for."""
        return bool(self.serving) or bool(self.gone)

    @property
    def destinations(self) -> tuple[Destination, ...]:
        """Every destination to ask the kernel for, sorted."""
        return tuple(sorted({*self.serving, *self.gone}))

    def is_stale(self, flow: Flow) -> bool:
        """Tell whether a flow is to be deleted. Never one that is not UDP, or goes elsewhere.

        Where a frontend is gone only what had been translated goes: whatever answers there itself is not ours to cut.
        """
        if flow.protocol is not Protocol.UDP:
            return False
        destination = (flow.destination, flow.port)
        kept = self.serving.get(destination)
        if kept is not None:
            return join_port(flow.reply_source, flow.reply_port) not in kept
        return destination in self.gone and (flow.reply_source, flow.reply_port) != destination


def cleanup(before: RoutingTable | None, after: RoutingTable, services: Iterable[str] | None = None) -> Cleanup:
    """Work out what to look for once ``after`` is in force.

    ``services`` are those that differ (``Changes.services``); None, or nothing known of the table before: all of them.
    """
    names = set(services) if services is not None and before is not None else None
    serving = _destinations(after, names)
    gone = (_destinations(before, names) if before else {}).keys() - serving.keys()
    for destination in _exact_elsewhere(after, names, {*serving, *gone}) if names is not None else ():
        serving.pop(destination, None)
        gone.discard(destination)
    return Cleanup(serving, frozenset(gone))


def _destinations(table: RoutingTable, names: set[str] | None) -> dict[Destination, frozenset[str]]:
    """Return the endpoints of each destination of the named Services. An exact address goes before a NodePort."""
    exact: dict[Destination, frozenset[str]] = {}
    by_node_port: dict[Destination, frozenset[str]] = {}
    for serving in _serving(table, names):
        for address, _, port in serving.frontends:
            if address:
                exact[address, port] = serving.endpoints
            else:
                for own in node_port_addresses(table.node, serving.key.family):
                    by_node_port[own, port] = serving.endpoints
    return by_node_port | exact


def _exact_elsewhere(table: RoutingTable, names: set[str], wanted: set[Destination]) -> Iterator[Destination]:
    """Yield the wanted destinations that belong to another Service by their exact address."""
    if not wanted:
        return
    for name, routes in table.services.items():
        if name not in names:
            for serving in routes.serving:
                for address, _, port in serving.frontends:
                    if (address, port) in wanted:
                        yield (address, port)


def _serving(table: RoutingTable, names: set[str] | None) -> Iterator[Serving]:
    for name in table.services.keys() if names is None else names:
        routes = table.services.get(name)
        if routes:
            yield from routes.serving


def node_port_addresses(node: NodeFacts, family: Family) -> tuple[str, ...]:
    """Return the node's addresses that serve NodePorts now."""
    facts = node.of(family)
    own = facts.addresses if facts.nodeports.every else facts.nodeports.addresses
    loopback = tuple(one for one in facts.addresses if is_loopback(one)) if facts.nodeports.loopback else ()
    return (*(one for one in own if not is_loopback(one)), *loopback)

# SPDX-License-Identifier: Apache-2.0
"""The table reads packets: order of checks, classes of clients, shares, and words for a person."""

import pytest

from kproxy.table.endpoint import Endpoint
from kproxy.table.frontend import Frontend, Sources
from kproxy.table.interpret import Interpreter, Packet, meet
from kproxy.table.node import FamilyFacts, NodeFacts, NodePortAddresses, PodTest
from kproxy.table.route import DROP, PASS, Policy, Route, RouteKey, Verdict
from kproxy.table.routing_table import RoutingTable, ServiceRoutes
from kproxy.table.terms import Action, Client, EndpointSet, Family, FrontendKind, Protocol

KEY = RouteKey("shop", "web", "http", Protocol.TCP, Family.IPV4)
BALANCE = Verdict(Action.BALANCE, EndpointSet.ALL)
FACTS = FamilyFacts(
    pods=PodTest(cidr="10.1.0.0/16"),
    nodeports=NodePortAddresses(addresses=("192.168.0.2",)),
    addresses=("127.0.0.1", "192.168.0.2", "192.168.1.2"),
    service_cidrs=("10.96.0.0/16",),
)


def table(
    *frontends: Frontend, external: Policy | None = None, facts: FamilyFacts = FACTS, affinity: int = 0
) -> RoutingTable:
    """Return a table of one route with two endpoints of weights 1 and 3."""
    route = Route(
        KEY,
        internal=Policy(BALANCE, BALANCE, BALANCE),
        external=external or Policy(BALANCE, BALANCE, BALANCE),
        frontends=frontends,
        all=(Endpoint("10.1.0.1:80", "10.1.0.1", 80), Endpoint("10.1.0.2:80", "10.1.0.2", 80, weight=3)),
        affinity=affinity,
    )
    return RoutingTable(NodeFacts("node-1", ipv4=facts), {"shop/web": ServiceRoutes("shop/web", routes=(route,))})


def frontend(kind: FrontendKind, address: str, port: int = 80, sources: Sources | None = None) -> Frontend:
    """Write a TCP frontend."""
    return Frontend(kind, Protocol.TCP, address, port, sources)


@pytest.mark.parametrize(
    ("source", "interface", "destination", "client"),
    [
        ("10.1.2.3", "veth0", "10.96.0.1", Client.POD),
        ("192.168.0.2", "", "10.96.0.1", Client.NODE),
        ("192.168.1.2", "", "10.96.0.1", Client.NODE),
        ("203.0.113.1", "eth0", "10.96.0.1", Client.OUTSIDE),
        ("127.0.0.1", "", "127.0.0.1", Client.LOOPBACK),
        ("127.0.0.1", "", "10.96.0.1", Client.NODE),
    ],
)
def test_clients_are_told_apart(source: str, interface: str, destination: str, client: Client) -> None:
    """The first class that fits counts."""
    packet = Packet(source, destination, 80, interface=interface)

    assert meet(table(frontend(FrontendKind.CLUSTER_IP, "10.96.0.1")), packet).client is client


@pytest.mark.parametrize(
    ("pods", "interface", "client"),
    [
        (PodTest(interface="cni0"), "cni0", Client.POD),
        (PodTest(interface="cni0"), "cni01", Client.OUTSIDE),
        (PodTest(interface_prefix="veth"), "veth12", Client.POD),
        (PodTest(interface_prefix="veth"), "eth0", Client.OUTSIDE),
        (PodTest(interface_prefix="veth"), "", Client.OUTSIDE),
        (None, "cni0", Client.OUTSIDE),
    ],
)
def test_pods_are_told_by_the_interface(pods: PodTest | None, interface: str, client: Client) -> None:
    """A pod test by interface does not look at the address."""
    facts = FamilyFacts(pods=pods, addresses=FACTS.addresses)

    packet = Packet("10.1.2.3", "10.96.0.1", 80, interface=interface)

    assert meet(table(frontend(FrontendKind.CLUSTER_IP, "10.96.0.1"), facts=facts), packet).client is client


def test_shares_follow_weights_and_hairpin_is_masqueraded() -> None:
    """Candidates carry their probability; the client itself is the only one whose source is rewritten here."""
    meeting = meet(table(frontend(FrontendKind.CLUSTER_IP, "10.96.0.1"), affinity=30), Packet("10.1.0.2", "10.96.0.1", 80))

    assert [(one.endpoint.key, one.probability, one.masquerade) for one in meeting.candidates] == [
        ("10.1.0.1:80", 0.25, False),
        ("10.1.0.2:80", 0.75, True),
    ]
    assert meeting.affinity == 30
    assert meeting.reason == "ClusterIP 10.96.0.1:80/TCP of shop/web balances over 2 endpoints"


def test_what_is_no_frontend_is_answered_in_order() -> None:
    """Wrong port of a ClusterIP, address of a ServiceCIDR, everything else."""
    read = Interpreter(table(frontend(FrontendKind.CLUSTER_IP, "10.96.0.1")))

    assert read.meet(Packet("10.1.2.3", "10.96.0.1", 81)).action is Action.REJECT
    assert read.meet(Packet("10.1.2.3", "10.96.0.1", 80, Protocol.UDP)).action is Action.REJECT
    assert read.meet(Packet("10.1.2.3", "10.96.0.7", 80)).action is Action.DROP
    passed = read.meet(Packet("10.1.2.3", "10.1.0.1", 80))
    assert passed.action is Action.PASS
    assert passed.reason == "10.1.0.1:80 is no Service's"


def test_node_ports_are_served_where_they_are() -> None:
    """On the named addresses only; on every one of the node's if so told; loopback has a verdict of its own."""
    port = frontend(FrontendKind.NODE_PORT, "", 30_001)
    read = Interpreter(table(port))
    assert read.meet(Packet("203.0.113.1", "192.168.0.2", 30_001)).action is Action.BALANCE
    closed = read.meet(Packet("203.0.113.1", "192.168.1.2", 30_001))
    assert closed.action is Action.PASS
    assert closed.reason == "NodePorts are not served on 192.168.1.2"
    assert read.meet(Packet("127.0.0.1", "127.0.0.1", 30_001)).action is Action.PASS
    assert read.meet(Packet("203.0.113.1", "198.51.100.1", 30_001)).action is Action.PASS

    everywhere = FamilyFacts(nodeports=NodePortAddresses(every=True, loopback=True), addresses=FACTS.addresses)
    on_loopback = Policy(DROP, DROP, DROP, loopback=BALANCE)
    read = Interpreter(table(port, facts=everywhere, external=on_loopback))
    assert read.meet(Packet("203.0.113.1", "192.168.1.2", 30_001)).action is Action.DROP
    assert read.meet(Packet("127.0.0.1", "127.0.0.1", 30_001)).action is Action.BALANCE


def test_source_ranges_are_looked_at_first() -> None:
    """Who is not let in is dropped whatever the verdict; the address itself may be an exception."""
    limited = frontend(FrontendKind.LOAD_BALANCER_IP, "203.0.113.10", 80, Sources(("198.51.100.0/24",), itself=True))
    read = Interpreter(table(limited, external=Policy(PASS, PASS, PASS)))

    assert read.meet(Packet("203.0.113.99", "203.0.113.10", 80)).action is Action.DROP
    assert read.meet(Packet("198.51.100.9", "203.0.113.10", 80)).action is Action.PASS
    assert read.meet(Packet("203.0.113.10", "203.0.113.10", 80)).action is Action.PASS


def test_mixed_families_are_an_error() -> None:
    """No packet has a source of one family and a destination of the other."""
    with pytest.raises(ValueError, match="two families"):
        meet(table(), Packet("10.0.0.1", "fd00::1", 80))

# SPDX-License-Identifier: Apache-2.0
"""Which UDP flows are cut after a change, beyond what the conformance cases say."""

from kproxy.objects.events import Delete, Kind, Upsert
from kproxy.routing.router import Router
from kproxy.routing.stale import Cleanup, Flow, cleanup
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Protocol
from tests.unit.routing.manifests import HERE, OUTSIDE, endpoint, eps, port, routed, svc

UDP_PORT = {"name": "p", "port": 5353, "protocol": "UDP"}
DNS = port(53, "UDP", node_port=30_053)
ALIVE = ("10.1.0.1", 5353)


def dns(*addresses: str) -> Upsert:
    """Tell the slice of the DNS Service."""
    return eps("dns", *addresses, ports=[UDP_PORT])


def cluster() -> Router:
    """Return a router with a DNS Service of two endpoints, on ClusterIP, externalIP and NodePort."""
    return routed(
        svc("dns", "10.96.0.10", type="NodePort", externalIPs=["203.0.113.53"], ports=[DNS]),
        dns("10.1.0.1", "10.1.0.2"),
        node_port_addresses=("all",),
    )


def flow(destination: str, number: int, reply: tuple[str, int], protocol: Protocol = Protocol.UDP) -> Flow:
    """Write a tracked flow."""
    return Flow(protocol, destination, number, *reply)


def after(router: Router, *events: Upsert | Delete) -> Cleanup:
    """Return what to look for after some events."""
    before = router.table
    changes = router.apply(events)
    assert changes is not None
    return cleanup(before, changes.after, changes.services)


def test_flows_to_an_endpoint_that_left_are_cut_on_every_frontend() -> None:
    """Each address of the Service is asked for; what still serves is kept, what does not is cut."""
    found = after(cluster(), dns("10.1.0.1"))

    assert found.destinations == (
        ("10.96.0.10", 53),
        ("192.168.0.2", 30_053),
        ("192.168.1.2", 30_053),
        ("203.0.113.53", 53),
    )
    for destination in found.destinations:
        assert found.is_stale(flow(*destination, ("10.1.0.2", 5353)))
        assert not found.is_stale(flow(*destination, ALIVE))
        assert not found.is_stale(flow(*destination, ("10.1.0.2", 5353), Protocol.TCP))


def test_flows_of_a_service_scaled_to_zero_are_cut() -> None:
    """Where nobody serves every flow goes, translated or not, on NodePorts too."""
    found = after(cluster(), dns())

    assert found.is_stale(flow("10.96.0.10", 53, ALIVE))
    assert found.is_stale(flow("10.96.0.10", 53, ("10.96.0.10", 53)))
    assert found.is_stale(flow(HERE, 30_053, ALIVE))


def test_flows_of_a_deleted_service_are_cut_unless_somebody_else_answers_there() -> None:
    """What had been translated goes; what the address answers itself stays."""
    found = after(cluster(), Delete(Kind.SERVICE, "shop/dns"))

    assert found.is_stale(flow("203.0.113.53", 53, ALIVE))
    assert not found.is_stale(flow("203.0.113.53", 53, ("203.0.113.53", 53)))
    assert found.is_stale(flow(HERE, 30_053, ALIVE))


def test_a_node_port_flow_to_a_foreign_address_is_not_ours() -> None:
    """The address counts: somebody else's flow that uses the number of a NodePort is left alone."""
    found = after(cluster(), dns())

    assert not found.is_stale(flow(OUTSIDE, 30_053, ("198.51.100.1", 30_053)))
    assert not found.is_stale(flow("10.1.0.7", 30_053, ("10.1.0.7", 30_053)))


def test_flows_to_an_endpoint_that_serves_without_being_ready_are_kept() -> None:
    """Serving is what counts, on this node or another."""
    found = after(
        cluster(),
        eps("dns", endpoint("10.1.0.1", ready=False, serving=True, terminating=True), "10.1.0.2", ports=[UDP_PORT]),
    )

    assert found.destinations
    assert not found.is_stale(flow("10.96.0.10", 53, ALIVE))


def test_the_first_endpoint_clears_what_was_never_translated() -> None:
    """A client that sent before there was an endpoint is balanced with its next packet."""
    router = routed(svc("dns", "10.96.0.10", ports=[port(53, "UDP")]))

    assert after(router, dns("10.1.0.1")).is_stale(flow("10.96.0.10", 53, ("10.96.0.10", 53)))


def test_a_frontend_that_changes_its_owner_keeps_the_new_owners_flows() -> None:
    """An address that another Service took over is that Service's to judge."""
    shared = ["203.0.113.99"]
    router = routed(
        svc("a", "10.96.0.1", externalIPs=shared, ports=[port(53, "UDP")]),
        svc("b", "10.96.0.2", externalIPs=shared, ports=[port(53, "UDP")]),
        eps("a", "10.1.0.1", ports=[UDP_PORT]),
        eps("b", "10.1.0.2", ports=[UDP_PORT]),
    )
    found = after(router, Delete(Kind.SERVICE, "shop/a"))

    assert found.is_stale(flow("203.0.113.99", 53, ("10.1.0.1", 5353)))
    assert not found.is_stale(flow("203.0.113.99", 53, ("10.1.0.2", 5353)))
    assert found.is_stale(flow("10.96.0.1", 53, ("10.1.0.1", 5353)))


def test_an_exact_address_of_another_service_is_not_judged_by_a_node_port() -> None:
    """A load balancer on a node address keeps its flows when a NodePort of the same number changes."""
    router = routed(
        svc("np", "10.96.0.1", type="NodePort", ports=[port(53, "UDP", node_port=30_053)]),
        svc("lb", "10.96.0.2", type="LoadBalancer", status=[HERE], ports=[port(30_053, "UDP")]),
        eps("np", "10.1.0.1", ports=[UDP_PORT]),
        eps("lb", "10.1.0.2", ports=[UDP_PORT]),
        node_port_addresses=("all",),
    )
    found = after(router, eps("np", "10.1.0.3", ports=[UDP_PORT]))

    assert not found.is_stale(flow(HERE, 30_053, ("10.1.0.2", 5353)))
    assert found.is_stale(flow("192.168.1.2", 30_053, ALIVE))


def test_nothing_is_asked_where_no_udp_service_changed() -> None:
    """TCP Services and unchanged ones cost the kernel no question; at the start all UDP Services are asked for."""
    router = cluster()
    assert not after(router, svc("web", "10.96.0.1"))
    assert not cleanup(None, RoutingTable())
    assert len(cleanup(None, router.table).destinations) == 4

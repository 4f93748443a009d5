# SPDX-License-Identifier: Apache-2.0
"""Traps that service proxies fell into, as far as routing can fall into them."""

import pytest

from kproxy.objects.events import Delete, Kind, Upsert
from kproxy.objects.meta import Meta
from kproxy.objects.servicecidr import ServiceCIDR, ServiceCIDRSpec
from kproxy.table.interpret import Meeting
from kproxy.table.routing_table import Conflict
from kproxy.table.terms import Action, Client, FrontendKind, Mode
from tests.unit.routing.manifests import HERE, OUTSIDE, POD, dial, endpoint, eps, port, reached, routed, svc, terminating


def test_one_port_number_in_two_protocols_is_two_routes() -> None:
    """80/TCP and 80/UDP of one Service lead to different endpoints and end separately."""
    ports = [port(80, "TCP", "tcp"), port(80, "UDP", "udp")]
    router = routed(
        svc("web", "10.96.0.1", ports=ports),
        eps("web", "10.1.0.1", name="t", ports=[{"name": "tcp", "port": 8080, "protocol": "TCP"}]),
        eps("web", "10.1.0.2", name="u", ports=[{"name": "udp", "port": 8080, "protocol": "UDP"}]),
    )

    assert reached(dial(router, "10.96.0.1", protocol="TCP")) == {"10.1.0.1"}
    assert reached(dial(router, "10.96.0.1", protocol="UDP")) == {"10.1.0.2"}
    changes = router.apply([svc("web", "10.96.0.1", ports=ports[:1])])
    assert changes is not None
    assert [str(change.key) for change in changes.routes] == ["shop/web:udp/UDP/IPv4"]
    assert reached(dial(router, "10.96.0.1", protocol="TCP")) == {"10.1.0.1"}


def test_the_older_of_two_claimants_has_the_address_and_the_other_takes_over() -> None:
    """Of two Services with one externalIP and port the first by creation has it; when it goes, the second has it at once."""
    shared = ["203.0.113.10"]
    router = routed(
        svc("young", "10.96.0.2", created="2024-02-01T00:00:00Z", externalIPs=shared),
        svc("old", "10.96.0.1", created="2024-01-01T00:00:00Z", externalIPs=shared),
        eps("old", "10.1.0.1"),
        eps("young", "10.1.0.2"),
    )

    assert reached(dial(router, "203.0.113.10")) == {"10.1.0.1"}
    assert reached(dial(router, "10.96.0.2")) == {"10.1.0.2"}
    assert router.table.conflicts == (Conflict("203.0.113.10:80/TCP", "shop/old", "shop/young"),)
    changes = router.apply([Delete(Kind.SERVICE, "shop/old")])
    assert changes is not None
    assert changes.services == ("shop/old", "shop/young")
    assert reached(dial(router, "203.0.113.10")) == {"10.1.0.2"}
    assert not changes.after.conflicts


def test_a_name_settles_what_creation_does_not() -> None:
    """Two Services of one moment are told apart by name, whichever came first."""
    shared = ["203.0.113.10"]
    events = [svc("b", "10.96.0.2", externalIPs=shared), svc("a", "10.96.0.1", externalIPs=shared)]

    for order in (events, events[::-1]):
        assert routed(*order).table.conflicts == (Conflict("203.0.113.10:80/TCP", "shop/a", "shop/b"),)


def test_a_service_created_anew_goes_behind() -> None:
    """A Service that was deleted and created again in one batch has lost its place."""
    shared = ["203.0.113.10"]
    router = routed(
        svc("a", "10.96.0.1", created="2024-01-01T00:00:00Z", externalIPs=shared),
        svc("b", "10.96.0.2", created="2024-02-01T00:00:00Z", externalIPs=shared),
        eps("a", "10.1.0.1"),
        eps("b", "10.1.0.2"),
    )
    router.apply([Delete(Kind.SERVICE, "shop/a"), svc("a", "10.96.0.1", created="2024-03-01T00:00:00Z", externalIPs=shared)])

    assert reached(dial(router, "203.0.113.10")) == {"10.1.0.2"}


def test_a_load_balancer_address_that_is_a_node_address_goes_before_the_node_port() -> None:
    """The exact address has its one port; NodePorts keep all others of that address, and that port elsewhere."""
    router = routed(
        svc("web", "10.96.0.1", type="NodePort", ports=[port(80, node_port=30_001)]),
        svc("lb", "10.96.0.2", type="LoadBalancer", status=[HERE], ports=[port(30_001)]),
        eps("web", "10.1.0.1"),
        eps("lb", "10.1.0.2"),
        node_port_addresses=("all",),
    )

    assert reached(dial(router, HERE, 30_001, OUTSIDE)) == {"10.1.0.2"}
    assert reached(dial(router, "192.168.1.2", 30_001, OUTSIDE)) == {"10.1.0.1"}
    assert router.table.conflicts == ()


def test_one_address_named_twice_by_a_service_keeps_its_source_ranges() -> None:
    """An address that is both load balancer IP and externalIP of one Service is filtered."""
    router = routed(
        svc(
            "lb",
            "10.96.0.2",
            type="LoadBalancer",
            status=["203.0.113.10"],
            externalIPs=["203.0.113.10"],
            loadBalancerSourceRanges=["198.51.100.0/24"],
        ),
        eps("lb", "10.1.0.2"),
    )

    assert dial(router, "203.0.113.10", source=OUTSIDE).action is Action.DROP
    assert reached(dial(router, "203.0.113.10", source="198.51.100.1")) == {"10.1.0.2"}


def test_a_load_balancer_address_of_another_services_external_ip_is_a_conflict() -> None:
    """The kind of the address does not matter: one address and port has one owner."""
    router = routed(
        svc("lb", "10.96.0.2", type="LoadBalancer", status=["203.0.113.10"], created="2024-02-01T00:00:00Z"),
        svc("web", "10.96.0.1", externalIPs=["203.0.113.10"], created="2024-01-01T00:00:00Z"),
    )

    assert router.table.conflicts == (Conflict("203.0.113.10:80/TCP", "shop/web", "shop/lb"),)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_node_port_moves_between_services_in_one_batch(reverse: bool) -> None:
    """A NodePort that one Service gives up and another takes has the new owner, in whatever order it is told."""
    router = routed(
        svc("a", "10.96.0.1", type="NodePort", ports=[port(80, node_port=30_001)]),
        svc("b", "10.96.0.2", type="NodePort"),
        eps("a", "10.1.0.1"),
        eps("b", "10.1.0.2"),
    )
    batch = [
        svc("a", "10.96.0.1", type="NodePort", ports=[port(80, node_port=30_002)]),
        svc("b", "10.96.0.2", type="NodePort", ports=[port(80, node_port=30_001)]),
    ]
    router.apply(batch[::-1] if reverse else batch)

    assert reached(dial(router, HERE, 30_001, OUTSIDE)) == {"10.1.0.2"}
    assert reached(dial(router, HERE, 30_002, OUTSIDE)) == {"10.1.0.1"}
    assert router.table.conflicts == ()


def test_an_endpoint_moves_between_services_in_one_batch() -> None:
    """An endpoint that leaves one Service and joins another is in exactly the one."""
    router = routed(svc("a", "10.96.0.1"), svc("b", "10.96.0.2"), eps("a", "10.1.0.1", "10.1.0.2"), eps("b", "10.1.0.3"))
    router.apply([eps("a", "10.1.0.1"), eps("b", "10.1.0.3", "10.1.0.2")])

    assert reached(dial(router, "10.96.0.1")) == {"10.1.0.1"}
    assert reached(dial(router, "10.96.0.2")) == {"10.1.0.2", "10.1.0.3"}


def test_terminating_endpoints_serve_until_one_is_ready() -> None:
    """While nothing is ready, endpoints that shut down but serve are used; a ready one takes all at once."""
    router = routed(svc("web", "10.96.0.1"), eps("web", terminating("10.1.0.1"), endpoint("10.1.0.2", ready=False)))

    assert reached(dial(router, "10.96.0.1")) == {"10.1.0.1"}
    router.apply([eps("web", terminating("10.1.0.1"), "10.1.0.2")])
    assert reached(dial(router, "10.96.0.1")) == {"10.1.0.2"}


def masquerades(meeting: Meeting) -> dict[str, bool]:
    """Return whether the source is rewritten, by endpoint."""
    return {one.endpoint.address: one.masquerade for one in meeting.candidates}


def test_only_the_client_itself_is_masqueraded_as_hairpin() -> None:
    """A pod that may be sent to itself is masqueraded for that choice alone, with one endpoint and with many."""
    router = routed(svc("web", "10.96.0.1"), eps("web", "10.1.0.1"))
    assert masquerades(dial(router, "10.96.0.1", source="10.1.0.1")) == {"10.1.0.1": True}

    router.apply([eps("web", "10.1.0.1", "10.1.0.2", "10.1.0.3")])
    hairpin = dial(router, "10.96.0.1", source="10.1.0.1")
    assert masquerades(hairpin) == {"10.1.0.1": True, "10.1.0.2": False, "10.1.0.3": False}
    assert not any(masquerades(dial(router, "10.96.0.1", source=POD)).values())


def test_source_ranges_let_in_whom_they_name_and_the_address_itself() -> None:
    """A range that holds the node lets the address itself in; others stay out, and the ClusterIP is not concerned."""
    router = routed(
        svc(
            "lb",
            "10.96.0.1",
            type="LoadBalancer",
            status=["203.0.113.10"],
            loadBalancerSourceRanges=["192.168.0.0/24", "2001:db8::/32"],
        ),
        eps("lb", "10.1.0.1"),
    )

    assert dial(router, "203.0.113.10", source=HERE).action is Action.BALANCE
    assert dial(router, "203.0.113.10", source="203.0.113.10").action is Action.BALANCE
    assert dial(router, "203.0.113.10", source=POD).action is Action.DROP
    assert dial(router, "10.96.0.1", source=OUTSIDE).action is Action.BALANCE


def test_ranges_of_the_other_family_close_this_one() -> None:
    """IPv6 ranges on an IPv4 load balancer let nobody in."""
    router = routed(
        svc("lb", "10.96.0.1", type="LoadBalancer", status=["203.0.113.10"], loadBalancerSourceRanges=["2001:db8::/32"]),
        eps("lb", "10.1.0.1"),
    )

    assert dial(router, "203.0.113.10", source=OUTSIDE).action is Action.DROP


def test_source_ranges_come_before_the_answer_that_nobody_serves() -> None:
    """Without endpoints whoever is let in is refused, and whoever is not hears nothing."""
    router = routed(
        svc("lb", "10.96.0.1", type="LoadBalancer", status=["203.0.113.10"], loadBalancerSourceRanges=["198.51.100.0/24"])
    )

    assert dial(router, "203.0.113.10", source="198.51.100.7").action is Action.REJECT
    assert dial(router, "203.0.113.10", source=OUTSIDE).action is Action.DROP


def service_cidr(*cidrs: str) -> Upsert:
    """Tell the ServiceCIDR."""
    return Upsert(ServiceCIDR(Meta(name="kubernetes"), ServiceCIDRSpec(cidrs)))


def test_wrong_ports_and_unallocated_addresses_are_answered_at_once() -> None:
    """A ServiceCIDR that is told later counts from then on, without resolving a Service again."""
    router = routed(svc("web", "10.96.0.1"), eps("web", "10.1.0.1"))
    assert dial(router, "10.96.0.1", 81).action is Action.REJECT
    assert dial(router, "10.96.0.9").action is Action.PASS
    before = router.table

    changes = router.apply([service_cidr("10.96.0.0/16")])

    assert changes is not None
    assert changes.node
    assert changes.routes == ()
    assert router.table.services is before.services
    assert dial(router, "10.96.0.9").action is Action.DROP
    assert dial(router, "10.96.0.1", 81).action is Action.REJECT
    router.apply([Delete(Kind.SERVICE_CIDR, "kubernetes")])
    assert dial(router, "10.96.0.9").action is Action.PASS


def test_iptables_mode_lets_wrong_ports_and_unallocated_addresses_pass() -> None:
    """What kube-proxy's iptables mode leaves alone is left alone."""
    router = routed(svc("web", "10.96.0.1"), service_cidr("10.96.0.0/16"), mode=Mode.IPTABLES)

    assert dial(router, "10.96.0.1", 81).action is Action.PASS
    assert dial(router, "10.96.0.9").action is Action.PASS


def test_masquerade_all_rewrites_even_pods() -> None:
    """With masqueradeAll nobody's source reaches an endpoint."""
    router = routed(svc("web", "10.96.0.1"), eps("web", "10.1.0.1"), masquerade_all=True)

    assert masquerades(dial(router, "10.96.0.1")) == {"10.1.0.1": True}


def test_without_a_detector_nobody_is_a_pod_and_nobody_is_masqueraded() -> None:
    """Where pods cannot be told, a ClusterIP rewrites no source and policy Local knows no short way."""
    router = routed(
        svc("web", "10.96.0.1", type="NodePort", externalTrafficPolicy="Local", ports=[port(80, node_port=30_001)]),
        eps("web", endpoint("10.1.0.1", on="node-1"), endpoint("10.1.0.2", on="node-2")),
        cluster_cidrs=(),
    )

    assert masquerades(dial(router, "10.96.0.1", source=OUTSIDE)) == {"10.1.0.1": False, "10.1.0.2": False}
    meeting = dial(router, HERE, 30_001, POD)
    assert meeting.client is Client.OUTSIDE
    assert reached(meeting) == {"10.1.0.1"}


def test_a_dial_from_this_node_meets_the_service_whatever_the_routes() -> None:
    """The table knows nothing of routes: a node without a default route must be given one, or its own dials fail first."""
    router = routed(svc("web", "10.96.0.1"), eps("web", "10.1.0.1"))
    meeting = dial(router, "10.96.0.1", source=HERE)

    assert meeting.client is Client.NODE
    assert meeting.frontend is not None
    assert meeting.frontend.kind is FrontendKind.CLUSTER_IP
    assert masquerades(meeting) == {"10.1.0.1": True}

# SPDX-License-Identifier: Apache-2.0
"""Addresses and ports where Services meet: one another, the node, themselves. Numbers are those of the list of traps."""

import msgspec
import pytest

from kproxy.objects.events import Upsert
from kproxy.objects.meta import Meta
from kproxy.objects.servicecidr import ServiceCIDR, ServiceCIDRSpec
from kproxy.table.terms import Protocol
from tests.sequences.objects import Place, endpoints, gone, service
from tests.sequences.stage import NODE4, OUTSIDE, POD, SETTINGS, stage

pytestmark = pytest.mark.packets

VIP, PORT = "172.30.0.1", 31001
TOLD = [
    service("web", VIP, ports=[("TCP", 80, PORT)], type="NodePort"),
    endpoints("web", [Place("10.180.0.1"), Place("10.180.1.1", "other-node")]),
]
BOTH = {"10.180.0.1:8080", "10.180.1.1:8080"}
FAR, FURTHER = Place("10.180.2.1", "third-node"), Place("10.180.2.2", "third-node")


def test_trap_1_one_port_number_of_two_protocols_is_two_ports() -> None:
    """TCP and UDP 80 of one Service go to target ports of their own, and either may come and go alone."""
    both, slice_ = [("TCP", 80, PORT), ("UDP", 80, PORT)], endpoints("web", [FAR], ports=[("TCP", 8080), ("UDP", 9090)])
    with stage(service("web", VIP, ports=both, type="NodePort"), slice_) as on:
        for address, port in ((VIP, 80), (NODE4, PORT)):
            assert on.met(address, port, choices=1) == {"10.180.2.1:8080"}
            assert on.met(address, port, choices=1, protocol=Protocol.UDP) == {"10.180.2.1:9090"}
        on.tell(service("web", VIP, ports=both[:1], type="NodePort"))
        assert on.met(VIP, choices=1) == {"10.180.2.1:8080"}
        assert on.met(VIP, choices=1, protocol=Protocol.UDP) == {"REJECT"}


def test_trap_4_a_node_port_changes_hands_in_one_step() -> None:
    """One Service gives a node port up and another takes it in the same batch of events."""
    with stage(*TOLD) as on:
        without = service("web", VIP, type="ClusterIP")
        heir = service("heir", "172.30.0.2", ports=[("TCP", 80, PORT)], type="NodePort")
        on.tell(heir, without, endpoints("heir", [Place("10.180.2.1", "third-node")]))
        assert on.met(NODE4, PORT, source=OUTSIDE) == {"10.180.2.1:8080"}
        assert on.met(VIP) == BOTH


def test_trap_5_an_endpoint_moves_from_one_service_to_another_in_one_step() -> None:
    """Both Services have it where it belongs, and counters go with the endpoint of each."""
    with stage(*TOLD, service("other", "172.30.0.2"), endpoints("other", [Place("10.180.2.1", "third-node")])) as on:
        on.tell(
            endpoints("web", [Place("10.180.0.1")]),
            endpoints("other", [Place("10.180.1.1", "other-node"), Place("10.180.2.1", "third-node")]),
        )
        assert on.met(VIP) == {"10.180.0.1:8080"}
        assert on.met("172.30.0.2") == {"10.180.1.1:8080", "10.180.2.1:8080"}


def test_trap_2_the_second_claimant_takes_over_when_the_first_goes() -> None:
    """Two Services claim one external address; the one named first in the order of creation and names has it."""
    first = service("a-first", "172.30.0.3", externalIPs=["192.168.99.1"])
    second = service("b-second", "172.30.0.4", externalIPs=["192.168.99.1"])
    slices = [
        endpoints("a-first", [Place("10.180.2.1", "third-node")]),
        endpoints("b-second", [Place("10.180.2.2", "third-node")]),
    ]
    with stage(*TOLD, second, first, *slices) as on:
        assert on.met("192.168.99.1") == {"10.180.2.1:8080"}
        on.tell(service("a-first", "172.30.0.3"))
        assert on.met("192.168.99.1") == {"10.180.2.2:8080"}


def test_trap_3_a_load_balancer_has_the_nodes_own_address() -> None:
    """The address is served for the Service's port, and stays the node's for every other."""
    balancer = service("web", VIP, balancers=[NODE4], type="LoadBalancer")
    with stage(balancer, endpoints("web", [FAR])) as on:
        for source in (POD, NODE4, OUTSIDE):
            assert on.met(NODE4, source=source, choices=1) == {"10.180.2.1:8080"}
            assert on.met(NODE4, 81, source=source, choices=1) == {"NONE"}


def test_trap_3_a_load_balancer_has_the_external_address_of_another_service() -> None:
    """As with two external addresses: one Service has it, and the other once the first is gone."""
    external = service("a-first", "172.30.0.3", externalIPs=["192.168.99.1"])
    balancer = service("b-second", "172.30.0.4", balancers=["192.168.99.1"], type="LoadBalancer")
    with stage(external, balancer, endpoints("a-first", [FAR]), endpoints("b-second", [FURTHER])) as on:
        assert on.met("192.168.99.1", source=OUTSIDE, choices=1) == {"10.180.2.1:8080"}
        on.tell(gone(external))
        assert on.met("192.168.99.1", source=OUTSIDE, choices=1) == {"10.180.2.2:8080"}


@pytest.mark.parametrize("others", [0, 2], ids=["alone", "among three"])
def test_trap_9_a_pod_that_reaches_itself_sees_the_node(others: int) -> None:
    """Hairpin: only the choice of the client itself is masqueraded."""
    places = [Place(f"10.180.0.{last}") for last in range(1, 2 + others)]
    with stage(service("web", VIP), endpoints("web", places)) as on:
        met = {(outcome.endpoint, outcome.source) for outcome in on.dial(VIP, source="10.180.0.1", times=100)}
        itself = {("10.180.0.1:8080", NODE4)}
        assert met == itself | {(f"{place.address}:8080", "10.180.0.1") for place in places[1:]}


def test_trap_11_source_ranges_of_the_other_family_close_a_load_balancer() -> None:
    """A Service whose only ranges are IPv6 lets nobody in over IPv4; without endpoints the ranges still come first."""

    def balancer(*ranges: str) -> Upsert:
        return service("web", VIP, balancers=["203.0.114.1"], type="LoadBalancer", loadBalancerSourceRanges=list(ranges))

    with stage(balancer("2600:5200::/64"), endpoints("web", [FAR])) as on:
        assert on.met("203.0.114.1", source=OUTSIDE, choices=1) == {"DROP"}
        on.tell(balancer(f"{NODE4}/32"))
        assert on.met("203.0.114.1", source=OUTSIDE, choices=1) == {"DROP"}
        assert on.met("203.0.114.1", source=NODE4, choices=1) == {"10.180.2.1:8080"}
        on.tell(balancer(f"{NODE4}/32", f"{OUTSIDE}/32"), endpoints("web", []))
        assert on.met("203.0.114.1", source=OUTSIDE, choices=1) == {"REJECT"}
        assert on.met("203.0.114.1", source="203.0.113.99", choices=1) == {"DROP"}
        on.tell(balancer())
        assert on.met("203.0.114.1", source="203.0.113.99", choices=1) == {"REJECT"}


def test_trap_12_wrong_ports_and_unallocated_addresses() -> None:
    """A wrong port of a ClusterIP is refused, an address nobody has is dropped once its range is known, and not before."""
    cidr = Upsert(ServiceCIDR(Meta(name="kubernetes"), ServiceCIDRSpec(("172.30.0.0/16",))))
    with stage(*TOLD) as on:
        for source in (POD, NODE4):
            assert on.met(VIP, 81, source=source, choices=1) == {"REJECT"}
            assert on.met(VIP, 80, source=source, choices=1, protocol=Protocol.SCTP) == {"REJECT"}
            assert on.met("172.30.0.99", source=source, choices=1) == {"NONE"}
        on.tell(cidr)
        for source in (POD, NODE4):
            assert on.met("172.30.0.99", source=source, choices=1) == {"DROP"}
            assert on.met(VIP, 81, source=source, choices=1) == {"REJECT"}
            assert on.met(VIP, source=source) == BOTH
        on.tell(gone(cidr))
        assert on.met("172.30.0.99", choices=1) == {"NONE"}


@pytest.mark.parametrize("bit", [0, 14, 31])
def test_trap_13_any_bit_may_be_the_masquerade_mark(bit: int) -> None:
    """The configured bit does it, everything can be masqueraded, and without a detector ClusterIPs never are."""
    with stage(*TOLD, settings=msgspec.structs.replace(SETTINGS, masquerade_bit=bit)) as on:
        assert {outcome.source for outcome in on.dial(NODE4, PORT, source=OUTSIDE, times=10)} == {NODE4}
        assert {outcome.source for outcome in on.dial(VIP, source=POD, times=10)} == {POD}
    with stage(*TOLD, settings=msgspec.structs.replace(SETTINGS, masquerade_bit=bit, masquerade_all=True)) as on:
        assert {outcome.source for outcome in on.dial(VIP, source=POD, times=10)} == {NODE4}
    with stage(*TOLD, settings=msgspec.structs.replace(SETTINGS, masquerade_bit=bit, cluster_cidrs=())) as on:
        assert {outcome.source for outcome in on.dial(VIP, source=OUTSIDE, times=10)} == {OUTSIDE}

# SPDX-License-Identifier: Apache-2.0
"""UDP clients that never stop sending from one port. Numbers are those of upstream's end-to-end list.

Each datagram keeps its conntrack entry alive, so a client stays with the endpoint its first datagram met until somebody
deletes the entry. Here that is done at once after each change, so the very next datagram must arrive.
"""

from typing import Any

import pytest

from kproxy.objects.events import Upsert
from kproxy.table.terms import Protocol
from tests.conformance.packets.dial import Met
from tests.sequences.objects import Place, endpoints, gone, service
from tests.sequences.stage import NODE4, OUTSIDE, POD, Stage, stage

pytestmark = pytest.mark.packets

VIP, PORT, NODE_PORT, CLIENT_PORT = "172.30.0.1", 53, 31053, 12345
FIRST, SECOND = Place("10.180.1.1", "other-node"), Place("10.180.1.2", "other-node")


def dns(**spec: Any) -> Upsert:
    """Tell of the Service under test."""
    return service("dns", VIP, ports=[("UDP", PORT, NODE_PORT)], type="NodePort", **spec)


def servers(*places: Place) -> Upsert:
    """Tell of its endpoints."""
    return endpoints("dns", places, ports=[("UDP", PORT)])


def sends(on: Stage, address: str = VIP, port: int = PORT, source: str = POD) -> str:
    """Send one more datagram from the client's one port; return whom it met."""
    (outcome,) = on.dial(address, port, source=source, protocol=Protocol.UDP, source_port=CLIENT_PORT)
    return outcome.endpoint if outcome.met is Met.ENDPOINT else outcome.met.value


def at(place: Place) -> str:
    """Return a server as dials name it."""
    return f"{place.address}:{PORT}"


def test_44_a_client_of_a_node_port_follows_when_the_server_changes() -> None:
    """Another server comes, the first goes, the client's next datagram meets the other."""
    with stage(dns(), servers(FIRST)) as on:
        assert [sends(on, NODE4, NODE_PORT, OUTSIDE) for _ in range(3)] == [at(FIRST)] * 3
        on.tell(servers(FIRST, SECOND))
        assert sends(on, NODE4, NODE_PORT, OUTSIDE) == at(FIRST)
        on.tell(servers(SECOND))
        assert [sends(on, NODE4, NODE_PORT, OUTSIDE) for _ in range(3)] == [at(SECOND)] * 3


@pytest.mark.parametrize("source", [POD, NODE4], ids=["45 from a Pod", "46 from the node itself"])
def test_45_46_a_client_that_began_before_the_service_is_served(source: str) -> None:
    """Entries that were never translated go as well when the first endpoint comes; then the client follows every change."""
    with stage() as on:
        assert sends(on, source=source) == "NONE"
        on.tell(dns())
        assert sends(on, source=source) in {"NONE", "REJECT"}
        on.tell(servers(FIRST))
        assert sends(on, source=source) == at(FIRST)
        on.tell(servers(FIRST, SECOND))
        on.tell(servers(SECOND))
        assert sends(on, source=source) == at(SECOND)


def test_47_a_client_is_served_once_the_first_endpoint_is_ready() -> None:
    """The client sends while the only endpoint is not ready, and is refused; then it is served."""
    unready = Place(FIRST.address, FIRST.node, ready=False, serving=False)
    with stage(dns(), servers(unready)) as on:
        assert [sends(on) for _ in range(3)] == ["REJECT"] * 3
        on.tell(servers(FIRST))
        assert sends(on) == at(FIRST)


def test_48_the_drop_while_no_local_endpoint_is_there_leaves_nothing_behind() -> None:
    """Internal policy Local: the node's endpoint goes, another lives elsewhere; once it is back it is met at once."""
    here = Place("10.180.0.1")
    with stage(dns(internalTrafficPolicy="Local"), servers(here, SECOND)) as on:
        assert sends(on) == at(here)
        on.tell(servers(SECOND))
        assert [sends(on) for _ in range(3)] == ["DROP"] * 3
        on.tell(servers(here, SECOND))
        assert sends(on) == at(here)


def test_a_service_scaled_to_zero_refuses_its_old_clients() -> None:
    """A client of the last endpoint is told at once; kube-proxy leaves it sending into the void."""
    with stage(dns(), servers(FIRST)) as on:
        assert sends(on) == at(FIRST)
        on.tell(servers())
        assert sends(on) == "REJECT"
        on.tell(servers(FIRST))
        assert sends(on) == at(FIRST)


def test_a_deleted_service_lets_go_of_its_old_clients() -> None:
    """Nothing of a deleted Service is translated any more, not even flows that were."""
    item, slice_ = dns(), servers(FIRST)
    with stage(item, slice_) as on:
        assert sends(on) == at(FIRST)
        assert sends(on, NODE4, NODE_PORT, OUTSIDE) == at(FIRST)
        on.tell(gone(item), gone(slice_))
        assert sends(on) == "NONE"
        assert sends(on, NODE4, NODE_PORT, OUTSIDE) == "NONE"


def test_flows_to_endpoints_that_stay_are_left_alone() -> None:
    """Only entries of the endpoint that left are deleted."""
    third = Place("10.180.1.3", "other-node")
    with stage(dns(), servers(FIRST, SECOND, third)) as on:
        clients = [f"198.51.0.{last}" for last in range(1, 40)]
        before = {client: sends(on, source=client) for client in clients}
        on.tell(servers(FIRST, SECOND))
        after = {client: sends(on, source=client) for client in clients}
        stayed = {client: endpoint for client, endpoint in before.items() if endpoint != at(third)}
        assert 0 < len(stayed) < len(before)
        assert stayed.items() <= after.items()
        assert at(third) not in after.values()

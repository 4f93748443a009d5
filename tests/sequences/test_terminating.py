# SPDX-License-Identifier: Apache-2.0
"""Endpoints that are not ready or are leaving. Numbers are those of upstream's end-to-end list.

Where upstream looks from two nodes, the same node looks twice: once as the Pod's, once as the other.
"""

import asyncio
from typing import Any

import msgspec
import pytest

from kproxy.objects.events import Upsert
from kproxy.observe.health_ports import HealthPorts
from kproxy.table.clock import FakeClock
from tests.sequences.objects import Place, endpoints, leaving, service
from tests.sequences.stage import NODE4, OUTSIDE, POD, Stage, stage

pytestmark = pytest.mark.packets
ANY_MODE = pytest.mark.usefixtures("any_mode")

VIP, PORT, HEALTH_PORT = "172.30.0.1", 31001, 32000
PLACES = {"on the Pod's node": Place("10.180.0.1", "this-node"), "on the other node": Place("10.180.0.1", "other-node")}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    """See the one Pod from its own node and from another."""
    return PLACES[request.param]


def exposed(**spec: Any) -> list[Upsert]:
    """Tell of the NodePort Service under test."""
    return [service("web", VIP, ports=[("TCP", 80, PORT)], type="NodePort", **spec)]


def met(on: Stage, address: str, port: int = 80, source: str = POD) -> set[str]:
    """Return what five rounds of dials meet."""
    return on.met(address, port, source=source, choices=1)


REACHED = {"10.180.0.1:8080"}


@ANY_MODE
def test_19_published_unready_endpoints_serve_even_while_they_leave(place: Place) -> None:
    """With publishNotReadyAddresses the slice says ready, and ready beats terminating."""
    published = msgspec.structs.replace(place, ready=True, serving=False, terminating=True)
    with stage(*exposed(), endpoints("web", [published])) as on:
        for source in (POD, NODE4):
            assert met(on, VIP, source=source) == REACHED
            assert met(on, NODE4, PORT, source=source) == REACHED
        assert met(on, NODE4, PORT, source=OUTSIDE) == REACHED


@ANY_MODE
def test_20_unready_endpoints_that_leave_do_not_serve(place: Place) -> None:
    """Once publishNotReadyAddresses is off the same Pod is neither ready nor serving, and everybody is refused."""
    published = msgspec.structs.replace(place, ready=True, serving=False, terminating=True)
    with stage(*exposed(), endpoints("web", [published])) as on:
        assert met(on, VIP) == REACHED
        on.tell(endpoints("web", [msgspec.structs.replace(published, ready=False)]))
        for source in (POD, NODE4, OUTSIDE):
            assert met(on, NODE4, PORT, source=source) == {"REJECT"}
        for source in (POD, NODE4):
            assert met(on, VIP, source=source) == {"REJECT"}


async def health(on: Stage, ports: HealthPorts) -> int:
    """Hand the table's health ports to their listeners and return the status that the Service's answers with."""
    ports.update({name: entry.health for name, entry in on.router.table.services.items()})
    await ports.settle()
    reader, writer = await asyncio.open_connection(NODE4, HEALTH_PORT)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    status = (await reader.readline()).split()[1]
    writer.close()
    return int(status)


async def test_35_the_health_port_turns_red_while_the_node_port_still_serves() -> None:
    """With terminating endpoints only a load balancer is sent away, and who still comes is served."""
    balancer = service(
        "web",
        VIP,
        ports=[("TCP", 80, PORT)],
        balancers=["203.0.114.1"],
        type="LoadBalancer",
        externalTrafficPolicy="Local",
        healthCheckNodePort=HEALTH_PORT,
    )
    here, complaints = PLACES["on the Pod's node"], []
    ports = HealthPorts(lambda: True, clock=FakeClock(), failed=lambda _, words: complaints.append(words))
    with stage(balancer, endpoints("web", [here])) as on:
        ports.listen_on([NODE4])
        assert await health(on, ports) == 200
        on.tell(endpoints("web", [leaving(here)]))
        assert await health(on, ports) == 503
        assert met(on, NODE4, PORT, source=OUTSIDE) == REACHED
        assert met(on, "203.0.114.1", source=OUTSIDE) == REACHED
        ports.listen_on([])
        await ports.settle()
    assert complaints == []


@ANY_MODE
def test_36_the_last_endpoints_serve_while_they_leave_policy_cluster(place: Place) -> None:
    """Nobody else is ready, so the terminating Pod is used from every node."""
    with stage(service("web", VIP), endpoints("web", [place])) as on:
        on.tell(endpoints("web", [leaving(place)]))
        for source in (POD, NODE4):
            assert met(on, VIP, source=source) == REACHED


@ANY_MODE
def test_37_the_last_local_endpoint_serves_while_it_leaves_internal_policy_local(place: Place) -> None:
    """The Pod's own node uses it; the other node must not."""
    with stage(service("web", VIP, internalTrafficPolicy="Local"), endpoints("web", [place])) as on:
        on.tell(endpoints("web", [leaving(place)]))
        for source in (POD, NODE4):
            assert met(on, VIP, source=source) == (REACHED if place.node == "this-node" else {"DROP"})


@ANY_MODE
def test_38_the_last_endpoints_serve_while_they_leave_external_policy_cluster(place: Place) -> None:
    """As 36, over the node port."""
    with stage(*exposed(externalTrafficPolicy="Cluster"), endpoints("web", [place])) as on:
        on.tell(endpoints("web", [leaving(place)]))
        for source in (POD, NODE4, OUTSIDE):
            assert met(on, NODE4, PORT, source=source) == REACHED


@ANY_MODE
def test_39_the_last_local_endpoint_serves_while_it_leaves_external_policy_local(place: Place) -> None:
    """The Pod's own node answers outside clients; the other node must not, while its own Pods and processes get through."""
    with stage(*exposed(externalTrafficPolicy="Local"), endpoints("web", [place])) as on:
        on.tell(endpoints("web", [leaving(place)]))
        assert met(on, NODE4, PORT, source=OUTSIDE) == (REACHED if place.node == "this-node" else {"DROP"})
        for source in (POD, NODE4):
            assert met(on, NODE4, PORT, source=source) == REACHED


@ANY_MODE
def test_trap_6_endpoints_shrink_to_none_and_back_while_a_client_keeps_sending() -> None:
    """Refused while there is nobody, served again by the very next packet."""
    here = PLACES["on the Pod's node"]
    with stage(service("web", VIP), endpoints("web", [here])) as on:
        for _ in range(5):
            assert met(on, VIP) == REACHED
            on.tell(endpoints("web", []))
            assert met(on, VIP) == {"REJECT"}
            on.tell(endpoints("web", [here]))


def test_trap_7_local_policy_without_a_local_endpoint_meets_three_kinds_of_client() -> None:
    """Outside clients get silence, Pods and the node itself every endpoint, and the node is masqueraded."""
    far = PLACES["on the other node"]
    with stage(*exposed(externalTrafficPolicy="Local"), endpoints("web", [far])) as on:
        assert met(on, NODE4, PORT, source=OUTSIDE) == {"DROP"}
        (pod,) = on.dial(NODE4, PORT, source=POD)
        assert (pod.endpoint, pod.source) == ("10.180.0.1:8080", POD)
        (node,) = on.dial(NODE4, PORT, source=NODE4)
        assert (node.endpoint, node.source) == ("10.180.0.1:8080", NODE4)

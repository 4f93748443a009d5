# SPDX-License-Identifier: Apache-2.0
"""Short ways to write the objects of an example."""

from typing import Any, Final

from kproxy.objects.endpointslice import EndpointSlice
from kproxy.objects.events import Event, Upsert
from kproxy.objects.service import Service
from kproxy.routing.router import Router
from kproxy.routing.settings import Settings
from kproxy.table.interpret import Interpreter, Meeting, Packet
from kproxy.table.terms import Mode, Protocol
from tests.conformance.build import SYNCED, endpointslice, host, node, service

NODE: Final = {
    "name": "node-1",
    "addresses": ["192.168.0.2", "192.168.1.2", "2001:db8::2"],
    "primary": {"IPv4": "192.168.0.2", "IPv6": "2001:db8::2"},
}
POD: Final = "10.1.0.99"  # a client in the cluster CIDR
OUTSIDE: Final = "203.0.113.7"
HERE: Final = "192.168.0.2"  # this node


def svc(name: str, cluster_ip: str, *, created: str = "", status: Any = None, **spec: Any) -> Upsert:
    """Write a Service ``shop/name`` with one port ``p`` 80/TCP unless ``ports`` says otherwise."""
    item: Service = service(
        {
            "metadata": {
                "namespace": "shop",
                "name": name,
                "creationTimestamp": created or None,
                "annotations": spec.pop("annotations", None),
            },
            "spec": {"clusterIP": cluster_ip, "ports": [port()], **spec},
            "status": {"loadBalancer": {"ingress": [{"ip": ip} for ip in status or ()]}},
        }
    )
    return Upsert(item)


def port(number: int = 80, protocol: str = "TCP", name: str = "p", node_port: int = 0) -> dict[str, Any]:
    """Write a Service port."""
    return {"name": name, "port": number, "protocol": protocol, "nodePort": node_port}


def eps(owner: str, *endpoints: dict[str, Any] | str, name: str = "1", family: str = "IPv4", **more: Any) -> Upsert:
    """Write a slice of a Service; an endpoint is an address, or a mapping with more."""
    item: EndpointSlice = endpointslice(
        {
            "metadata": {
                "namespace": "shop",
                "name": f"{owner}-{name}",
                "labels": {"kubernetes.io/service-name": owner},
                "annotations": more.get("annotations"),
            },
            "addressType": family,
            "ports": more.get("ports", [{"name": "p", "port": 8080, "protocol": "TCP"}]),
            "endpoints": [{"addresses": [one]} if isinstance(one, str) else one for one in endpoints],
        }
    )
    return Upsert(item)


def endpoint(address: str, *, on: str | None = None, **conditions: bool) -> dict[str, Any]:
    """Write an endpoint on a node and in a state."""
    return {"addresses": [address], "nodeName": on, "conditions": conditions}


def terminating(address: str, *, on: str | None = None) -> dict[str, Any]:
    """Write an endpoint that is shut down and still serves."""
    return endpoint(address, on=on, ready=False, serving=True, terminating=True)


def settings(mode: Mode = Mode.NFTABLES, **wishes: Any) -> Settings:
    """Return settings of node-1, pods being told by 10.1.0.0/16."""
    return Settings(**{"mode": mode, "node": "node-1", "cluster_cidrs": ("10.1.0.0/16", "fd00:1::/64"), **wishes})


def routed(*events: Event, mode: Mode = Mode.NFTABLES, **wishes: Any) -> Router:
    """Return a router of node-1 that has been told these events."""
    router = Router(settings(mode, **wishes))
    router.apply([host(NODE), Upsert(node(NODE)), *events, *SYNCED])
    return router


def dial(router: Router, destination: str, number: int = 80, source: str = POD, protocol: str = "TCP") -> Meeting:
    """Dial and say what was met."""
    return Interpreter(router.table).meet(Packet(source, destination, number, Protocol(protocol)))


def reached(meeting: Meeting) -> set[str]:
    """Return the addresses a packet may reach; empty when it is refused, dropped or let pass."""
    return {one.endpoint.address for one in meeting.candidates}

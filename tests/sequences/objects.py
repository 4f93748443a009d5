# SPDX-License-Identifier: Apache-2.0
"""Services and EndpointSlices in one line each, as the events a source would tell."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from kproxy.objects.decode import convert, kind_of
from kproxy.objects.endpointslice import EndpointSlice
from kproxy.objects.events import Delete, Kind, Upsert
from kproxy.objects.node import Node
from kproxy.objects.service import Service
from kproxy.table.addresses import family_of

NAMESPACE: Final = "sequence"


class Place(msgspec.Struct, frozen=True):
    """An endpoint: where it is and how it does."""

    address: str
    node: str = "this-node"
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    node_hints: tuple[str, ...] = ()


def leaving(place: Place) -> Place:
    """Return an endpoint whose Pod is being deleted and still serves."""
    return msgspec.structs.replace(place, ready=False, serving=True, terminating=True)


def service(
    name: str,
    address: str,
    *,
    ports: Sequence[tuple[str, int, int]] = (("TCP", 80, 0),),
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    balancers: Sequence[str] = (),
    **spec: Any,
) -> Upsert:
    """Tell of a Service. ``ports`` are protocol, port and node port (0: none); further keys go into the spec."""
    manifest = {
        "metadata": {"namespace": NAMESPACE, "name": name, "labels": labels or {}, "annotations": annotations or {}},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ipFamilies": [str(family_of(address))],
            "ports": [
                {
                    "name": protocol.lower(),
                    "port": port,
                    "protocol": protocol,
                    **({"nodePort": node_port} if node_port else {}),
                }
                for protocol, port, node_port in ports
            ],
            **spec,
        },
        "status": {"loadBalancer": {"ingress": [{"ip": balancer} for balancer in balancers]}},
    }
    item = convert(Kind.SERVICE, {"kind": "Service", **manifest})
    assert isinstance(item, Service)
    return Upsert(item)


def endpoints(
    name: str,
    places: Iterable[Place],
    *,
    ports: Sequence[tuple[str, int]] = (("TCP", 8080),),
    part: str = "1",
    annotations: dict[str, str] | None = None,
) -> Upsert:
    """Tell of one EndpointSlice of a Service; without places it is an empty one."""
    listed = list(places)
    labels = {"kubernetes.io/service-name": name}
    item = convert(
        Kind.ENDPOINT_SLICE,
        {
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": NAMESPACE,
                "name": f"{name}-{part}",
                "labels": labels,
                "annotations": annotations or {},
            },
            "addressType": str(family_of(listed[0].address)) if listed else "IPv4",
            "ports": [{"name": protocol.lower(), "port": port, "protocol": protocol} for protocol, port in ports],
            "endpoints": [
                {
                    "addresses": [place.address],
                    "nodeName": place.node,
                    "conditions": {"ready": place.ready, "serving": place.serving, "terminating": place.terminating},
                    **({"hints": {"forNodes": [{"name": node} for node in place.node_hints]}} if place.node_hints else {}),
                }
                for place in listed
            ],
        },
    )
    assert isinstance(item, EndpointSlice)
    return Upsert(item)


def gone(item: Upsert) -> Delete:
    """Tell that an object was deleted."""
    return Delete(kind_of(item.object), item.object.metadata.key)


def node_object(name: str, addresses: Sequence[str]) -> Upsert:
    """Tell of the node itself."""
    item = convert(
        Kind.NODE,
        {
            "kind": "Node",
            "metadata": {"name": name},
            "status": {"addresses": [{"type": "InternalIP", "address": address} for address in addresses]},
        },
    )
    assert isinstance(item, Node)
    return Upsert(item)

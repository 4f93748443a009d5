# SPDX-License-Identifier: Apache-2.0
"""Which dials a Service promises to answer: every frontend from everywhere, and who may answer."""

from collections.abc import Iterator
from typing import Any

import msgspec

from kproxy.lab.cluster import Cluster
from kproxy.lab.host import Host
from kproxy.lab.pods import Pod


class Dial(msgspec.Struct, frozen=True):
    """One frontend seen from one place, and the servers that may answer."""

    service: str
    kind: str
    address: str
    port: int
    protocol: str
    place: str  # "pod", "node" or "outside"
    host: Host
    servers: tuple[str, ...]
    sticky: bool  # one client, one server: the share says nothing


def _frontends(service: dict[str, Any], cluster: Cluster) -> Iterator[tuple[str, str, int, str]]:
    """Yield (kind, address, port, protocol) of everything a Service can be dialled at."""
    spec = service["spec"]
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress") or []
    last = cluster.topology.nodes[-1]
    for port in spec["ports"]:
        protocol = port.get("protocol", "TCP")
        for address in spec.get("clusterIPs") or ():
            yield ("ClusterIP", address, port["port"], protocol)
        for address in spec.get("externalIPs") or ():
            yield ("ExternalIP", address, port["port"], protocol)
        for item in ingress:
            yield ("LoadBalancer", item["ip"], port["port"], protocol)
        if port.get("nodePort") and spec.get("externalTrafficPolicy") != "Local":
            for family, address in zip(("IPv4", "IPv6"), last.addresses, strict=True):
                if family in spec["ipFamilies"]:
                    yield ("NodePort", address, port["nodePort"], protocol)


def dials(cluster: Cluster) -> Iterator[Dial]:
    """Yield every dial that must be answered."""
    client_pod = next(pod for item in cluster.controllers.deployments.values() for pod in item.pods)
    places = (("pod", client_pod.host), ("node", cluster.topology.nodes[0].host), ("outside", cluster.topology.outside))
    for name, service in cluster.controllers.services.items():
        pods = cluster.controllers.pods_of(service)
        local_only = service["spec"].get("externalTrafficPolicy") == "Local"
        sticky = bool(service["spec"].get("sessionAffinity") == "ClientIP" or service["metadata"].get("annotations"))
        for kind, address, port, protocol in _frontends(service, cluster):
            for place, host in places:
                if kind == "ClusterIP" and place == "outside":
                    continue  # no route leads there, in a cluster as here
                servers = pods
                if local_only and place == "outside" and kind != "ClusterIP":
                    servers = _on_the_same_node(pods)
                yield Dial(name, kind, address, port, protocol, place, host, tuple(pod.name for pod in servers), sticky)


def _on_the_same_node(pods: list[Pod]) -> list[Pod]:
    """Return the Pods on the node that a Local-policy load balancer was steered to: the first Pod's."""
    return [pod for pod in pods if pod.node is pods[0].node]

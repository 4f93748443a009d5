# SPDX-License-Identifier: Apache-2.0
"""What the server fills in where a client said nothing.

Services: kubernetes ``pkg/apis/core/v1/defaults.go`` (``SetDefaults_Service``) and, for the families,
``pkg/registry/core/service/storage/alloc.go``; EndpointSlices: ``pkg/apis/discovery/v1/defaults.go``. Malformed objects
pass through: telling what is wrong with them is not this file's business.
"""

from typing import Any

from kproxy.lab.apiserver.allocation import Allocator
from kproxy.lab.apiserver.resources import ENDPOINT_SLICE, NAMESPACE, SERVICE, Resource

JsonObject = dict[str, Any]
AFFINITY_SECONDS = 10_800
_EXTERNAL = ("NodePort", "LoadBalancer")


def fill(resource: Resource, value: JsonObject, allocator: Allocator) -> None:
    """Complete an object in place."""
    if resource is SERVICE:
        _fill_service(value, allocator)
    elif resource is ENDPOINT_SLICE:
        for port in value.get("ports") or ():
            if isinstance(port, dict):
                port.setdefault("name", "")
                port.setdefault("protocol", "TCP")
        if value.get("endpoints") is None:
            value["endpoints"] = []
        if value.get("ports") is None:
            value["ports"] = []
    elif resource is NAMESPACE:
        value.setdefault("spec", {"finalizers": ["kubernetes"]})
        value.setdefault("status", {"phase": "Active"})
        value["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = value["metadata"]["name"]


def _fill_service(value: JsonObject, allocator: Allocator) -> None:
    spec = value.setdefault("spec", {})
    status = value.setdefault("status", {})
    if not isinstance(spec, dict) or not isinstance(status, dict):
        return
    spec.setdefault("sessionAffinity", "None")
    if spec["sessionAffinity"] == "ClientIP":
        client = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        client.setdefault("timeoutSeconds", AFFINITY_SECONDS)
    else:
        spec.pop("sessionAffinityConfig", None)
    kind = spec.setdefault("type", "ClusterIP")
    for port in spec.get("ports") or ():
        if isinstance(port, dict):
            port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port.get("port"))
    if kind in _EXTERNAL or (spec.get("externalIPs") and kind == "ClusterIP"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
        _fill_families(spec, allocator)
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    balancer = status.setdefault("loadBalancer", {})
    for ingress in (balancer.get("ingress") if isinstance(balancer, dict) else None) or ():
        if kind == "LoadBalancer" and isinstance(ingress, dict) and ingress.get("ip"):
            ingress.setdefault("ipMode", "VIP")


def _fill_families(spec: JsonObject, allocator: Allocator) -> None:
    addresses = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    if not isinstance(addresses, list):
        return
    given = [allocator.family(address) for address in addresses if address not in ("", "None")]
    families = spec.get("ipFamilies") or given
    dual = len(families) > 1
    policy = spec.setdefault("ipFamilyPolicy", "RequireDualStack" if dual else "SingleStack")
    if not families and addresses[:1] == ["None"] and not spec.get("selector"):
        families = ["IPv4", "IPv6"] if len(allocator.families) > 1 else list(allocator.families)
        spec["ipFamilyPolicy"] = "RequireDualStack" if len(families) > 1 else policy
    elif policy in ("PreferDualStack", "RequireDualStack"):
        families = [*families, *(family for family in allocator.families if family not in families)]
    spec["ipFamilies"] = (families or list(allocator.families[:1]))[:2]
    if addresses:
        spec["clusterIPs"] = addresses
        spec["clusterIP"] = addresses[0]

# SPDX-License-Identifier: Apache-2.0
"""What an update of a Service means where it says nothing: keep what the server gave, drop what no longer applies.

kubernetes ``pkg/registry/core/service``: ``storage/storage.go`` (``patchAllocatedValues``), ``strategy.go``
(``dropTypeDependentFields``). Fields that the client changed as well are left alone: validation judges them.
"""

from typing import Any

JsonObject = dict[str, Any]
_WITH_NODE_PORTS = ("NodePort", "LoadBalancer")


def carry_over(value: JsonObject, old: JsonObject) -> None:
    """Complete the new state of a Service, in place, from the old one."""
    spec, before = value.get("spec"), old.get("spec")
    if not isinstance(spec, dict) or not isinstance(before, dict):
        return  # malformed: validation tells
    if before.get("ipFamilyPolicy"):
        spec.setdefault("ipFamilyPolicy", before["ipFamilyPolicy"])
    _addresses(spec, before)
    _node_ports(spec, before)
    _health_port(spec, before)
    if _is_external(before) and not _is_external(spec):
        _forget(spec, before, "externalTrafficPolicy")
    if before.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        _forget(spec, before, "allocateLoadBalancerNodePorts", "loadBalancerClass")


def _addresses(spec: JsonObject, before: JsonObject) -> None:
    if before.get("type") == "ExternalName":
        return
    if spec.get("type") == "ExternalName":
        _forget(spec, before, "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
        return
    if not spec.get("clusterIP") and not spec.get("clusterIPs"):
        for name in ("clusterIP", "clusterIPs"):
            if name in before:
                spec[name] = before[name]
    elif spec.get("clusterIP") == before.get("clusterIP"):
        spec.setdefault("clusterIPs", before.get("clusterIPs"))
    elif spec.get("clusterIP") and spec.get("clusterIPs") == before.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    if spec.get("ipFamilyPolicy") == "SingleStack":  # as long as nothing else changed, a clear wish for one family
        for name in ("clusterIPs", "ipFamilies"):
            if spec.get(name) and spec[name] == before.get(name):
                spec[name] = spec[name][:1]


def _node_ports(spec: JsonObject, before: JsonObject) -> None:
    had = {_identity(port): port.get("nodePort") for port in _ports(before)}
    if spec.get("type") in _WITH_NODE_PORTS:
        for port in _ports(spec):
            if not port.get("nodePort") and had.get(_identity(port)):
                port["nodePort"] = had[_identity(port)]
    elif before.get("type") in _WITH_NODE_PORTS:
        for port in _ports(spec):
            if port.get("nodePort") == had.get(_identity(port)):
                port.pop("nodePort", None)


def _health_port(spec: JsonObject, before: JsonObject) -> None:
    if not before.get("healthCheckNodePort"):
        return
    if spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local":
        spec.setdefault("healthCheckNodePort", before["healthCheckNodePort"])
    else:
        _forget(spec, before, "healthCheckNodePort")


def _is_external(spec: JsonObject) -> bool:
    return spec.get("type") in _WITH_NODE_PORTS or bool(spec.get("externalIPs"))


def _forget(spec: JsonObject, before: JsonObject, *names: str) -> None:
    for name in names:
        if spec.get(name) == before.get(name):
            spec.pop(name, None)


def _ports(spec: JsonObject) -> list[JsonObject]:
    ports = spec.get("ports")
    return [port for port in ports if isinstance(port, dict)] if isinstance(ports, list) else []


def _identity(port: JsonObject) -> tuple[Any, Any]:
    return port.get("port"), port.get("protocol", "TCP")

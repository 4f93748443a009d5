# SPDX-License-Identifier: Apache-2.0
"""Lists as tables, for ``kubectl get``: which columns there are is the server's business.

API concepts, "Receiving resources as Tables"; the columns follow kubernetes ``pkg/printers/internalversion/printers.go``
(``printService``, ``printEndpointSlice``, ``printNode``, ``printServiceCIDR``). Other kinds show name and age.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from kproxy.lab.apiserver.resources import Resource

JsonObject = dict[str, Any]
Column = tuple[str, Callable[[JsonObject], str]]


def wants_table(accept: str) -> bool:
    """Tell whether the first JSON that a client asks for is a Table."""
    first = next((item for item in accept.split(",") if item.strip().startswith("application/json")), "")
    parts = {part.strip() for part in first.split(";")}
    return {"as=Table", "v=v1", "g=meta.k8s.io"} <= parts


def table(resource: Resource, values: Sequence[JsonObject], metadata: Mapping[str, Any]) -> bytes:
    """Return the Table of objects, a row each, with their metadata; ``metadata`` is the list's."""
    columns: Sequence[Column] = (("Name", _name), *_COLUMNS.get(resource.kind, ()), ("Age", _age))
    definitions = [
        {
            "name": name,
            "type": "string",
            "format": "name" if name == "Name" else "",
            "description": name,
            "priority": 0,
        }
        for name, _ in columns
    ]
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    rows = [
        {"cells": [_shown(cell, value) for _, cell in columns], "object": {**partial, "metadata": value["metadata"]}}
        for value in values
    ]
    head = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": dict(metadata)}
    return msgspec.json.encode({**head, "columnDefinitions": definitions, "rows": rows})


def as_table(resource: Resource, body: bytes) -> bytes:
    """Turn an encoded object or list of a kind into its Table."""
    value: JsonObject = msgspec.json.decode(body)
    if value["kind"] == f"{resource.kind}List":
        return table(resource, value["items"], value["metadata"])
    return table(resource, [value], {"resourceVersion": value["metadata"]["resourceVersion"]})


def _shown(cell: Callable[[JsonObject], str], value: JsonObject) -> str:
    """Return a cell, also for an object that the lab was told to store although it is malformed."""
    try:
        return cell(value)
    except (AttributeError, KeyError, TypeError):
        return "<malformed>"


def _joined(values: Sequence[object], limit: int = 3) -> str:
    shown = ",".join(str(value) for value in values[:limit])
    return f"{shown} + {len(values) - limit} more..." if len(values) > limit else shown


def _name(value: JsonObject) -> str:
    return str(value["metadata"]["name"])


def _age(value: JsonObject) -> str:
    """Return a duration as kubectl words it: two units at most for the young, one for the old."""
    try:
        born = dt.datetime.fromisoformat(str(value["metadata"]["creationTimestamp"]))
    except (KeyError, ValueError):
        return "<unknown>"
    seconds = max(0, int((dt.datetime.now(dt.UTC) - born).total_seconds()))
    if seconds < 120:
        return f"{seconds}s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 10:
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    return f"{minutes // 60}h" if minutes < 2880 else f"{minutes // 1440}d"


def _spec(value: JsonObject, field: str, absent: str = "<none>") -> str:
    return str((value.get("spec") or {}).get(field) or absent)


def _external(value: JsonObject) -> str:
    spec, status = value.get("spec") or {}, value.get("status") or {}
    ingress = (status.get("loadBalancer") or {}).get("ingress") or []
    found = [item.get("ip") or item.get("hostname", "") for item in ingress] if spec.get("type") == "LoadBalancer" else []
    found += spec.get("externalIPs") or []
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", ""))
    return ",".join(found) or ("<pending>" if spec.get("type") == "LoadBalancer" else "<none>")


def _service_ports(value: JsonObject) -> str:
    told = []
    for port in (value.get("spec") or {}).get("ports") or ():
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        told.append(f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}")
    return ",".join(told) or "<none>"


def _slice_ports(value: JsonObject) -> str:
    return _joined([port.get("port", "*") for port in value.get("ports") or ()]) or "<unset>"


def _endpoints(value: JsonObject) -> str:
    addresses = [address for item in value.get("endpoints") or () for address in item.get("addresses") or ()]
    return _joined(addresses) or "<unset>"


def _node_address(value: JsonObject) -> str:
    addresses = (value.get("status") or {}).get("addresses") or ()
    return next((item["address"] for item in addresses if item.get("type") == "InternalIP"), "<none>")


_COLUMNS: Final[dict[str, Sequence[Column]]] = {
    "Service": (
        ("Type", lambda value: _spec(value, "type")),
        ("Cluster-IP", lambda value: _spec(value, "clusterIP")),
        ("External-IP", _external),
        ("Port(s)", _service_ports),
    ),
    "EndpointSlice": (
        ("AddressType", lambda value: str(value.get("addressType", ""))),
        ("Ports", _slice_ports),
        ("Endpoints", _endpoints),
    ),
    "Node": (("Internal-IP", _node_address),),
    "ServiceCIDR": (("CIDRs", lambda value: ",".join((value.get("spec") or {}).get("cidrs") or ())),),
    "Namespace": (("Status", lambda value: str((value.get("status") or {}).get("phase", ""))),),
}

# SPDX-License-Identifier: Apache-2.0
"""Endpoint maps, the shape in which unit cases write what a Service's slices come to."""

from collections.abc import Iterable, Mapping
from typing import Any

from kproxy.routing.endpoints import Merged, merge, parts_of
from kproxy.routing.slices import PortName
from kproxy.routing.store import Store
from kproxy.table.addresses import family_of, join_port
from kproxy.table.endpoint import Endpoint
from kproxy.table.terms import Family, Protocol

EndpointMap = dict[str, list[dict[str, Any]]]
SHOWN = ("local", "ready", "serving", "terminating")


def port_key(service: str, port: PortName) -> str:
    """Return ``ns1/svc1:port name/PROTOCOL``."""
    return f"{service}:{port[0]}/{port[1]}"


def merged_ports(store: Store, service: str) -> dict[PortName, Merged]:
    """Merge a Service's slices port by port; each port is of one family in these cases."""
    slices = store.slices_of(service)
    return {
        port: merge(parts_of(slices, family, port))
        for family in Family
        for one in slices
        if one.family is family
        for port in one.parts
    }


def endpoint_map(store: Store, services: Iterable[str]) -> EndpointMap:
    """Return the endpoints of some Services as a case writes them; a port without any has no entry."""
    return {
        port_key(service, port): [shown(endpoint) for endpoint in merged.endpoints]
        for service in services
        for port, merged in merged_ports(store, service).items()
        if merged.endpoints
    }


def shown(endpoint: Endpoint) -> dict[str, Any]:
    """Return one endpoint as a case writes it."""
    return {"endpoint": endpoint.key} | {name: getattr(endpoint, name) for name in SHOWN}


def same(found: EndpointMap, expected: Mapping[str, Any]) -> None:
    """Hold an endpoint map against the expected one, whole; fields that are left out are not compared."""
    assert found.keys() == expected.keys(), f"ports {sorted(found)}, expected {sorted(expected)}"
    for key, wanted in expected.items():
        assert [one["endpoint"] for one in found[key]] == [one["endpoint"] for one in wanted], f"{key}: {found[key]}"
        for have, want in zip(found[key], wanted, strict=True):
            assert {name: have[name] for name in want} == want, f"{key}: {have}, expected {want}"


def read_endpoint(mapping: Mapping[str, Any]) -> Endpoint:
    """Read one endpoint of a case."""
    address, _, port = mapping["endpoint"].rpartition(":")
    address = address.strip("[]")
    return Endpoint(
        key=join_port(address, int(port)),
        address=address,
        port=int(port),
        local=mapping.get("local", False),
        ready=mapping.get("ready", True),
        serving=mapping.get("serving", True),
        terminating=mapping.get("terminating", False),
        zone_hints=tuple(mapping.get("zoneHints") or ()),
        node_hints=tuple(mapping.get("nodeHints") or ()),
    )


def read_port_key(key: str) -> tuple[str, str, Protocol]:
    """Split a port key into Service, port name and protocol."""
    service, _, rest = key.partition(":")
    name, _, protocol = rest.rpartition("/")
    return service, name, Protocol(protocol)


def slice_manifests(name: str, endpoints: Iterable[Mapping[str, Any]], key: str, node: str) -> list[dict[str, Any]]:
    """Write endpoints of one port as slices, one for each family and port number; local ones are on ``node``."""
    service, port, protocol = read_port_key(key)
    namespace, _, short = service.partition("/")
    groups: dict[tuple[Family, int], list[Endpoint]] = {}
    for one in map(read_endpoint, endpoints):
        groups.setdefault((family_of(one.address), one.port), []).append(one)
    return [
        {
            "metadata": {
                "namespace": namespace,
                "name": f"{name}-{number}-{family.lower()}",
                "labels": {"kubernetes.io/service-name": short},
            },
            "addressType": family.value,
            "ports": [{"name": port, "port": number, "protocol": protocol.value}],
            "endpoints": [
                {
                    "addresses": [one.address],
                    "conditions": {"ready": one.ready, "serving": one.serving, "terminating": one.terminating},
                    "nodeName": node if one.local else "elsewhere",
                }
                for one in own
            ],
        }
        for (family, number), own in groups.items()
    ]

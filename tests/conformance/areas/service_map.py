# SPDX-License-Identifier: Apache-2.0
"""Area service_map: what of a Service is proxied in one family."""

from typing import Any

from kproxy.objects.events import Delete, Kind, Upsert
from kproxy.objects.service import Service
from kproxy.routing.frontends import addresses_of
from kproxy.routing.shape import PortShape, ServiceShape, shape_of
from kproxy.routing.source_ranges import allowed_sources
from kproxy.routing.store import Store
from kproxy.table.terms import Family
from tests.conformance.build import service
from tests.conformance.endpoint_maps import port_key


def run(case: dict[str, Any]) -> None:
    """One Service's ports and their fields, or how many there are after each of several steps."""
    given, expect = case["input"], case["expect"]
    family = Family(given["family"])
    if "steps" in given:
        _steps(given["steps"], expect["afterEachStep"], family)
        return
    found = _ports_of(service(given["service"]), family) if given["service"] else {}
    wanted = expect["servicePorts"]
    assert found.keys() == wanted.keys(), f"ports {sorted(found)}"
    for key, fields in wanted.items():
        have = {name: found[key].get(name) for name in fields}
        for each in (have, fields := dict(fields)):
            each["loadBalancerSourceRanges"] = _merged(each.get("loadBalancerSourceRanges"), family)
        assert have == fields, f"{key}: {have}"


def _steps(steps: list[dict[str, Any]], expected: list[dict[str, Any]], family: Family) -> None:
    store = Store("")
    for step, wanted in zip(steps, expected, strict=True):
        updated: set[str] = set()
        for manifest in step.get("apply") or ():
            updated.update(store.apply(Upsert(service(manifest))).services)
        for key in step.get("delete") or ():
            updated.update(store.apply(Delete(Kind.SERVICE, key)).services)
        shapes = store.services.values()
        found = {
            "servicePorts": sum(len(_of_family(shape, family)) for shape in shapes),
            "updatedServices": len(updated),
            "healthCheckNodePorts": {shape.service: shape.health_port for shape in shapes if shape.health_port},
        }
        assert {name: found[name] for name in wanted} == wanted, f"{found}, expected {wanted}"


def _of_family(shape: ServiceShape, family: Family) -> list[PortShape]:
    return [port for port in shape.ports if port.key.family is family]


def _merged(ranges: list[str] | None, family: Family) -> tuple[str, ...]:
    """Bring ranges into the form that is kept: merged, so that one inside another does not show."""
    sources = allowed_sources(ranges, family, [])
    return sources.ranges if sources else ()


def _ports_of(item: Service, family: Family) -> dict[str, dict[str, Any]]:
    complaints: list[str] = []
    shape = shape_of(item, complaints)
    addresses = addresses_of(item, family, complaints)
    if shape is None or addresses is None:
        return {}
    sources = allowed_sources(item.spec.load_balancer_source_ranges, family, complaints)
    return {
        port_key(shape.service, (port.key.port, port.key.protocol)): {
            "clusterIP": port.frontends[0].address,
            "port": port.frontends[0].port,
            "protocol": port.key.protocol.value,
            "externalIPs": list(addresses.external),
            "loadBalancerVIPs": list(addresses.load_balancer),
            "loadBalancerSourceRanges": list(sources.ranges) if sources else [],
            "healthCheckNodePort": shape.health_port,
            "nodePort": next((one.port for one in port.frontends if not one.address), 0),
        }
        for port in _of_family(shape, family)
    }

# SPDX-License-Identifier: Apache-2.0
"""Area endpoints_map: slices before and after; what differs then, for packets, conntrack and health checks.

Each Service that a slice names exists here with every port of its slices, as a load balancer of policy Local, so that the
clean-up of flows and the count of a health-check node port come from the table itself.
"""

from itertools import zip_longest
from typing import Any

from kproxy.objects.events import Delete, Event, Kind, Upsert
from kproxy.routing.router import Router
from kproxy.routing.settings import Settings
from kproxy.routing.stale import cleanup
from kproxy.routing.store import Store
from kproxy.table.terms import Mode
from tests.conformance.areas.slice_update import endpointslice_service
from tests.conformance.build import SYNCED, endpointslice, service
from tests.conformance.endpoint_maps import endpoint_map, same

Manifest = dict[str, Any]


def run(case: dict[str, Any]) -> None:
    """Compare all endpoints, whether flows must be cleaned up, local ready counts, and the Services that changed."""
    given, expect = case["input"], case["expect"]
    manifests = [one for one in (*(given["before"] or ()), *(given["after"] or ())) if one]
    names = sorted({endpointslice_service(one) for one in manifests})
    router = Router(Settings(mode=Mode.NFTABLES, node=given.get("node") or ""))
    router.apply([Upsert(service(_service(name, index, manifests))) for index, name in enumerate(names)])
    router.apply([Upsert(endpointslice(one)) for one in given["before"] or () if one])
    router.apply(SYNCED)
    before = router.table
    touched = _touched(given)
    changes = router.apply(_events(given))
    assert changes is not None
    if "endpoints" in expect:
        same(endpoint_map(router.store, names), expect["endpoints"])
    found = bool(cleanup(before, changes.after, touched))
    assert found == expect.get("conntrackCleanup", found), f"clean-up of flows: {found}"
    health = {name: one.health.local_ready for name, one in changes.after.services.items() if one.health}
    counts = {name: count for name, count in health.items() if count}
    assert counts == expect.get("localReadyEndpoints", counts), f"local ready endpoints: {counts}"
    assert touched == set(expect.get("updatedServices", touched)), f"updated Services: {touched}"


def _touched(given: dict[str, Any]) -> set[str]:
    store = Store(given.get("node") or "")
    for one in given["before"] or ():
        if one:
            store.apply(Upsert(endpointslice(one)))
    return {service for event in _events(given) for service in store.apply(event).services}


def _events(given: dict[str, Any]) -> list[Event]:
    events: list[Event] = []
    for before, after in zip_longest(given["before"] or (), given["after"] or ()):
        if after is not None:
            events.append(Upsert(endpointslice(after)))
        elif before is not None:
            events.append(Delete(Kind.ENDPOINT_SLICE, endpointslice(before).metadata.key))
    return events


def _service(name: str, index: int, manifests: list[Manifest]) -> Manifest:
    namespace, _, short = name.partition("/")
    own = [one for one in manifests if endpointslice_service(one) == name]
    ports = {(port.get("name"), port.get("protocol", "TCP")): None for one in own for port in one["ports"] or ()}
    families = list(dict.fromkeys(one["addressType"] for one in own))
    addresses = {"IPv4": f"172.30.{index}.1", "IPv6": f"fd00:172:30::{index + 1}"}
    return {
        "metadata": {"namespace": namespace, "name": short},
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": addresses[families[0]],
            "clusterIPs": [addresses[family] for family in families],
            "ipFamilies": families,
            "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 30_000 + index,
            "ports": [
                {"name": port, "protocol": protocol, "port": 1_000 + number} for number, (port, protocol) in enumerate(ports)
            ],
        },
    }

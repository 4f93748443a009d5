# SPDX-License-Identifier: Apache-2.0
"""Area local_ready: what a health-check node port counts, and so answers."""

from collections import defaultdict
from typing import Any

from kproxy.objects.events import Upsert
from kproxy.routing.router import Router
from kproxy.routing.settings import Settings
from kproxy.table.terms import Mode
from tests.conformance.build import SYNCED, endpointslice, service
from tests.conformance.endpoint_maps import merged_ports, read_port_key, slice_manifests

NODE = "this-node"
HEALTH_PORT = 30_000


def run(case: dict[str, Any]) -> None:
    """Compare the addresses of local ready endpoints by Service, and the status that follows."""
    given, expect = case["input"], case["expect"]
    endpoints_of = given.get("endpoints") or {}
    ports = defaultdict(list)
    for key in endpoints_of:
        name, port, protocol = read_port_key(key)
        ports[name].append((port, protocol.value))
    router = Router(Settings(mode=Mode.NFTABLES, node=NODE))
    asked = given.get("service") or {}
    for index, (name, own) in enumerate(ports.items()):
        health_port = asked.get("healthCheckNodePort", HEALTH_PORT) if asked.get("name") == name else HEALTH_PORT + index
        router.apply([Upsert(service(_service(name, index, own, health_port)))])
    router.apply(
        Upsert(endpointslice(manifest))
        for index, (key, endpoints) in enumerate(endpoints_of.items())
        for manifest in slice_manifests(f"slice-{index}", endpoints, key, NODE)
    )
    router.apply(SYNCED)
    found = {name: _local_ready(router, name) for name in ports}
    found = {name: addresses for name, addresses in found.items() if addresses}
    assert found == {name: set(addresses) for name, addresses in expect["localReady"].items()}, found
    for name in ports:
        health = router.table.services[name].health
        assert health is not None
        assert health.local_ready == len(found.get(name, ())), f"{name}: {health}"
        if "healthCheckStatus" in expect:
            status = 200 if health.local_ready else 503  # of a proxy that is healthy itself
            assert status == expect["healthCheckStatus"], f"{name}: {status}"


def _local_ready(router: Router, name: str) -> set[str]:
    merged = merged_ports(router.store, name).values()
    return {one.address for each in merged for one in each.endpoints if one.local and one.ready}


def _service(name: str, index: int, ports: list[tuple[str, str]], health_port: int) -> dict[str, Any]:
    namespace, _, short = name.partition("/")
    return {
        "metadata": {"namespace": namespace, "name": short},
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": f"172.30.{index}.1",
            "clusterIPs": [f"172.30.{index}.1", f"fd00:172:30::{index + 1}"],
            "ipFamilies": ["IPv4", "IPv6"],
            "externalTrafficPolicy": "Local",
            "healthCheckNodePort": health_port,
            "ports": [
                {"name": port, "protocol": protocol, "port": 1_000 + number} for number, (port, protocol) in enumerate(ports)
            ],
        },
    }

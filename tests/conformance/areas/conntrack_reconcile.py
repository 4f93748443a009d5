# SPDX-License-Identifier: Apache-2.0
"""Area conntrack_reconcile: which tracked flows are deleted."""

from typing import Any, Final

from kproxy.objects.events import Upsert
from kproxy.routing.router import Router
from kproxy.routing.settings import Settings
from kproxy.routing.stale import Flow, cleanup
from kproxy.table.addresses import canonical_address, family_of
from kproxy.table.terms import Mode, Protocol
from tests.conformance.build import SYNCED, endpointslice, host, node, service

NODE: Final[dict[str, Any]] = {
    "name": "node-1",
    "addresses": ["192.168.0.2", "2001:db8::1"],
    "primary": {"IPv4": "192.168.0.2", "IPv6": "2001:db8::1"},
}


def run(case: dict[str, Any]) -> None:
    """Compare one flag for each entry, in order."""
    given = case["input"]
    router = Router(Settings(mode=Mode.NFTABLES, node=NODE["name"]))
    router.apply(
        [
            host(NODE),
            Upsert(node(NODE)),
            Upsert(service(_service(given["service"]))),
            *(Upsert(endpointslice(manifest)) for manifest in _slices(given)),
            *SYNCED,
        ]
    )
    reconciled = cleanup(None, router.table)
    own = NODE["primary"][family_of(given["service"]["clusterIP"])]
    deleted = [reconciled.is_stale(_flow(entry, own)) for entry in given.get("entries") or ()]
    assert deleted == case["expect"]["deleted"], f"deleted: {deleted}"


def _flow(entry: dict[str, Any], own: str) -> Flow:
    destination = own if entry["origDst"] == "*" else canonical_address(entry["origDst"])
    return Flow(
        Protocol(entry["protocol"]),
        destination,
        entry["origDstPort"],
        destination if entry["replySrc"] == "*" else canonical_address(entry["replySrc"]),
        entry["replySrcPort"],
    )


def _service(given: dict[str, Any]) -> dict[str, Any]:
    node_ports = given.get("nodePorts") or {}
    return {
        "metadata": {"namespace": "ns1", "name": "svc1"},
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": given["clusterIP"],
            "externalIPs": given.get("externalIPs"),
            "externalTrafficPolicy": given.get("externalTrafficPolicy"),
            "internalTrafficPolicy": given.get("internalTrafficPolicy"),
            "ports": [
                {
                    "name": protocol.lower(),
                    "port": given["port"],
                    "protocol": protocol,
                    "nodePort": node_ports.get(protocol),
                }
                for protocol in given["protocols"]
            ],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": ip} for ip in given.get("loadBalancerIngress") or ()]}},
    }


def _slices(given: dict[str, Any]) -> list[dict[str, Any]]:
    """Write the endpoints as slices, one for each target port."""
    return [
        {
            "metadata": {"namespace": "ns1", "name": f"svc1-{number}", "labels": {"kubernetes.io/service-name": "svc1"}},
            "addressType": family_of(given["service"]["clusterIP"]).value,
            "ports": [
                {"name": protocol.lower(), "port": number, "protocol": protocol}
                for protocol in given["service"]["protocols"]
            ],
            "endpoints": [
                {
                    "addresses": [one["ip"]],
                    "conditions": {name: one.get(name) for name in ("ready", "serving", "terminating")},
                    "nodeName": NODE["name"] if one.get("local") else None,
                }
                for one in given.get("endpoints") or ()
                if one["port"] == number
            ],
        }
        for number in sorted({one["port"] for one in given.get("endpoints") or ()})
    ]

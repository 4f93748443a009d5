# SPDX-License-Identifier: Apache-2.0
"""Area metrics: the gauge of Service ports without an endpoint on this node."""

from typing import Any

from kproxy.objects.events import Upsert
from kproxy.routing.no_local_endpoints import without_local_endpoints
from kproxy.routing.router import Router
from kproxy.routing.settings import Settings
from kproxy.table.terms import Mode
from tests.conformance.build import SYNCED, endpointslice, service

NODE = "node-1"


def run(case: dict[str, Any]) -> None:
    """One port with a node port and so many ready endpoints here and elsewhere."""
    given = case["input"]
    nodes = [NODE] * given.get("local", 0) + ["node-2"] * given.get("remote", 0)
    router = Router(Settings(mode=Mode.NFTABLES, node=NODE))
    router.apply(
        [
            Upsert(service(_service(given))),
            Upsert(
                endpointslice(
                    {
                        "metadata": {
                            "namespace": "ns1",
                            "name": "svc1-1",
                            "labels": {"kubernetes.io/service-name": "svc1"},
                        },
                        "addressType": "IPv4",
                        "ports": [{"name": "p", "port": 80}],
                        "endpoints": [
                            {"addresses": [f"10.0.0.{number}"], "nodeName": name} for number, name in enumerate(nodes, 1)
                        ],
                    }
                )
            ),
            *SYNCED,
        ]
    )
    found = {role.value: count for role, count in without_local_endpoints(router.table.routes()).items()}
    assert {name: found[name] for name in case["expect"]} == case["expect"], found


def _service(given: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "ns1", "name": "svc1"},
        "spec": {
            "type": "NodePort",
            "clusterIP": "172.30.0.41",
            "internalTrafficPolicy": given.get("internalTrafficPolicy"),
            "externalTrafficPolicy": given.get("externalTrafficPolicy"),
            "ports": [{"name": "p", "port": 80, "nodePort": 31_001}],
        },
    }

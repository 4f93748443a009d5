# SPDX-License-Identifier: Apache-2.0
"""Area label_selector: labels that take a Service or a slice out, put on and taken off while running."""

import re
from typing import Any

from kproxy.objects.events import Upsert
from kproxy.routing.router import Router
from kproxy.routing.settings import Settings
from kproxy.table.interpret import Packet, meet
from kproxy.table.terms import Action, Mode
from tests.conformance.build import SYNCED, endpointslice, service

ADDRESS = "172.30.0.41"


def run(case: dict[str, Any]) -> None:
    """Whether a client is served after each step."""
    given = case["input"]
    router = Router(Settings(mode=Mode.NFTABLES, node="node-1"))
    router.apply(SYNCED)
    served = []
    for step in given["steps"]:
        labelled = not re.search(r"without|remove|delete|take", step)
        label = given["label"] if labelled else {}
        router.apply([Upsert(service(_service(label if "Service" in given["labelled"] else {})))])
        router.apply([Upsert(endpointslice(_slice(label if "EndpointSlice" in given["labelled"] else {})))])
        served.append(meet(router.table, Packet("10.0.0.9", ADDRESS, 80)).action is Action.BALANCE)
    assert served == case["expect"]["served"], f"served: {served}"


def _service(labels: dict[str, str]) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "ns1", "name": "svc1", "labels": labels},
        "spec": {"type": "ClusterIP", "clusterIP": ADDRESS, "ports": [{"name": "p", "port": 80}]},
    }


def _slice(labels: dict[str, str]) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "ns1", "name": "svc1-1", "labels": {"kubernetes.io/service-name": "svc1", **labels}},
        "addressType": "IPv4",
        "ports": [{"name": "p", "port": 80}],
        "endpoints": [{"addresses": ["10.0.0.1"]}],
    }

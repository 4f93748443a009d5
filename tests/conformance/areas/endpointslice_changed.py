# SPDX-License-Identifier: Apache-2.0
"""Area endpointslice_changed: is a new version of a slice worth anything."""

from typing import Any

from kproxy.objects.events import Upsert
from kproxy.routing.store import Store
from tests.conformance.build import endpointslice


def run(case: dict[str, Any]) -> None:
    """One slice, before and after."""
    given = case["input"]
    store = Store("")
    store.apply(Upsert(endpointslice(_manifest(given, "before"))))
    changed = bool(store.apply(Upsert(endpointslice(_manifest(given, "after")))))
    assert changed == case["expect"]["changed"], f"changed is {changed}"


def _manifest(given: dict[str, Any], moment: str) -> dict[str, Any]:
    namespace, _, service = given["service"].partition("/")
    endpoints = (given[moment] or {}).get("endpoints") or []
    return {
        "metadata": {
            "namespace": namespace,
            "name": given["sliceName"],
            "resourceVersion": moment,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv6" if any(":" in address for address in endpoints) else "IPv4",
        "ports": (given[moment] or {}).get("ports"),
        "endpoints": [{"addresses": [address]} for address in endpoints],
    }

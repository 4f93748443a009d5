# SPDX-License-Identifier: Apache-2.0
"""Area slice_update: what one event, or a batch of them, makes of a Service's endpoints."""

from typing import Any

from kproxy.objects.events import Delete, Event, Kind, Upsert
from kproxy.routing.store import Store
from tests.conformance.build import endpointslice
from tests.conformance.endpoint_maps import endpoint_map, same


def run(case: dict[str, Any]) -> None:
    """One event, or the slices that wait for the next table."""
    given, expect = case["input"], case["expect"]
    store = Store(given.get("node") or "")
    for manifest in given.get("applied") or ():
        store.apply(Upsert(endpointslice(manifest)))
    if "pending" in given:
        _batch(store, given, expect)
        return
    item = endpointslice(given["slice"])
    event: Event = Delete(Kind.ENDPOINT_SLICE, item.metadata.key) if given.get("delete") else Upsert(item)
    changed = bool(store.apply(event))
    assert changed == expect.get("changed", changed), f"changed is {changed}"
    if expect.get("endpoints") is not None:
        same(endpoint_map(store, [given["service"]]), expect["endpoints"])


def _batch(store: Store, given: dict[str, Any], expect: dict[str, Any]) -> None:
    services = {given["service"]} | {endpointslice_service(manifest) for manifest in given["pending"]}
    before = {service: endpoint_map(store, [service]) for service in services}
    touched = {service for manifest in given["pending"] for service in store.apply(Upsert(endpointslice(manifest))).services}
    changes = [
        {"previous": before[service], "current": current}
        for service in sorted(touched)
        if (current := endpoint_map(store, [service])) != before[service]
    ]
    assert len(changes) == len(expect["changes"]), f"{len(changes)} Services change"
    for found, wanted in zip(changes, expect["changes"], strict=True):
        same(found["previous"], wanted["previous"])
        same(found["current"], wanted["current"])


def endpointslice_service(manifest: dict[str, Any]) -> str:
    """Return the Service a slice is labelled with."""
    meta = manifest["metadata"]
    return f"{meta['namespace']}/{meta['labels']['kubernetes.io/service-name']}"

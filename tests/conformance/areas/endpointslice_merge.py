# SPDX-License-Identifier: Apache-2.0
"""Area endpointslice_merge: several slices of a Service come to one list of endpoints."""

from typing import Any

from kproxy.objects.events import Upsert
from kproxy.routing.store import Store
from tests.conformance.build import endpointslice
from tests.conformance.endpoint_maps import endpoint_map, same


def run(case: dict[str, Any]) -> None:
    """Slices arrive one after another; the same name replaces."""
    given = case["input"]
    store = Store(given.get("node") or "")
    for manifest in given.get("slices") or ():
        store.apply(Upsert(endpointslice(manifest)))
    same(endpoint_map(store, [given["service"]]), case["expect"]["endpoints"])

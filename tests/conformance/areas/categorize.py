# SPDX-License-Identifier: Apache-2.0
"""Area categorize: which endpoints a port's policies, hints and fallbacks leave."""

from typing import Any

from kproxy.objects.node import ZONE_LABEL
from kproxy.routing.endpoints import merge
from kproxy.routing.node_facts import NodeView
from kproxy.routing.resolve import usable_endpoints
from kproxy.routing.shape import ServiceShape
from kproxy.routing.slices import part_of
from tests.conformance.endpoint_maps import read_endpoint


def run(case: dict[str, Any]) -> None:
    """Compare the cluster set, the local set, what can be reached, and whether there is any endpoint at all."""
    given, expect = case["input"], case["expect"]
    service, node = given.get("service") or {}, given.get("node") or {}
    shape = ServiceShape(
        service="ns1/svc1",
        ports=(),
        internal_local=service.get("internalTrafficPolicy") == "Local",
        external_local=service.get("externalTrafficPolicy") == "Local",
    )
    view = NodeView(node.get("name", ""), (node.get("labels") or {}).get(ZONE_LABEL, ""))
    merged = merge([part_of({one.key: one for one in map(read_endpoint, given.get("endpoints") or ())})])
    usable = usable_endpoints(shape, merged, view, reachable=service.get("externallyReachable", False))
    found = {
        "cluster": None if usable.cluster is None else {one.key for one in usable.cluster},
        "local": None if usable.local is None else {one.key for one in usable.local},
        "all": set(usable.reachable),
        "hasAny": usable.anywhere,
    }
    for name, wanted in expect.items():
        assert found[name] == (set(wanted) if isinstance(wanted, list) else wanted), f"{name}: {found[name]}"

# SPDX-License-Identifier: Apache-2.0
"""Area skip_service: which Services are not proxied."""

from typing import Any

from kproxy.routing.shape import is_proxied
from tests.conformance.build import service


def run(case: dict[str, Any]) -> None:
    """By clusterIP and type alone."""
    spec = {name: case["input"].get(name) for name in ("clusterIP", "type")}
    skip = not is_proxied(service({"metadata": {"namespace": "ns1", "name": "svc1"}, "spec": spec}))
    assert skip == case["expect"]["skip"], f"skip is {skip}"

# SPDX-License-Identifier: Apache-2.0
"""The account of a Service gives a person the reason for each endpoint."""

from typing import Any

import pytest

from kproxy.objects.events import Upsert
from tests.conformance.build import node
from tests.unit.routing.manifests import NODE, endpoint, eps, routed, svc, terminating


def hinted(address: str, *, zones: tuple[str, ...] = (), nodes: tuple[str, ...] = ()) -> dict[str, Any]:
    """Write an endpoint with hints."""
    hints = {"forZones": [{"name": one} for one in zones], "forNodes": [{"name": one} for one in nodes]}
    return endpoint(address) | {"hints": hints}


def reasons(*slices: Upsert, **spec: Any) -> dict[str, tuple[str | None, str | None]]:
    """Return both reasons of each endpoint of a Service on node-1 in zone-a."""
    own = Upsert(node(NODE | {"labels": {"topology.kubernetes.io/zone": "zone-a"}}))
    (trace,) = routed(own, svc("web", "10.96.0.1", **spec), *slices).trace("shop/web")
    return {one.endpoint.address: (one.cluster, one.local) for one in trace.endpoints}


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        (endpoint("10.1.0.2", ready=False), "not ready"),
        (terminating("10.1.0.2"), "terminating, and others are ready"),
        (endpoint("10.1.0.2", ready=False, serving=False, terminating=True), "terminating and not serving any more"),
    ],
)
def test_a_state_is_a_reason(left_out: dict[str, Any], words: str) -> None:
    """An endpoint that is not ready says so; a set that no policy asks for has no reason."""
    assert reasons(eps("web", "10.1.0.1", left_out)) == {"10.1.0.1": ("", None), "10.1.0.2": (words, None)}


def test_hints_are_a_reason() -> None:
    """An endpoint meant for another zone or node names it."""
    by_zone = reasons(eps("web", hinted("10.1.0.1", zones=("zone-a",)), hinted("10.1.0.2", zones=("zone-b", "zone-c"))))
    by_node = reasons(eps("web", hinted("10.1.0.1", nodes=("node-1",)), hinted("10.1.0.2", nodes=("node-2",))))

    assert by_zone["10.1.0.2"] == ("hinted for zone zone-b and zone-c, not for zone-a", None)
    assert by_node["10.1.0.2"] == ("hinted for node node-2, not for node-1", None)


def test_another_node_is_a_reason_under_policy_local() -> None:
    """Policy Local names the node an endpoint is on."""
    found = reasons(
        eps("web", endpoint("10.1.0.1", on="node-1"), endpoint("10.1.0.2", on="node-2"), "10.1.0.3"),
        internalTrafficPolicy="Local",
    )

    assert found["10.1.0.1"] == (None, "")
    assert found["10.1.0.2"] == (None, "on node node-2: policy Local takes those of node-1 only")
    assert found["10.1.0.3"] == (None, "on no known node: policy Local takes those of node-1 only")


def test_weight_and_duplicates_are_reasons() -> None:
    """An endpoint of weight 0, and one that a better one of the same address supersedes."""
    found = reasons(
        eps("web", "10.1.0.1"),
        eps("web", "10.1.0.2", name="2", annotations={"kproxy.io/weight": "0"}),
    )
    assert found["10.1.0.2"] == ("its weight is 0: it takes no new connections", None)

    own = routed(svc("web", "10.96.0.1"), eps("web", "10.1.0.1"), eps("web", terminating("10.1.0.1"), name="2"))
    (trace,) = own.trace("shop/web")
    assert [one.cluster for one in trace.endpoints] == [
        "",
        "duplicate: another slice has the same address in a better state",
    ]

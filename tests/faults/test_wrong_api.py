# SPDX-License-Identifier: Apache-2.0
"""Objects no API server should hold, and an API server that misbehaves, for a real process on a node that serves."""

import copy
import itertools
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.bed import serving
from tests.faults.apiserved import ApiServedNode
from tests.manifests import endpoint_slice, service

pytestmark = [pytest.mark.packets, pytest.mark.timeout(120)]

WRONG: Final = 3  # the Service that is told wrongly; 0 goes on changing, 1 and 2 stand for all others
FRESH = itertools.count(100)


def _with(item: dict[str, Any], *path: str | int, value: object) -> dict[str, Any]:
    """Return a copy of a manifest with one field set."""
    spoilt = copy.deepcopy(item)
    inner: Any = spoilt
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return spoilt


SERVICE = service(WRONG)
SLICE = endpoint_slice(WRONG, [2 * WRONG, 2 * WRONG + 1])
OBJECTS = {  # the object, what the warning must say, and whether what was known of it stays in force
    "a word for a number": (
        _with(SERVICE, "spec", "ports", 0, "port", value="eighty"),
        "Service faults/service-3: Expected `int`, got `str` - at `$.spec.ports[0].port`; mend the object",
        True,
    ),
    "a number for a word": (
        _with(SERVICE, "spec", "clusterIP", value=5),
        "Service faults/service-3: Expected `str | null`, got `int` - at `$.spec.clusterIP`; mend the object",
        True,
    ),
    "no list": (_with(SERVICE, "spec", "ports", value="none"), "Service faults/service-3: Expected `array | null`", True),
    "no spec": (_with(SERVICE, "spec", value=None), "Service faults/service-3: Expected `object`, got `null`", True),
    "a list in a list": (
        _with(SLICE, "endpoints", 0, "addresses", value=[["x"]]),
        "EndpointSlice faults/service-3-1: Expected `str`, got `array`",
        True,
    ),
    "a port no packet can have": (
        _with(SERVICE, "spec", "ports", 0, "port", value=70_000),
        "Service faults/service-3: port 70000 is left out",
        False,
    ),
    "no address": (
        _with(SLICE, "endpoints", 0, "addresses", value=["10.128.0.300"]),
        "EndpointSlice faults/service-3-1: endpoint '10.128.0.300' is left out: it is not an IP address",
        True,  # by the other endpoint
    ),
    "no protocol of ours": (
        _with(SLICE, "ports", 0, "protocol", value="ICMP"),
        "EndpointSlice faults/service-3-1: port 'http' is left out: 8080/ICMP",
        False,
    ),
    "no weight": (
        _with(SLICE, "metadata", "annotations", value={"kproxy.io/weight": "many"}),
        "EndpointSlice faults/service-3-1: annotation kproxy.io/weight='many' is ignored: it must be a whole number",
        True,
    ),
}

ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "401": ({"failures": [{"status": 401, "times": 2}]}, "401 Unauthorized: the API server does not know us; mend the cred"),
    "403": ({"failures": [{"status": 403, "times": 2}]}, "grant it, as ClusterRole system:node-proxier does"),
    "410": ({"failures": [{"status": 410, "times": 2}]}, "410 The resourceVersion for the provided watch is too old"),
    "429": ({"failures": [{"status": 429, "times": 2, "retryAfter": 1}]}, "429 the server has received too many requests"),
    "500": ({"failures": [{"status": 500, "times": 2}]}, "500 Internal error occurred"),
    "503": ({"failures": [{"status": 503, "times": 2}]}, "503 the server is currently unable to handle the request"),
    "half a line": ({"halfLine": 1}, "ended its answer in the middle of a line"),
    "a torn event": ({"tear": 1}, "is torn"),
}


@pytest.fixture(scope="module", name="node")
def a_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServedNode]:
    """Give all tests of the file one node that serves five Services from an API server."""
    node = ApiServedNode(tmp_path_factory.mktemp("node"), 5)
    try:
        node.start()
        node.wait_ready()
        with serving(node.bed):
            yield node
    finally:
        node.close()


def _goes_on(node: ApiServedNode) -> None:
    """See that a change of Service 0 still reaches the kernel, and that the others are answered."""
    node.change([0, next(FRESH)])
    node.wait_endpoints(0)
    assert node.dial(0)
    assert node.dial(1)


@pytest.mark.parametrize(("item", "words", "served"), OBJECTS.values(), ids=OBJECTS.keys())
def test_wrong_objects(node: ApiServedNode, item: dict[str, Any], words: str, *, served: bool) -> None:
    """A warning names object and field once; the others are served and change; once mended, it is as if nothing was."""
    known = len(node.complaints(words))
    node.post("/lab/raw", item)
    said = node.wait_complaint(words, beyond=known)
    _goes_on(node)

    assert len(node.complaints(words)) == known + 1, said
    assert node.dial(WRONG) is served
    node.post("/lab/raw", SERVICE)
    node.post("/lab/raw", SLICE)
    node.wait_answer(WRONG)


@pytest.mark.parametrize(("faults", "words"), ERRORS.values(), ids=ERRORS.keys())
def test_api_errors(node: ApiServedNode, faults: dict[str, Any], words: str) -> None:
    """What the server says is told with its mend; meanwhile the last table serves, and afterwards changes come through."""
    known = len(node.complaints(words))
    node.post("/lab/faults", faults)
    if "failures" in faults:
        node.post("/lab/cut-watches", {})
    node.change([0, next(FRESH)])
    node.wait_complaint(words, beyond=known)
    assert node.dial(0)
    assert node.dial(1)
    node.wait_endpoints(0, patience=30)


def test_a_server_that_is_gone(node: ApiServedNode) -> None:
    """It is named with its address; the last table serves."""
    node.stop_server()
    node.wait_complaint("is the API server up?")
    node.wait_complaint("http://127.0.0.1:8001")

    assert node.dial(0)
    assert node.dial(WRONG)
    assert node.get(10256, "/healthz")

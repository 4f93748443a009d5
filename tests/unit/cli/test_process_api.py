# SPDX-License-Identifier: Apache-2.0
"""The daemon as a process against an API server: Services come and go, the Node counts, Events are written."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kproxy.lab.processes import Program
from kproxy.objects.node import DRAIN_TAINT
from tests.unit.cli.running import API_PORT, FLAGS, NODE, Node, endpoint_slice, service

pytestmark = [pytest.mark.packets, pytest.mark.timeout(120)]

SERVICES = "/api/v1/namespaces/shop/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"
EVENTS = "/apis/events.k8s.io/v1/events"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """Give a test a node whose API server knows the Node and one Service."""
    with contextlib.closing(Node(tmp_path)) as made:
        server = Program(made.host, tmp_path / "apiserver", "kproxy.lab.apiserver", "--host=127.0.0.1", f"--port={API_PORT}")
        try:
            made.until(lambda: made.page("/readyz", API_PORT)[0] == 200)
            made.send("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
            address = {"type": "InternalIP", "address": NODE}
            made.send(
                "POST",
                "/api/v1/nodes",
                {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {"addresses": [address]}},
            )
            made.send("POST", SERVICES, service("web", "10.96.0.7"))
            made.send("POST", SLICES, endpoint_slice("web", "10.244.0.1"))
            yield made
        finally:
            server.kill()


def start(node: Node, *flags: str) -> None:
    """Start the daemon against the API server."""
    node.start(f"--master=http://127.0.0.1:{API_PORT}", *FLAGS, *flags, manifests=False)


def events(node: Node) -> list[dict[str, Any]]:
    """Return the Events that were written."""
    items: list[dict[str, Any]] = json.loads(node.page(EVENTS, API_PORT)[1])["items"]
    return items


def test_services_come_and_go(node: Node) -> None:
    """Objects of the API become rules, and leave with them."""
    start(node)
    rules = "list", "table", "ip", "kproxy"
    assert "10.244.0.1 . 8080" in node.nft(*rules)
    node.send("POST", SERVICES, service("other", "10.96.0.8"))
    node.send("POST", SLICES, endpoint_slice("other", "10.244.0.2"))
    node.until(lambda: "10.244.0.2 . 8080" in node.nft(*rules))
    node.send("DELETE", f"{SERVICES}/other", {})
    node.until(lambda: "10.244.0.2 . 8080" not in node.nft(*rules))
    metrics = node.page("/metrics")[1]
    assert 'rest_client_requests_total{code="200"' in metrics
    assert 'kproxy_change_duration_seconds_count{ip_family="IPv4",station="total"}' in metrics


def test_events_reach_the_api_server(node: Node) -> None:
    """The start, and two Services that claim one address; the server finds nothing wrong with them."""
    start(node)
    node.send("POST", SERVICES, service("first", "10.96.0.8", externalIPs=["192.0.2.9"]))
    time.sleep(1.1)  # who was created first is told in whole seconds
    node.send("POST", SERVICES, service("second", "10.96.0.9", externalIPs=["192.0.2.9"]))
    node.until(lambda: {"Starting", "FrontendConflict"} <= {event["reason"] for event in events(node)})
    conflict = next(event for event in events(node) if event["reason"] == "FrontendConflict")
    assert (conflict["regarding"]["kind"], conflict["regarding"]["name"]) == ("Service", "second")
    assert conflict["metadata"]["namespace"] == "shop"
    assert "shop/first" in conflict["note"]
    assert 'kproxy_events_total{result="failed"}' not in node.page("/metrics")[1]


def test_a_draining_node_is_told_to_load_balancers(node: Node) -> None:
    """The health page turns red, the liveness page does not."""
    start(node)
    assert node.page("/healthz", 10256)[0] == 200
    node.send("PATCH", "/api/v1/nodes/n1", {"spec": {"taints": [{"key": DRAIN_TAINT, "effect": "NoSchedule"}]}})
    node.until(lambda: node.page("/healthz", 10256)[0] == 503)
    assert node.page("/livez", 10256)[0] == 200


def test_a_questionable_object_is_named_and_served(node: Node) -> None:
    """In an Event of its own."""
    start(node)
    odd = service("odd", "10.96.0.9")
    odd["metadata"]["annotations"] = {"kproxy.io/scheduler": "magic"}
    node.send("POST", SERVICES, odd)
    node.until(lambda: "ObjectQuestionable" in {event["reason"] for event in events(node)})
    assert "magic" in next(event for event in events(node) if event["reason"] == "ObjectQuestionable")["note"]
    assert "10.96.0.9" in node.nft("list", "table", "ip", "kproxy")


def test_without_an_api_server_the_last_rules_stay(tmp_path: Path) -> None:
    """A restart that cannot reach the server changes nothing, and is not ready."""
    with contextlib.closing(Node(tmp_path)) as node:
        node.write(service("web", "10.96.0.1"), endpoint_slice("web", "10.244.0.1"))
        node.start(*FLAGS)
        node.stop()
        before = node.nft("list", "ruleset")
        node.start(f"--master=http://127.0.0.1:{API_PORT}", *FLAGS, manifests=False, ready=False)
        node.until(lambda: node.page("/livez", 10256)[0] == 200)
        time.sleep(1.0)
        assert node.page("/readyz", 10256)[0] == 503
        assert node.nft("list", "ruleset") == before
        assert "waiting for Services, EndpointSlices" in node.run("status").stdout

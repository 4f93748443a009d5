# SPDX-License-Identifier: Apache-2.0
"""Area local_detector: how a pod on this node is recognised, per family."""

from typing import Any

from kproxy.config.local_detection import pod_cidrs, pod_tests
from kproxy.daemon.gate import Gate
from kproxy.objects.events import Delete, Kind, Upsert
from kproxy.objects.meta import Meta
from kproxy.objects.node import Node, NodeSpec
from kproxy.table.addresses import parse_network
from kproxy.table.node import PodTest
from kproxy.table.terms import Family


def _described(test: PodTest | None) -> str:
    if test is None:
        return "none"
    if test.interface:
        return f"interface == {test.interface}"
    return f"interface starts with {test.interface_prefix}" if test.interface_prefix else test.cidr


def _canonical(text: str) -> str:
    return str(parse_network(text)) if "/" in text else text


def _wait(given: dict[str, Any]) -> tuple[str, ...]:
    """Tell the daemon's gate the Node's events, and return the pod ranges of the one that ends the wait."""
    name = given.get("node", "test-node")
    gate = Gate(0.0, node=name, wants_pod_cidrs=True)
    for event in given["events"]:
        node = Node(Meta(name=name), NodeSpec(pod_cidrs=tuple(event.get("podCIDRs") or ())))
        gate.note(Delete(Kind.NODE, name) if event["type"] == "delete" else Upsert(node))
        if not any("pod CIDRs" in what for what in gate.missing()):
            return pod_cidrs(node)
    return ()


def run(case: dict[str, Any]) -> None:
    """Compare the test of each family, or the pod ranges that the start waits for."""
    given, expect = case["input"], case["expect"]
    if "events" in given:
        assert list(_wait(given)) == expect["podCIDRs"]
        return
    tests = pod_tests(
        given.get("detectLocalMode") or "",
        cluster_cidrs=given.get("clusterCIDRs") or (),
        node_pod_cidrs=given.get("nodePodCIDRs") or (),
        bridge_interface=str(given.get("bridgeInterface", "")),
        interface_name_prefix=str(given.get("interfaceNamePrefix", "")),
    )
    for family in Family:
        if family in expect:
            described, wanted = _described(tests[family]), _canonical(expect[family] or "none")
            assert described == wanted, f"{family}: {described}, expected {wanted}"

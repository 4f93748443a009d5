# SPDX-License-Identifier: Apache-2.0
"""Area node_ips: this node's addresses and primary family."""

from typing import Any

from kproxy.config.node_ips import node_addresses, node_ips
from kproxy.daemon.gate import Gate
from kproxy.objects.events import Host, Kind, Synced, Upsert
from kproxy.objects.meta import Meta
from kproxy.objects.node import Node, NodeAddress, NodeStatus
from kproxy.table.terms import Family


def _node(name: str, addresses: list[str] | None) -> Node | None:
    if addresses is None:
        return None
    return Node(Meta(name=name), status=NodeStatus(tuple(NodeAddress("InternalIP", address) for address in addresses)))


def _wait(name: str, states: dict[str, list[str] | None], after_seconds: float) -> list[str]:
    """Have the daemon's gate wait for the Node's addresses, and return those it found."""
    gate = Gate(0.0, node=name)
    gate.note(Host(()))
    for kind in Kind:  # nothing else keeps it waiting
        gate.note(Synced(kind))
    for when in ("before", "after"):
        node = _node(name, states[when])
        if node is not None:
            gate.note(Upsert(node))
        if not any("Node's addresses" in what for what in gate.missing()):
            return list(node_addresses(node))
        assert gate.opens_at() > after_seconds, "it does not wait long enough"
    return []


def run(case: dict[str, Any]) -> None:
    """Compare the addresses settled, or those found once the Node object has some."""
    given, expect = case["input"], case["expect"]
    if "nodes" in given:
        for name, states in given["nodes"].items():
            found = _wait(name, states, given["changeAfterSeconds"])
            assert found == expect["nodeIPs"][name], f"{name}: {found}"
        return
    settled = node_ips(given.get("nodeIPs") or (), given.get("bindAddress") or "")
    if "primaryFamily" in expect:
        assert settled.primary == expect["primaryFamily"], f"primary is {settled.primary}"
    for family in Family:
        if family in expect:
            assert settled.of(family) == expect[family], f"{family}: {settled.of(family)}, expected {expect[family]}"

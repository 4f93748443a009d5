# SPDX-License-Identifier: Apache-2.0
"""Area node_ips: this node's addresses and primary family."""

from typing import Any

from kproxy.config.node_ips import node_addresses, node_ips
from kproxy.objects.meta import Meta
from kproxy.objects.node import Node, NodeAddress, NodeStatus
from kproxy.table.terms import Family


def _node(name: str, addresses: list[str] | None) -> Node | None:
    if addresses is None:
        return None
    return Node(Meta(name=name), status=NodeStatus(tuple(NodeAddress("InternalIP", address) for address in addresses)))


def run(case: dict[str, Any]) -> None:
    """Compare the addresses settled, or those found once the Node object has some."""
    given, expect = case["input"], case["expect"]
    if "nodes" in given:
        for name, states in given["nodes"].items():
            seen = [list(node_addresses(_node(name, states[when]))) for when in ("before", "after")]
            found = next((addresses for addresses in seen if addresses), [])
            assert found == expect["nodeIPs"][name], f"{name}: {found}"
        return
    settled = node_ips(given.get("nodeIPs") or (), given.get("bindAddress") or "")
    if "primaryFamily" in expect:
        assert settled.primary == expect["primaryFamily"], f"primary is {settled.primary}"
    for family in Family:
        if family in expect:
            assert settled.of(family) == expect[family], f"{family}: {settled.of(family)}, expected {expect[family]}"

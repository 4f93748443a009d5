# SPDX-License-Identifier: Apache-2.0
"""Somebody else's hands on our rules: noticed, repaired, counted; their own rules stay."""

from pathlib import Path

import pytest

from kproxy.lab.histogram import counter
from tests.faults.daemon import NodeUnderTest

pytestmark = [pytest.mark.packets, pytest.mark.timeout(300)]

DAMAGES = {
    "everything flushed": "flush ruleset",
    "our table deleted": "delete table ip kproxy",
    "a chain emptied": "flush chain ip kproxy dispatch",
    "a map emptied": "flush map ip kproxy endpoints",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_repaired_and_counted(tmp_path: Path, damage: str) -> None:
    """Whatever somebody destroys of ours is back soon, and a metric says that it happened."""
    node = NodeUnderTest(tmp_path, 50)
    try:
        node.start()
        node.wait_ready()
        node.wait_equal(patience=10)
        repairs = counter(node.get(10249, "/metrics"), "kproxy_drift_repairs_total")
        node.nft(damage)
        node.wait_equal(patience=20)

        assert counter(node.get(10249, "/metrics"), "kproxy_drift_repairs_total") > repairs
    finally:
        node.close()


def test_rules_of_others_stay(tmp_path: Path) -> None:
    """A table that is not ours is the same before and after start, change, repair and cleanup."""
    node = NodeUnderTest(tmp_path, 5)
    try:
        node.nft("add table ip firewall")
        node.nft("add chain ip firewall input { type filter hook input priority 0 ; policy accept ; }")
        node.nft("add rule ip firewall input tcp dport 22 accept")
        before = node.nft("list table ip firewall")
        node.start()
        node.wait_ready()
        node.change([0, 1, 900])
        node.wait_equal(patience=10)
        node.nft("delete table ip kproxy")
        node.wait_equal(patience=20)

        assert node.nft("list table ip firewall") == before
    finally:
        node.close()

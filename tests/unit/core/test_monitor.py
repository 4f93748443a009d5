# SPDX-License-Identifier: Apache-2.0
"""What others change is heard; what we change is not."""

import os
import select
import subprocess

import pytest

from kproxy._core import NftMonitor, NftSocket
from tests.unit.core.conftest import IP, LAYOUT, TABLE, batch, endpoint, nft, number

pytestmark = pytest.mark.packets


def _readable(monitor: NftMonitor) -> bool:
    return bool(select.select([monitor.fileno()], [], [], 0)[0])


def test_our_own_changes_are_not_even_queued(door: NftSocket) -> None:
    """A load as large as they come leaves nothing to read, and nothing is lost by it."""
    monitor = NftMonitor([door.portid])
    load = batch()
    load.extend(True, "endpoints", [number(each) for each in range(1000, 51_000)], [endpoint("10.1.2.3", 80)] * 50_000)
    door.send_pieces(load, 1000)

    assert not _readable(monitor)
    assert monitor.poll() == []


def test_changes_of_others_are_told_once_each(door: NftSocket) -> None:
    """A table's name, its family and what happened, however often it happened; then silence."""
    monitor = NftMonitor([door.portid])
    nft("add", "element", "ip", TABLE, "slots", "{ 0:7 . 0 : 0:1, 0:7 . 1 : 0:1, 0:7 . 2 : 0:1 }")
    nft("delete", "element", "ip", TABLE, "slots", "{ 0:7 . 0 }")
    nft("add", "table", "ip6", "other")

    assert _readable(monitor)
    assert monitor.poll() == [(2, TABLE, "new element"), (2, TABLE, "delete element"), (10, "other", "new table")]
    assert monitor.poll() == []


def test_a_flush_is_heard_and_its_author_named(door: NftSocket) -> None:
    """``nft flush ruleset`` tells of every chain, map and rule that went."""
    monitor = NftMonitor([door.portid])
    process = subprocess.Popen(["nft", "flush", "ruleset"])
    assert process.wait() == 0

    assert {what for family, table, what in monitor.poll() if (family, table) == (IP, TABLE)} == {
        *("delete table", "delete chain", "delete rule", "delete set"),
    }
    assert monitor.culprit == f"nft (process {process.pid})"


def test_a_port_can_be_ignored_later_and_heeded_again(door: NftSocket) -> None:
    """So that our own ``nft`` runs, whose port is their process id, are told from those of others."""
    monitor = NftMonitor([door.portid])
    ours = subprocess.Popen(["nft", "-f", "-"], stdin=subprocess.PIPE, text=True)
    ours.communicate(LAYOUT.replace("table ip k ", "table ip ours "))
    nft("add", "table", "ip", "theirs")
    monitor.ignore(ours.pid)
    monitor.heed(ours.pid)

    assert monitor.poll() == [(2, "theirs", "new table")]


def test_lost_notifications_are_told(door: NftSocket) -> None:
    """Somebody else's load that overflows the queue is reported as: anything may have changed."""
    monitor = NftMonitor()
    keys = [number(each) for each in range(1000, 101_000)]
    for _ in range(2):
        load, unload = batch(), batch()
        load.extend(True, "endpoints", keys, [endpoint("10.1.2.3", 80)] * len(keys))
        unload.extend(False, "endpoints", keys)
        door.send_pieces(load, 2000)
        door.send_pieces(unload, 2000)

    assert (0, "*", "lost") in monitor.poll()
    assert monitor.poll() == []


def test_only_one_namespace_is_heard(door: NftSocket) -> None:
    """The one the monitor was opened in."""
    monitor = NftMonitor([door.portid])
    subprocess.run(["unshare", "-n", "nft", "add", "table", "ip", "elsewhere"], check=True)

    assert monitor.poll() == []
    assert monitor.culprit is None
    os.fstat(monitor.fileno())

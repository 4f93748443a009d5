# SPDX-License-Identifier: Apache-2.0
"""The mode changes to ipvs and from it under load, with the real daemon: no dial is refused, no connection breaks."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from kproxy.table.terms import Mode
from tests.faults.switching import SwitchingNode

pytestmark = pytest.mark.timeout(900)

# From each other mode to ipvs, and from ipvs to each.
TOUR: Final = (Mode.NFTABLES, Mode.IPVS, Mode.IPTABLES, Mode.IPVS, Mode.USERSPACE, Mode.IPVS, Mode.NFTABLES)
PATIENCE: Final = 180.0  # seconds: emulated machines are slow


@pytest.fixture
def node(tmp_path: Path) -> Iterator[SwitchingNode]:
    """Give a test a node with a few Services."""
    with contextlib.closing(SwitchingNode(tmp_path, services=5)) as made:
        yield made


def test_every_switch_is_seamless(node: SwitchingNode) -> None:
    """There and back again, while endpoints change: no dial fails, connections of every mode live to the end."""
    node.want(TOUR[0])
    node.start()
    node.wait_ready(PATIENCE)
    with node.exchanging() as counts:
        for number, mode in enumerate(TOUR[1:]):
            node.hold()
            before = counts[0]
            node.want(mode)
            node.change([0, 1, 2 + number])
            node.wait_mode(mode, patience=PATIENCE)
            assert node.broken() == 0, f"connections broke on the way to {mode}"
            assert counts[1] == 0, f"{counts[1]} of {counts[0] - before} dials failed on the way to {mode}"
            time.sleep(2)
        assert counts[0] > 10 * len(TOUR)
        assert node.broken() == 0
    node.let_go()
    node.wait_mode(TOUR[-1], alone=True, patience=PATIENCE)
    node.wait_gone(Mode.IPVS)

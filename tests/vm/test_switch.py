# SPDX-License-Identifier: Apache-2.0
"""The mode changes to ipvs and from it under load, with the real daemon: no dial is refused, no connection breaks."""

import contextlib
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
    assert node.walk(TOUR, patience=PATIENCE, pause=2.0) > 10 * len(TOUR)
    node.let_go()
    node.wait_mode(TOUR[-1], alone=True, patience=PATIENCE)
    node.wait_gone(Mode.IPVS)

# SPDX-License-Identifier: Apache-2.0
"""The mode changes under load: no dial is refused, no connection breaks; a kill on the way is made good."""

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kproxy.daemon.modes import MODES
from kproxy.table.terms import Mode
from tests.faults.switching import SwitchingNode

pytestmark = [pytest.mark.packets, pytest.mark.timeout(300)]

KINDS = tuple(mode for mode in (Mode.NFTABLES, Mode.IPTABLES, Mode.USERSPACE) if mode in MODES)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[SwitchingNode]:
    """Give a test a node with a few Services."""
    with contextlib.closing(SwitchingNode(tmp_path, services=20)) as made:
        yield made


def tour() -> list[Mode]:
    """Return modes in an order that goes from each to each other once."""
    ways = set(itertools.permutations(KINDS, 2))
    path = [KINDS[0]]
    while ways:
        here = path[-1]
        there = next(mode for mode in KINDS if (here, mode) in ways and _goes_on(ways - {(here, mode)}, mode))
        ways.remove((here, there))
        path.append(there)
    return path


def _goes_on(ways: set[tuple[Mode, Mode]], here: Mode) -> bool:
    return not ways or any(way[0] == here for way in ways)


def test_every_switch_is_seamless(node: SwitchingNode) -> None:
    """From each mode to each other, while endpoints change: no dial fails, connections of every mode live to the end."""
    path = tour()
    assert node.walk(path) > 50 * len(path)
    node.let_go()
    node.wait_mode(path[-1], alone=True)


@pytest.mark.parametrize("after", [0.2, 0.5, 0.9])
def test_a_kill_on_the_way_is_made_good(node: SwitchingNode, after: float) -> None:
    """Whatever of both modes is in the kernel then: the next start serves in the new one, and nothing of the old is left."""
    node.want(KINDS[0])
    node.start()
    node.wait_ready()
    node.want(KINDS[-1])
    time.sleep(after)
    node.kill()
    node.start()
    node.wait_ready()
    node.wait_mode(KINDS[-1], alone=True)
    node.wait_gone(KINDS[0])
    with node.exchanging():
        node.wait_answer(0)


def test_a_mode_that_cannot_serve_here_leaves_the_old_one(node: SwitchingNode) -> None:
    """With one sentence that says why; all else that was changed is in force."""
    node.want("nftables")
    node.start()
    node.wait_ready()
    node.want("ipvs", logging={"verbosity": 4})
    node.wait_complaint("nftables stays in force")
    node.wait_mode("nftables", alone=True)
    with node.exchanging():
        node.wait_answer(0)

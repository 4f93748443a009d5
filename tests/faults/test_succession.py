# SPDX-License-Identifier: Apache-2.0
"""A new process relieves the running one under load: in userspace mode nothing is lost, in no other mode either."""

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kproxy.daemon.modes import MODES
from kproxy.table.terms import Mode
from tests.faults.switching import SwitchingNode

pytestmark = [pytest.mark.packets, pytest.mark.timeout(300)]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[SwitchingNode]:
    """Give a test a node with a few Services."""
    with contextlib.closing(SwitchingNode(tmp_path, services=20)) as made:
        yield made


@pytest.mark.parametrize("mode", [mode for mode in (Mode.USERSPACE, Mode.NFTABLES) if mode in MODES])
def test_a_second_process_relieves_the_first(node: SwitchingNode, mode: Mode) -> None:
    """No dial fails, connections through the first live on, and it ends by itself when they have."""
    node.want(mode)
    node.start()
    node.wait_ready()
    with node.exchanging() as counts:
        node.hold()
        first = node.succeed(mode)
        node.change([0, 1, 2])
        node.hold()
        time.sleep(1.0)
        assert node.broken() == 0
        assert counts[1] == 0
        assert counts[0] > 100
        if mode is Mode.USERSPACE:
            assert first.is_running  # a connection still goes through it
        node.let_go()
        assert first.wait(60) == 0
        node.hold()
        assert counts[1] == 0


def test_a_second_process_in_another_mode_takes_the_node(node: SwitchingNode) -> None:
    """The first one lets its connections end, and only then its rules go."""
    node.want("userspace")
    node.start()
    node.wait_ready()
    with node.exchanging() as counts:
        node.hold()
        first = node.succeed("nftables")
        time.sleep(1.0)
        assert node.broken() == 0
        node.let_go()
        assert first.wait(60) == 0
        assert counts[1] == 0
    node.wait_gone(Mode.USERSPACE)


def test_a_signal_ends_a_relay_with_its_last_connection(node: SwitchingNode) -> None:
    """New clients are served until then; a second signal would end it at once."""
    node.want("userspace")
    node.start()
    node.wait_ready()
    with node.exchanging():
        node.hold()
        assert node.daemon is not None
        node.daemon.send(signal.SIGTERM)
        time.sleep(1.0)
        assert node.broken() == 0
        node.hold()
        assert node.daemon.is_running
        node.daemon.send(signal.SIGTERM)
        assert node.daemon.wait(30) == -signal.SIGTERM

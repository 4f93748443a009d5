# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` at any moment is survivable, and a restart that finds nothing changed writes nothing."""

import random
import subprocess
import threading
import time
from pathlib import Path

import pytest

from kproxy.lab.namespaces import inside
from tests.faults.daemon import NodeUnderTest

pytestmark = [pytest.mark.packets, pytest.mark.timeout(600)]


def kill_under_change(directory: Path, kills: int, *, services: int = 50, seed: int = 7) -> tuple[int, int, int]:
    """Kill and restart the daemon while endpoints change and dials go on; return dials, failures, slow dials."""
    chance = random.Random(seed)
    node = NodeUnderTest(directory, services)
    stop = threading.Event()

    def keep_changing() -> None:
        members, fresh = [0, 1], 10_000
        while not stop.wait(0.03):
            fresh += 1
            members = [*members[-chance.randrange(1, 3) :], fresh]
            node.change(members)

    try:
        node.start()
        node.wait_ready()
        changing = threading.Thread(target=keep_changing)
        with node.dialling() as counts:
            changing.start()
            for _ in range(kills):
                time.sleep(chance.random() * 1.2)  # from before the first commit to well after it
                node.kill()
                node.start()
            stop.set()
            changing.join()
            node.wait_ready()
            node.wait_equal(patience=30)
            time.sleep(1.2)
        return (counts[0], counts[1], counts[2])
    finally:
        stop.set()
        node.close()


def test_traffic_survives_kills_at_random_moments(tmp_path: Path) -> None:
    """Whenever the daemon dies, dials go on being answered, and after a restart the kernel is as the manifests say."""
    dials, failures, slow = kill_under_change(tmp_path, 12)

    assert dials > 1_000
    assert (failures, slow) == (0, 0)


def test_an_idle_restart_writes_nothing(tmp_path: Path) -> None:
    """``nft monitor`` prints nothing while the daemon ends and starts again with nothing changed."""
    node = NodeUnderTest(tmp_path, 20)
    try:
        node.start()
        node.wait_ready()
        node.wait_equal(patience=10)
        time.sleep(0.5)
        with inside(node.bed.node.namespace):
            monitor = subprocess.Popen(["stdbuf", "-oL", "nft", "monitor"], stdout=subprocess.PIPE, text=True)
        time.sleep(0.3)
        node.kill()
        node.start()
        node.wait_ready()
        time.sleep(1)
        monitor.terminate()
        written, _ = monitor.communicate()

        assert written == ""
    finally:
        node.close()

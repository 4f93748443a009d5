# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` of the daemon at 100 random moments under change: traffic never stops, the kernel equals the table again."""

from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bar
from tests.faults.test_kill import kill_under_change


def test_kill(benchmark: BenchmarkFixture, bar: Bar, tmp_path: Path) -> None:
    """A hundred kills, and zero dials that fail or take a second."""
    dials, failures, slow = benchmark.pedantic(kill_under_change, args=(tmp_path, 100), rounds=1)
    bar("dials lost over 100 kills", failures + slow, 0, f"{dials} dials")

# SPDX-License-Identifier: Apache-2.0
"""``nft flush ruleset`` by somebody: how long until the kernel is as the table says again."""

import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bar
from bench.tables import sized
from bench.test_load import _ours
from kproxy.lab.histogram import counter
from tests.faults.daemon import NodeUnderTest


@pytest.mark.parametrize("services", [1_000, 10_000])
def test_repair(benchmark: BenchmarkFixture, bar: Bar, tmp_path: Path, services: int) -> None:
    """Within 2 s at 1,000 Services; at 10,000 within the time of a cold load and one second more."""
    node = NodeUnderTest(tmp_path, services)

    def repairs() -> float:
        return counter(node.get(10249, "/metrics"), "kproxy_drift_repairs_total")

    def flush() -> float:
        before = repairs()
        began = time.monotonic()
        node.nft("flush ruleset")
        while repairs() == before:
            assert time.monotonic() < began + 60
            time.sleep(0.02)
        return time.monotonic() - began

    try:
        node.start()
        node.wait_ready(patience=120)
        time.sleep(3)  # the comparison after the start is over
        taken = benchmark.pedantic(flush, rounds=1)
        assert not node.differences()
    finally:
        node.close()
    most = 2.0 if services == 1_000 else _ours(sized(services, 2)) + 1
    bar(f"repair after a flush at {services} Services, seconds", taken, most)

# SPDX-License-Identifier: Apache-2.0
"""Dials without pause during 20,000 changes: not one may be refused, and no packet may meet a reject rule."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bar
from kproxy.dataplanes.nftables.dataplane import NftablesDataplane
from tests.faults.churn import Outcome, churn


@pytest.mark.parametrize("affinity", [0, 60])
@pytest.mark.parametrize("services", [100, 10_000])
def test_dials(benchmark: BenchmarkFixture, bar: Bar, services: int, affinity: int) -> None:
    """20,000 changes, and zero dials that fail, take a second, or are counted by a reject rule."""

    def run() -> Outcome:
        return churn(NftablesDataplane, services=services, changes=20_000, affinity=affinity)

    outcome = benchmark.pedantic(run, rounds=1)
    lost = outcome.failures + outcome.slow + sum(outcome.refused.values())
    bar(f"dials lost at {services} Services, affinity {affinity} s", lost, 0, str(outcome))

# SPDX-License-Identifier: Apache-2.0
"""Rendezvous hashing: how fast an endpoint is found without a table, and how evenly."""

from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bar
from bench.timing import seconds
from kproxy._core import Rendezvous

LOOKUPS: Final = 2_000_000
NAMES: Final = [f"10.244.0.{each}:8080".encode() for each in range(100)]
SEED: Final = b"6f0c7a3e-2f4b-4d0c-9c39-5f1c1a7f0b11"


@pytest.mark.parametrize(("endpoints", "most"), [(10, 20), (64, 80)])
def test_lookup(benchmark: BenchmarkFixture, bar: Bar, endpoints: int, most: float) -> None:
    """One pick of many independent ones, counting included."""
    method = Rendezvous(NAMES[:endpoints], [1] * endpoints, SEED)
    benchmark.pedantic(method.spread, args=(LOOKUPS,), rounds=1)
    taken = min(seconds(lambda: method.spread(LOOKUPS)) for _ in range(15))
    bar(f"rendezvous lookup among {endpoints}, ns", taken / LOOKUPS * 1e9, most, "throughput, best of 15")


def test_imbalance(benchmark: BenchmarkFixture, bar: Bar) -> None:
    """The busiest of 100 endpoints beside their mean, over a million clients."""
    method = Rendezvous(NAMES, [1] * 100, SEED)
    counts = benchmark.pedantic(method.spread, args=(1_000_000,), rounds=1)
    bar("rendezvous busiest endpoint / mean", max(counts) / 10_000, 1.05, "a million clients, 100 endpoints")

# SPDX-License-Identifier: Apache-2.0
"""Maglev: how fast a table is built and read, and how few connections move when an endpoint leaves."""

from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bar
from bench.timing import seconds
from kproxy._core import Maglev, maglev, maglev_size

LOOKUPS: Final = 20_000_000
NAMES: Final = [f"10.244.0.{each}:8080".encode() for each in range(100)]
SEED: Final = b"6f0c7a3e-2f4b-4d0c-9c39-5f1c1a7f0b11"


@pytest.mark.parametrize(("endpoints", "size", "most"), [(100, 65_537, 1.5), (100, 16_381, 0.25), (10, 1_009, 0.01)])
def test_build(benchmark: BenchmarkFixture, bar: Bar, endpoints: int, size: int, most: float) -> None:
    """A table built from names to slots."""
    arguments = (NAMES[:endpoints], [1] * endpoints, SEED, size)
    benchmark.pedantic(Maglev, args=arguments, rounds=50, warmup_rounds=3)
    taken = [seconds(lambda: Maglev(*arguments)) for _ in range(100)]
    bar(f"Maglev build {size:,} x {endpoints}, ms", min(taken) * 1e3, most, f"best of {len(taken)}")


@pytest.mark.parametrize("size", [65_537, 16_381, 1_021])
def test_lookup(benchmark: BenchmarkFixture, bar: Bar, size: int) -> None:
    """One pick of many independent ones, counting included."""
    endpoints = 10 if size < 10_000 else 100
    table = Maglev(NAMES[:endpoints], [1] * endpoints, SEED, size)
    benchmark.pedantic(table.spread, args=(LOOKUPS,), rounds=1)
    taken = min(seconds(lambda: table.spread(LOOKUPS)) for _ in range(5))
    bar(f"Maglev lookup in {size} slots, ns", taken / LOOKUPS * 1e9, 3, "throughput, best of 5")


@pytest.mark.parametrize(("endpoints", "most"), [(10, 3.5), (100, 2)])
def test_needless_moves(benchmark: BenchmarkFixture, bar: Bar, endpoints: int, most: float) -> None:
    """Slots that changed hands although their endpoint stayed, when one leaves: over every one that may leave."""
    names, size = NAMES[:endpoints], maglev_size(endpoints)
    assert size >= 100 * endpoints
    whole = maglev(names, [1] * endpoints, SEED, size)
    moved = []
    for gone in range(endpoints):
        without = maglev(names, [int(each != gone) for each in range(endpoints)], SEED, size)
        moved.append(sum(before not in (gone, after) for before, after in zip(whole, without, strict=True)) / size)
    benchmark.pedantic(maglev, args=(names, [1] * endpoints, SEED, size), rounds=20)
    words = f"{size} slots, {endpoints} departures"
    bar(f"Maglev needless moves of {endpoints}, % of slots", 100 * sum(moved) / len(moved), most, f"mean of {words}")


def test_imbalance(benchmark: BenchmarkFixture, bar: Bar) -> None:
    """The busiest of 100 endpoints beside their mean, over a million clients and 100 slots an endpoint."""
    table = Maglev(NAMES, [1] * 100, SEED, maglev_size(100))
    counts = benchmark.pedantic(table.spread, args=(1_000_000,), rounds=1)
    bar("Maglev busiest endpoint / mean", max(counts) / 10_000, 1.05, "a million clients, 100 endpoints")

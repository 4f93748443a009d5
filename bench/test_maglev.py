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


def test_build(benchmark: BenchmarkFixture, bar: Bar) -> None:
    """65,537 slots for 100 endpoints."""
    benchmark.pedantic(Maglev, args=(NAMES, [1] * 100, SEED, 65_537), rounds=50, warmup_rounds=3)
    taken = [seconds(lambda: Maglev(NAMES, [1] * 100, SEED, 65_537)) for _ in range(100)]
    bar("Maglev build 65,537 x 100, ms", min(taken) * 1e3, 1.5, f"best of {len(taken)}")


@pytest.mark.parametrize("size", [65_537, 16_381, 1_021])
def test_lookup(benchmark: BenchmarkFixture, bar: Bar, size: int) -> None:
    """One pick of many independent ones, counting included."""
    endpoints = 10 if size < 10_000 else 100
    table = Maglev(NAMES[:endpoints], [1] * endpoints, SEED, size)
    benchmark.pedantic(table.spread, args=(LOOKUPS,), rounds=1)
    taken = min(seconds(lambda: table.spread(LOOKUPS)) for _ in range(5))
    bar(f"Maglev lookup in {size} slots, ns", taken / LOOKUPS * 1e9, 3, "throughput, best of 5")


def test_needless_moves(benchmark: BenchmarkFixture, bar: Bar) -> None:
    """Slots that changed hands although their endpoint stayed, when one of 100 leaves: over every one that may leave."""
    size = maglev_size(100)
    assert size >= 100 * 100
    whole = maglev(NAMES, [1] * 100, SEED, size)
    moved = []
    for gone in range(100):
        without = maglev(NAMES, [int(each != gone) for each in range(100)], SEED, size)
        moved.append(sum(before not in (gone, after) for before, after in zip(whole, without, strict=True)) / size)
    benchmark.pedantic(maglev, args=(NAMES, [1] * 100, SEED, size), rounds=20)
    bar("Maglev needless moves, % of slots", 100 * sum(moved) / len(moved), 2, f"{size} slots, mean of 100 departures")
    bar("Maglev needless moves, % of slots, worst", 100 * max(moved), 2, "the worst departure of 100")

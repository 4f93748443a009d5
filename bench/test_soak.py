# SPDX-License-Identifier: Apache-2.0
"""Half an hour of mixed load through the relay while endpoints come and go: nothing fails, and nothing grows.

``RELAY_SOAK_MINUTES`` sets how long; every cycle of ten seconds of load ends with a look at what the relay holds.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bars
from bench.relay import load
from bench.relay.backends import BIG
from bench.relay.bed import Bed
from bench.relay.lineup import Lineup, lineup
from bench.relay.memory import Held, held
from bench.relay.rounds import Load

_MINUTES: Final = float(os.environ.get("RELAY_SOAK_MINUTES", "30"))
_SECONDS: Final = 10.0
_SETTLING: Final = 2.0
_FLOWS: Final = 8  # of datagrams in a cycle: how many of the last ones have timed out by a cycle's end varies
_POOLED: Final = 128 * 4  # what every worker's pool may hold
_LOADS: Final[tuple[Callable[[Bed, str], Load], ...]] = (
    partial(load.web, connections=64, close=True, seconds=_SECONDS),
    partial(load.web, connections=100, seconds=_SECONDS),
    partial(load.web, connections=4, path=BIG, seconds=_SECONDS),
    partial(load.bulk, streams=2, seconds=_SECONDS),
    partial(load.datagrams, flows=_FLOWS, in_flight=4, seconds=_SECONDS),
)


@pytest.fixture(name="deployed")
def a_lineup() -> Iterator[Lineup]:
    """Have everybody run behind one interception; only ours is used."""
    with lineup(deployed=True) as made:
        yield made


def _cycle(deployed: Lineup) -> Held:
    """Run every load at once, and return what the relay holds a moment later."""
    address = deployed.addresses["ours"]
    with ThreadPoolExecutor(len(_LOADS)) as pool:
        running = [pool.submit(sample, deployed.bed, address) for sample in _LOADS]
        for each in running:
            each.result()
    time.sleep(_SETTLING)
    return held(deployed.processes["ours"])


def _cycles(deployed: Lineup) -> list[Held]:
    deployed.ours.order("churn 10")
    ends = time.monotonic() + 60 * _MINUTES
    found = []
    while time.monotonic() < ends:
        found.append(_cycle(deployed))
    return found


@pytest.mark.timeout(60 * _MINUTES + 300)
def test_soak(benchmark: BenchmarkFixture, deployed: Lineup, bars: Bars) -> None:
    """What the last third of the cycles left behind is what the first third did."""
    found = benchmark.pedantic(_cycles, args=(deployed,), rounds=1)
    third = max(1, len(found) // 3)
    early, late = found[1 : third + 1], found[-third:]
    words = (
        f"{len(found)} cycles; {early[0].memory / 1e6:.1f} MB after the second, {late[-1].memory / 1e6:.1f} MB at the end"
    )
    memory = statistics.median(each.memory for each in late) / statistics.median(each.memory for each in early)
    bars.most("soak, memory, late beside early", memory, 1.05, words)
    sockets = [statistics.median(each.descriptors - each.pipes for each in cycles) for cycles in (early, late)]
    bars.most("soak, descriptors but for pooled pipes, more late than early", sockets[1] - sockets[0], _FLOWS)
    bars.most("soak, pooled pipes", max(each.pipes for each in found) / 2, _POOLED, "their number is bounded")

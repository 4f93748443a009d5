# SPDX-License-Identifier: Apache-2.0
"""What an idle connection costs in every relay: 5,000 of them, each after one exchange."""

import time
from collections.abc import Callable
from typing import Final

from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bars
from bench.relay.lineup import Lineup
from bench.relay.memory import Held, held, idle

_COUNT: Final = 5_000
_SETTLING: Final = 1.0  # seconds in which a relay may give back what an exchange needed


def _grown(lineup: Lineup, name: str) -> Held:
    process = lineup.processes[name]
    before = held(process)
    with idle(lineup.bed, lineup.addresses[name], _COUNT) as again:
        time.sleep(_SETTLING)
        grown = held(process) - before
        again()  # none was lost
        return grown


def _everybody(lineup: Lineup) -> dict[str, Held]:
    return {name: _grown(lineup, name) for name in lineup.processes}


def test_idle(benchmark: BenchmarkFixture, lineup: Lineup, bars: Bars, figure: Callable[[str], None]) -> None:
    """No buffer, no pipe, two descriptors."""
    grown = benchmark.pedantic(_everybody, args=(lineup,), rounds=1)
    for name, more in grown.items():
        figure(
            f"idle, {lineup.name}, {name}: {more.memory / _COUNT:.0f} B, {more.descriptors / _COUNT:.2f} descriptors each"
        )
    ours = grown["ours"]
    bars.most(f"idle connection, {lineup.name}, bytes", ours.memory / _COUNT, 512)
    bars.most(f"idle connection, {lineup.name}, descriptors", ours.descriptors / _COUNT, 2)
    bars.most(f"idle connections, {lineup.name}, pipes", ours.pipes, 0)

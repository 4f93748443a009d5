# SPDX-License-Identifier: Apache-2.0
"""What a relay adds to a message's way: 10,000 a second over one connection, every one answered."""

from collections.abc import Callable

from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bars
from bench.relay import load
from bench.relay.lineup import Lineup
from bench.relay.report import lines
from bench.relay.rounds import alternate


def test_latency(benchmark: BenchmarkFixture, lineup: Lineup, bars: Bars, figure: Callable[[str], None]) -> None:
    """The median message is held up less than by HAProxy."""
    outcome = benchmark.pedantic(alternate, args=(lineup.targets(load.messages, "HAProxy splice", "nginx"),), rounds=1)
    title = f"messages, {lineup.name}"
    for line in lines(title, outcome):
        figure(line)
    direct = outcome["direct"].p50
    added = {name: medians.p50 - direct for name, medians in outcome.medians.items()}
    words = f"{added['ours']:.1f} and {added['HAProxy']:.1f} us over {direct:.1f}"
    bars.most(f"{title}, added p50 beside HAProxy's", added["ours"] / added["HAProxy"], 0.75, words)

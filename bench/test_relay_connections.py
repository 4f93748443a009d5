# SPDX-License-Identifier: Apache-2.0
"""New connections through every relay: 64 clients that dial, ask once and close."""

from collections.abc import Callable
from functools import partial

from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bars
from bench.relay import load
from bench.relay.lineup import Lineup
from bench.relay.report import lines
from bench.relay.rounds import alternate


def test_connections(benchmark: BenchmarkFixture, lineup: Lineup, bars: Bars, figure: Callable[[str], None]) -> None:
    """More connections a second than the peers, at a smaller cost and no longer tail."""
    sample = partial(load.web, connections=64, close=True)
    outcome = benchmark.pedantic(alternate, args=(lineup.targets(sample, "HAProxy splice"),), rounds=1)
    title = f"new connections, {lineup.name}"
    for line in lines(title, outcome):
        figure(line)
    ours, haproxy = outcome["ours"], outcome["HAProxy"]
    if not lineup.deployed:
        bars.least(f"{title}, x direct", ours.rate / outcome["direct"].rate, 0.60)
    bars.least(f"{title}, x HAProxy", ours.rate / haproxy.rate, 1.08)
    bars.least(f"{title}, x nginx", ours.rate / outcome["nginx"].rate, 1.15)
    bars.most(f"{title}, CPU each beside HAProxy", ours.cost / haproxy.cost, 0.87)
    bars.most(f"{title}, p99 beside HAProxy", ours.p99 / haproxy.p99, 1.0)

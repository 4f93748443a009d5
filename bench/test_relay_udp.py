# SPDX-License-Identifier: Apache-2.0
"""Datagrams through every relay that carries them: 16 flows with 16 in flight each, every answer followed by a question."""

from collections.abc import Callable

from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bars
from bench.relay import load
from bench.relay.lineup import Lineup
from bench.relay.report import lines
from bench.relay.rounds import alternate


def test_datagrams(benchmark: BenchmarkFixture, lineup: Lineup, bars: Bars, figure: Callable[[str], None]) -> None:
    """More round trips than nginx, at about half its cost."""
    targets = lineup.targets(load.datagrams, "HAProxy", "HAProxy splice")  # which carry none
    outcome = benchmark.pedantic(alternate, args=(targets,), rounds=1)
    title = f"datagrams 16 x 16, {lineup.name}"
    for line in lines(title, outcome):
        figure(line)
    ours, nginx = outcome["ours"], outcome["nginx"]
    if not lineup.deployed:
        bars.least(f"{title}, x direct", ours.rate / outcome["direct"].rate, 0.58)
    bars.least(f"{title}, x nginx", ours.rate / nginx.rate, 1.25)
    bars.most(f"{title}, CPU each beside nginx", ours.cost / nginx.cost, 0.65)

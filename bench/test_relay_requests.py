# SPDX-License-Identifier: Apache-2.0
"""Requests over kept connections through every relay: 32 of them, and 1,000."""

from collections.abc import Callable
from functools import partial

from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bars
from bench.relay import load
from bench.relay.lineup import Lineup
from bench.relay.report import lines
from bench.relay.rounds import Outcome, alternate


def _kept(benchmark: BenchmarkFixture, lineup: Lineup, connections: int) -> Outcome:
    targets = lineup.targets(partial(load.web, connections=connections), "HAProxy splice")
    outcome: Outcome = benchmark.pedantic(alternate, args=(targets,), rounds=1)
    return outcome


def test_few_connections(benchmark: BenchmarkFixture, lineup: Lineup, bars: Bars, figure: Callable[[str], None]) -> None:
    """32 connections: as many requests as HAProxy carries, and more than nginx."""
    outcome = _kept(benchmark, lineup, 32)
    title = f"requests over 32 connections, {lineup.name}"
    for line in lines(title, outcome):
        figure(line)
    for peer, times in (("HAProxy", 1.0), ("nginx", 1.10)):
        bars.least(f"{title}, x {peer}", outcome["ours"].rate / outcome[peer].rate, times)


def test_many_connections(benchmark: BenchmarkFixture, lineup: Lineup, bars: Bars, figure: Callable[[str], None]) -> None:
    """1,000 connections: more requests than HAProxy carries, and a shorter tail."""
    outcome = _kept(benchmark, lineup, 1000)
    title = f"requests over 1,000 connections, {lineup.name}"
    for line in lines(title, outcome):
        figure(line)
    ours, haproxy = outcome["ours"], outcome["HAProxy"]
    bars.least(f"{title}, x HAProxy", ours.rate / haproxy.rate, 1.12)
    bars.most(f"{title}, p99 beside HAProxy", ours.p99 / haproxy.p99, 0.9)

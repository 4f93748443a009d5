# SPDX-License-Identifier: Apache-2.0
"""What packets pay in mode iptables: the first of a connection at the first and the last of 5,000 Services; dials lost."""

import contextlib
import functools
import socket
import statistics
import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bar
from bench.tables import SERVICES, endpoint, facts, route, table, whole
from kproxy.dataplanes.iptables.dataplane import IptablesDataplane
from kproxy.kernel.xtables import Kind
from kproxy.lab.namespaces import inside
from kproxy.table.terms import Family
from tests.bed import PORT, Bed, serving
from tests.faults.churn import Outcome, churn

COUNT = 5_000
ROUNDS = 10


def _connects(bed: Bed, address: str, count: int = 300) -> list[float]:
    taken = []
    with inside(bed.client.namespace):
        for _ in range(count):
            dial = socket.socket()
            began = time.perf_counter()
            with contextlib.suppress(ConnectionResetError):  # the server resets at once: the handshake is over by then
                dial.connect((address, 80))
            taken.append(time.perf_counter() - began)
            dial.close()
    return taken


def _p01(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[0]


@pytest.mark.parametrize("kind", list(Kind))
def test_first_packet(benchmark: BenchmarkFixture, bar: Bar, kind: Kind) -> None:
    """A connect to the last of 5,000 Services costs what one to the first costs."""
    bed = Bed()
    routes = [route(number, (endpoint(2 * number, PORT), endpoint(2 * number + 1, PORT))) for number in range(COUNT)]
    with inside(bed.node.namespace):
        plane = IptablesDataplane(Family.IPV4, kind=kind)
    bed.commit(plane, whole(table(routes, facts("172.20.0.0/24"))))
    first, last = str(SERVICES[1]), str(SERVICES[COUNT])
    samples: dict[str, list[float]] = {first: [], last: []}
    with serving(bed):
        for turn in range(ROUNDS):
            for address in (first, last) if turn % 2 else (last, first):
                samples[address] += _connects(bed, address)
        benchmark.pedantic(_connects, args=(bed, last, 50), rounds=1)
    plane.close()
    bed.close()
    low = _p01(samples[last]) / _p01(samples[first])
    middle = statistics.median(samples[last]) / statistics.median(samples[first])
    words = f"p50 {1e6 * statistics.median(samples[last]):.0f} beside {1e6 * statistics.median(samples[first]):.0f} µs"
    bar(f"iptables-{kind}: connect() to the last of {COUNT} Services, p01 beside the first", low, 1.10, words)
    bar(f"iptables-{kind}: connect() to the last of {COUNT} Services, p50 beside the first", middle, 1.20, words)


@pytest.mark.parametrize("kind", list(Kind))
def test_dials(benchmark: BenchmarkFixture, bar: Bar, kind: Kind) -> None:
    """300 changes during 20,000 connections and more: none fails, takes a second, or is counted by a refusal."""
    make = functools.partial(IptablesDataplane, kind=kind)
    outcome: Outcome = benchmark.pedantic(lambda: churn(make, services=1_000, changes=300, affinity=0), rounds=1)
    lost = outcome.failures + outcome.slow + sum(outcome.refused.values())
    bar(f"iptables-{kind}: dials lost during 300 changes", lost, 0, str(outcome))
    bar(f"iptables-{kind}: 20,000 connections, share of those made", 20_000 / outcome.dials, 1.0)

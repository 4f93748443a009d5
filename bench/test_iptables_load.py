# SPDX-License-Identifier: Apache-2.0
"""Loading and changing in mode iptables, beside a complete linear rule set of kube-proxy's documented shape, in one run."""

import contextlib
import subprocess
from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import linear_iptables
from bench.conftest import Bar
from bench.tables import endpoint, replaced, route, sized, whole
from bench.timing import alternating, seconds
from kproxy.dataplanes.contract import Applied
from kproxy.dataplanes.iptables.committed import Committed
from kproxy.dataplanes.iptables.dataplane import IptablesDataplane
from kproxy.kernel.xtables import Kind
from kproxy.lab.namespaces import private
from kproxy.table.routing_table import Changes, RoutingTable
from kproxy.table.terms import Family
from tests import lookalike

SERVICES = 5_000
CHANGES = 10
LOAD = {Kind.NFT: 1 / 20, Kind.LEGACY: 1 / 3}
CHANGE = {Kind.NFT: 1 / 8, Kind.LEGACY: 1 / 4}


class Ours:
    """A dataplane with a table in force."""

    def __init__(self, kind: Kind, table: RoutingTable) -> None:
        self.plane = IptablesDataplane(Family.IPV4, kind=kind)
        self.table = table
        self.committed: Committed = self.plane.read_back()

    def carry(self, changes: Changes) -> None:
        """Compile and commit."""
        applied = self.plane.commit(self.plane.compile(self.committed, changes))
        assert isinstance(applied, Applied), applied
        self.table = changes.after


def _restore(kind: Kind, text: str) -> None:
    subprocess.run([f"iptables-{kind}-restore", "--noflush", "-w", "5"], input=text, text=True, check=True)


def _load(kind: Kind, table: RoutingTable) -> float:
    """Return the seconds from routes to the kernel's yes."""
    with private():
        ours = Ours(kind, table)
        try:
            return seconds(lambda: ours.carry(whole(table)))
        finally:
            ours.plane.close()


def _text_of(kind: Kind, table: RoutingTable) -> str:
    with private(), contextlib.closing(IptablesDataplane(Family.IPV4, kind=kind)) as plane:
        return str(plane.compile(plane.read_back(), whole(table)))


def _load_text(kind: Kind, text: str) -> float:
    with private():
        return seconds(lambda: _restore(kind, text))


@pytest.mark.parametrize("kind", list(Kind))
def test_load(benchmark: BenchmarkFixture, bar: Bar, figure: Callable[[str], None], kind: Kind) -> None:
    """5,000 Services of two endpoints: both rule sets as text through the same tool; and ours from routes on."""
    table = sized(SERVICES, 2)
    mine, theirs = _text_of(kind, table), linear_iptables.whole(lookalike.services(SERVICES, 2))
    rounds = 1 if kind is Kind.NFT else 3
    ours, linear = alternating(rounds, lambda: _load_text(kind, mine), lambda: _load_text(kind, theirs))
    taken = benchmark.pedantic(_load, args=(kind, table), rounds=1)
    figure(f"iptables-{kind}: {SERVICES} x 2 load in {taken:.2f} s from routes to the kernel's yes")
    words = f"{ours:.2f} s beside {linear:.2f} s"
    bar(f"iptables-{kind}: load {SERVICES} x 2, share of a linear rule set's time", ours / linear, LOAD[kind], words)


@pytest.mark.parametrize("kind", list(Kind))
def test_ten_thousand(benchmark: BenchmarkFixture, figure: Callable[[str], None], kind: Kind) -> None:
    """10,000 Services, once."""
    table = sized(10_000, 2)
    taken = benchmark.pedantic(_load, args=(kind, table), rounds=1)
    figure(f"iptables-{kind}: 10,000 x 2 load in {taken:.2f} s from routes to the kernel's yes")


@pytest.mark.parametrize("kind", list(Kind))
def test_one_change(benchmark: BenchmarkFixture, bar: Bar, kind: Kind) -> None:
    """One endpoint changes among 5,000 Services; what may wait is settled after the clock stops."""
    services = lookalike.services(SERVICES, 2)
    fresh = iter(range(100_000, 200_000))
    with private():
        ours = Ours(kind, sized(SERVICES, 2))
        ours.carry(whole(ours.table))

        def change() -> float:
            number = next(fresh)
            item = route(number % SERVICES, [endpoint(number), endpoint(2 * (number % SERVICES))])
            taken = seconds(lambda: ours.carry(replaced(ours.table, item)))
            ours.plane.settle()
            return taken

        (mine,) = alternating(CHANGES, change)
        benchmark.pedantic(change, rounds=1)
        ours.plane.close()
    with private():
        _restore(kind, linear_iptables.whole(services))

        def change_linear() -> float:
            number = next(fresh)
            endpoints = ((f"10.201.{number % 250}.7", 8080), services[number % SERVICES].endpoints[0])
            text = linear_iptables.changed(services, number % SERVICES, endpoints)
            return seconds(lambda: _restore(kind, text))

        (linear,) = alternating(3, change_linear)
    words = f"{1000 * mine:.0f} ms beside {1000 * linear:.0f} ms"
    bar(f"iptables-{kind}: one change at {SERVICES}, share of a linear rule set's time", mine / linear, CHANGE[kind], words)

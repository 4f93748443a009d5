# SPDX-License-Identifier: Apache-2.0
"""Loading a whole table: from routes to the kernel, beside ``nft -f`` of the same final text in the same run."""

import subprocess
from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bar
from bench.tables import sized, whole
from bench.timing import alternating, seconds
from kproxy.dataplanes.contract import Applied
from kproxy.dataplanes.nftables.dataplane import NftablesDataplane
from kproxy.lab.namespaces import private
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Family
from tests import lookalike


def _ours(table: RoutingTable) -> float:
    """Load a table into a fresh namespace; return the seconds from routes to the kernel's yes."""
    with private():
        dataplane = NftablesDataplane(Family.IPV4)
        try:
            committed = dataplane.read_back()

            def load() -> None:
                applied = dataplane.commit(dataplane.compile(committed, whole(table)))
                assert isinstance(applied, Applied), applied

            return seconds(load)
        finally:
            dataplane.close()


def _text_of(table: RoutingTable) -> str:
    """Return the text of a whole load."""
    with private():
        dataplane = NftablesDataplane(Family.IPV4)
        try:
            return str(dataplane.compile(dataplane.read_back(), whole(table)))
        finally:
            dataplane.close()


def _nft(text: str) -> float:
    """Load text into a fresh namespace by the nft command."""
    with private():
        return seconds(lambda: subprocess.run(["nft", "-f", "-"], input=text.encode(), check=True))


@pytest.mark.parametrize(("services", "endpoints"), [(1_000, 2), (10_000, 2), (45_000, 2), (5_000, 50)])
def test_load(benchmark: BenchmarkFixture, bar: Bar, services: int, endpoints: int) -> None:
    """A cold load takes at most 1.5 times what nft takes for the same text."""
    table = sized(services, endpoints)
    text = _text_of(table)
    rounds = 5 if services * endpoints <= 20_000 else 3
    ours, nft = alternating(rounds, lambda: _ours(table), lambda: _nft(text))
    benchmark.pedantic(_ours, args=(table,), rounds=1)
    bar(f"load {services} x {endpoints}, ratio to nft -f", ours / nft, 1.5, f"{ours:.2f} s beside {nft:.2f} s")


def test_load_beside_a_chain_per_endpoint(benchmark: BenchmarkFixture, bar: Bar, figure: Callable[[str], None]) -> None:
    """10,000 Services load at least 20 times faster than in a rule set of kube-proxy's documented shape."""
    table = sized(10_000, 2)
    text = lookalike.nftables(lookalike.services(10_000, 2))
    ours = min(_ours(table) for _ in range(3))
    theirs = _nft(text)
    benchmark.pedantic(_ours, args=(table,), rounds=1)
    bar(
        "load 10,000 x 2, share of a chain-per-endpoint rule set's time",
        ours / theirs,
        1 / 20,
        f"{ours:.2f} s, {theirs:.1f} s",
    )
    figure(f"a chain-per-endpoint rule set of 10,000 Services loads {theirs / ours:.0f} times slower")

# SPDX-License-Identifier: Apache-2.0
"""Endpoints get equal shares of real connections, in both kinds of iptables."""

import functools
from collections import Counter

import pytest

from bench.tables import SERVICES, endpoint, facts, route, table, whole
from kproxy.dataplanes.contract import Applied
from kproxy.dataplanes.iptables.dataplane import IptablesDataplane
from kproxy.kernel.xtables import Kind
from kproxy.table.terms import Family, Protocol
from tests.conformance.packets.dial import Dial, Dialler
from tests.conformance.packets.node import playing_node

pytestmark = [pytest.mark.packets, pytest.mark.timeout(300)]

CONNECTIONS = 10_000
CRITICAL = {2: 10.83, 3: 13.82, 7: 22.46, 100: 148.23}  # chi-squared at p = 0.001, by the number of endpoints


@functools.cache
def _counts(kind: Kind, _attempt: int) -> dict[int, Counter[str]]:
    """Dial Services of 1, 2, 3, 7 and 100 endpoints 10,000 times each; return how often each endpoint was met."""
    sizes = (1, *CRITICAL)
    starts = {size: sum(sizes[: sizes.index(size)]) for size in sizes}
    routes = [route(size, (endpoint(starts[size] + number) for number in range(size))) for size in sizes]
    found = {}
    with playing_node(["192.168.0.2"], {"pods0": ["10.128.200.1"]}, "eth0") as node:
        plane = IptablesDataplane(Family.IPV4, kind=kind)
        answer = plane.commit(plane.compile(plane.read_back(), whole(table(routes, facts()))))
        assert isinstance(answer, Applied), answer
        dialler = Dialler(node)
        for size in sizes:
            dial = Dial("10.128.200.1", "pods0", str(SERVICES[size + 1]), 80, Protocol.TCP)
            found[size] = Counter(outcome.endpoint for outcome in dialler.dial([dial] * CONNECTIONS))
        plane.close()
    return found


def _unevenness(counts: Counter[str]) -> float:
    """Return chi-squared against equal shares."""
    due = counts.total() / len(counts)
    return sum((count - due) ** 2 / due for count in counts.values())


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("size", [1, *CRITICAL])
def test_shares_are_equal(kind: Kind, size: int) -> None:
    """10,000 connections fall evenly on N endpoints.

    The dice are the kernel's, which take no seed: a fair choice misses the bar once in a thousand times, so it has a second.
    """
    for attempt in range(2):
        counts = _counts(kind, attempt)[size]
        assert counts.total() == CONNECTIONS
        assert "" not in counts
        assert len(counts) == size
        if size == 1 or _unevenness(counts) < CRITICAL[size]:
            return
    pytest.fail(f"the shares of {size} endpoints were uneven twice")

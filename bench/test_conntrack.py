# SPDX-License-Identifier: Apache-2.0
"""Cleaning up a full connection tracker, beside ``conntrack -L`` of the same flows in the same run."""

import re
import socket
import statistics
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bar
from bench.flows import FakeFlow, room_for, track, tracked
from bench.timing import seconds
from kproxy.kernel.conntrack import Conntrack, Destination
from kproxy.lab.namespaces import private
from kproxy.table.terms import Family

FLOWS: Final = 1_000_000
STALE: Final = 1_000
SERVICES: Final = 1_000
DNS: Final = (53).to_bytes(2, "big")
ROUNDS: Final = 5


def _frontend(number: int) -> str:
    return f"10.96.{number >> 8}.{number & 255}"


def _endpoint(number: int) -> str:
    return f"10.244.{number >> 8}.{number & 255}"


def _flow(number: int, endpoint: str) -> FakeFlow:
    """Return a client's flow to the Service of its number, answered by an endpoint."""
    client = bytes([11, number >> 16 & 255, number >> 8 & 255, number & 255])
    where = socket.inet_aton(_frontend(number % SERVICES))
    return FakeFlow(client, (1024 + number % 60_000).to_bytes(2, "big"), where, DNS, socket.inet_aton(endpoint), DNS)


def _stale() -> Iterator[FakeFlow]:
    """Yield flows to an endpoint that no Service has."""
    return (_flow(FLOWS + each, "10.245.0.1") for each in range(STALE))


SERVING: Final[dict[Destination, frozenset[str]]] = {
    (_frontend(each), 53): frozenset([f"{_endpoint(each)}:53", "10.244.200.1:53"]) for each in range(SERVICES)
}


def _resident(which: str) -> float:
    """Return this process' memory in MB: ``VmRSS`` now, or ``VmHWM`` at its peak since ``_forget_peak``."""
    match = re.search(rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) / 1024


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


@pytest.fixture(scope="module")
def full() -> Iterator[Conntrack]:
    """Fill the tracker of a namespace of its own with a million flows to a thousand Services."""
    with room_for(2 * FLOWS), private():
        track(_flow(each, _endpoint(each % SERVICES)) for each in range(FLOWS))
        assert tracked() == FLOWS
        yield Conntrack()


def _listed() -> float:
    """Return how long ``conntrack -L`` takes."""
    list_all = ["conntrack", "-L", "-f", "ipv4"]
    return seconds(lambda: subprocess.run(list_all, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True))


def test_stale_among_a_million(
    benchmark: BenchmarkFixture, bar: Bar, figure: Callable[[str], None], full: Conntrack
) -> None:
    """All Services are looked for: every flow is shown, a thousand are deleted, memory does not grow."""
    ours, lists, growth = [], [], []

    def clean() -> None:
        swept = full.delete_stale(Family.IPV4, SERVING)
        assert (swept.seen >= FLOWS, swept.deleted) == (True, STALE)

    for _ in range(ROUNDS):
        track(_stale())
        lists.append(_listed())
        _forget_peak()
        before = _resident("VmRSS")
        ours.append(seconds(clean))
        growth.append(_resident("VmHWM") - before)
    track(_stale())
    benchmark.pedantic(clean, rounds=1)
    taken, listed = statistics.median(ours), statistics.median(lists)
    figure(f"conntrack clean-up, 1 M flows, {STALE} stale: {taken:.2f} s; conntrack -L: {listed:.2f} s")
    bar("conntrack clean-up / conntrack -L", taken / listed, 1.5)
    bar("conntrack clean-up, memory in MB", max(growth), 20)


def test_stale_of_one_service(benchmark: BenchmarkFixture, bar: Bar, figure: Callable[[str], None], full: Conntrack) -> None:
    """One Service changed: the kernel shows its flows only, so that a full tracker is walked but not read."""
    destination = (_frontend(7), 53)
    stale = [_flow(FLOWS + each * SERVICES + 7, "10.245.0.1") for each in range(10)]
    ours = []

    def clean() -> None:
        swept = full.delete_stale(Family.IPV4, {destination: SERVING[destination]})
        assert (swept.seen, swept.deleted) == (FLOWS // SERVICES + len(stale), len(stale))

    for _ in range(ROUNDS):
        track(stale)
        ours.append(seconds(clean))
    track(stale)
    benchmark.pedantic(clean, rounds=1)
    listed = _listed()
    figure(f"conntrack clean-up after one Service's change, 1 M flows: {statistics.median(ours) * 1e3:.0f} ms")
    bar("conntrack clean-up of one Service / conntrack -L", statistics.median(ours) / listed, 1.5)

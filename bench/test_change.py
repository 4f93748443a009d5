# SPDX-License-Identifier: Apache-2.0
"""One endpoint changes: from the event's bytes to the kernel's yes, beside a bare ``nft -f -`` of one element."""

import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bar
from kproxy.dataplanes.contract import Applied
from kproxy.dataplanes.nftables.dataplane import NftablesDataplane
from kproxy.objects.decode import decode
from kproxy.objects.events import Kind, Synced, Upsert
from kproxy.routing.router import Router
from kproxy.routing.settings import Settings
from kproxy.table.terms import Family, Mode
from tests.manifests import endpoint_slice, service

CHANGES = 300
PART = 100  # endpoints a slice, as the EndpointSlice controller makes them


def _cluster(shape: str) -> Iterator[dict[str, Any]]:
    """Yield the manifests of 10,000 Services of two endpoints, or of 250,000 endpoints, 5,000 of them in Service 0."""
    if shape == "10k x 2":
        for number in range(10_000):
            yield service(number)
            yield endpoint_slice(number, (2 * number, 2 * number + 1))
        return
    for number in range(4_901):
        size = 5_000 if number == 0 else 50
        first = 0 if number == 0 else 4_950 + 50 * number
        yield service(number)
        for part, start in enumerate(range(0, size, PART), 1):
            yield endpoint_slice(number, range(first + start, first + min(start + PART, size)), part)


def _event(manifest: dict[str, Any]) -> Upsert:
    return Upsert(decode(Kind(manifest["kind"]), msgspec.json.encode(manifest)))


class Daemon:
    """Router and dataplane, joined as the loop joins them."""

    def __init__(self, manifests: Iterable[dict[str, Any]]) -> None:
        self.router = Router(Settings(mode=Mode.NFTABLES, node="node", cluster_cidrs=("10.128.0.0/9",)))
        self.dataplane = NftablesDataplane(Family.IPV4)
        self.committed = self.dataplane.read_back()
        self._carry(self.router.apply([*map(_event, manifests), *map(Synced, Kind)]))

    def _carry(self, changes: Any) -> None:
        applied = self.dataplane.commit(self.dataplane.compile(self.committed, changes))
        assert isinstance(applied, Applied), applied
        self.committed = applied.committed

    def take(self, raw: bytes) -> float:
        """Take one slice's bytes to the kernel; return the seconds. What may wait is settled after the clock stops."""
        began = time.perf_counter()
        self._carry(self.router.apply([Upsert(decode(Kind.ENDPOINT_SLICE, raw))]))
        taken = time.perf_counter() - began
        self.dataplane.settle()
        return taken


def _one_element() -> float:
    """Return how long the nft command takes for one element of a small map."""
    text = "add element ip bare m { 10.0.0.1 : 1 }\ndelete element ip bare m { 10.0.0.1 }\n"
    began = time.perf_counter()
    subprocess.run(["nft", "-f", "-"], input=text.encode(), check=True)
    return time.perf_counter() - began


@pytest.mark.parametrize("shape", ["10k x 2", "250k endpoints, 5,000 in one Service"])
@pytest.mark.usefixtures("node")
def test_one_endpoint_change(benchmark: BenchmarkFixture, bar: Bar, figure: Callable[[str], None], shape: str) -> None:
    """A change costs what changed, not what there is."""
    daemon = Daemon(_cluster(shape))
    subprocess.run(
        ["nft", "-f", "-"], input=b"add table ip bare\nadd map ip bare m { type ipv4_addr : mark; }\n", check=True
    )
    size = 2 if shape == "10k x 2" else PART
    ours, bare = [], []
    for turn in range(CHANGES):
        members = list(range(size - (turn % 3 == 1)))
        if turn % 3 == 2:
            members[-1] = 2_000_000 + turn  # replaced
        ours.append(daemon.take(msgspec.json.encode(endpoint_slice(0, members))))
        if turn % 10 == 0:
            bare.append(_one_element())
    raw = msgspec.json.encode(endpoint_slice(0, range(size)))
    benchmark.pedantic(daemon.take, args=(raw,), rounds=1)
    daemon.dataplane.close()
    nft = statistics.median(bare)
    p50, p99 = statistics.median(ours), statistics.quantiles(ours, n=100)[98]
    words = f"p50 {1000 * p50:.2f} ms, p99 {1000 * p99:.2f} ms beside {1000 * nft:.1f} ms"
    bar(f"one endpoint change, {shape}, p50 beside nft of one element", p50 / nft, 0.2, words)
    bar(f"one endpoint change, {shape}, p99 beside nft of one element", p99 / nft, 1.0)
    figure(f"one endpoint change, {shape}: {words}")

# SPDX-License-Identifier: Apache-2.0
"""The API source: from bytes on the wire to events, beside reading the same bytes and doing nothing with them."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.cluster import Cluster, cluster
from kproxy.objects.events import Event, Kind, Synced, Upsert
from kproxy.sources.kubernetes.source import KubernetesSource
from kproxy.sources.kubernetes.transport import connect
from kproxy.sources.watches import ENDPOINT_SLICES

SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
Figure = Callable[[str], None]


class Counter:
    """Counts what is told."""

    def __init__(self) -> None:
        self.upserts = self.endpoints = 0
        self.synced = asyncio.Event()
        self.news = asyncio.Event()
        self.latest = 0.0

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, Upsert):
            self.upserts += 1
            self.endpoints += len(getattr(event.object, "endpoints", None) or ())
            self.latest = time.monotonic()
            self.news.set()
        elif isinstance(event, Synced) and event.kind is Kind.ENDPOINT_SLICE:
            self.synced.set()

    async def until(self, upserts: int) -> None:
        """Wait until so many were told."""
        while self.upserts < upserts:
            self.news.clear()
            await self.news.wait()


async def followed(url: str, work: Callable[[Counter], Awaitable[None]]) -> None:
    """Run a source of slices and do something while it runs."""
    counter = Counter()
    transport = connect(master=url, environment={})
    task = asyncio.create_task(KubernetesSource(transport, (ENDPOINT_SLICES,)).run(counter))
    try:
        await work(counter)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await transport.close()


def listed(url: str, endpoints: int) -> float:
    """Return the seconds from nothing to all slices told."""

    async def work(counter: Counter) -> None:
        await counter.synced.wait()
        assert counter.endpoints == endpoints

    began = time.perf_counter()
    asyncio.run(followed(url, work))
    return time.perf_counter() - began


def downloaded(url: str) -> tuple[float, int]:
    """Return the seconds and bytes of the same streaming list, read and thrown away."""

    async def read() -> int:
        query = {
            "watch": "1",
            "sendInitialEvents": "true",
            "resourceVersionMatch": "NotOlderThan",
            "allowWatchBookmarks": "1",
        }
        size, tail = 0, b""
        async with aiohttp.ClientSession() as http, http.get(url + SLICES, params=query) as answer:
            while b"initial-events-end" not in tail:
                chunk = await answer.content.readany()
                size, tail = size + len(chunk), (tail + chunk)[-400:]
        return size

    began = time.perf_counter()
    size = asyncio.run(read())
    return time.perf_counter() - began, size


@pytest.mark.parametrize(("services", "endpoints"), [(10_000, 2), (5_000, 50)])
def test_list(benchmark: BenchmarkFixture, figure: Figure, services: int, endpoints: int) -> None:
    """A streaming list, first byte to last event."""
    with cluster(services, endpoints) as lab:
        plain = [downloaded(lab.url) for _ in range(3)]
        ours = [listed(lab.url, services * endpoints) for _ in range(3)]
        benchmark.pedantic(listed, args=(lab.url, services * endpoints), rounds=3)
    seconds, alone, size = statistics.median(ours), statistics.median(taken for taken, _ in plain), plain[0][1]
    total = services * endpoints
    figure(
        f"list of {services} slices x {endpoints} endpoints: {seconds:.2f} s, {total / seconds:,.0f} endpoints/s, "
        f"{size / seconds / 1e6:.0f} MB/s ({alone:.2f} s to read the same bytes alone)"
    )


def burst(lab: Cluster, count: int) -> float:
    """Return the seconds in which so many changes reach us."""
    taken = 0.0

    async def work(counter: Counter) -> None:
        nonlocal taken
        await counter.synced.wait()
        await asyncio.to_thread(lab.order, f"burst {count}")
        before = counter.upserts
        released = float(await asyncio.to_thread(lab.order, "release"))
        await counter.until(before + count)
        taken = counter.latest - released

    asyncio.run(followed(lab.url, work))
    return taken


@pytest.mark.parametrize(("services", "endpoints"), [(10_000, 2), (1_000, 50)])
def test_watch(benchmark: BenchmarkFixture, figure: Figure, services: int, endpoints: int) -> None:
    """A burst of 20,000 changes through the watch, from the moment the server lets them go."""
    with cluster(services, endpoints) as lab:
        taken = [burst(lab, 20_000) for _ in range(3)]
        benchmark.pedantic(burst, args=(lab, 20_000), rounds=1)
    seconds = statistics.median(taken)
    figure(f"watch of slices x {endpoints} endpoints: {20_000 / seconds:,.0f} changes/s")


def test_delay(benchmark: BenchmarkFixture, figure: Figure) -> None:
    """One change at a time: from the server's write to our event, at 10,000 Services."""
    delays: list[float] = []

    async def work(counter: Counter) -> None:
        await counter.synced.wait()
        for _ in range(500):
            seen = counter.upserts
            written = float(await asyncio.to_thread(lab.order, "step"))
            await counter.until(seen + 1)
            delays.append(counter.latest - written)

    with cluster(10_000, 2) as lab:
        benchmark.pedantic(lambda: asyncio.run(followed(lab.url, work)), rounds=1)
    centiles = statistics.quantiles(delays, n=100)
    figure(f"API write to event: p50 {centiles[49] * 1e6:.0f} µs, p99 {centiles[98] * 1e6:.0f} µs")

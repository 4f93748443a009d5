# SPDX-License-Identifier: Apache-2.0
"""Routing alone, no kernel: from objects to the table, one change, and what the cluster costs in memory.

The bars are ratios of one run: a change costs the change and a copy of the map of Services, never the cluster.
"""

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bar
from bench.timing import seconds
from kproxy.objects.decode import convert
from kproxy.objects.events import Event, Kind, Synced, Upsert
from kproxy.routing.router import Router
from kproxy.routing.settings import Settings
from kproxy.table.terms import Mode
from tests.manifests import endpoint_slice, service

PART = 100  # endpoints a slice, as the EndpointSlice controller makes them
CHANGES = 200
MEGABYTE = 1_000_000
SYNCED: tuple[Event, ...] = (Synced(Kind.SERVICE), Synced(Kind.ENDPOINT_SLICE))


def event(manifest: dict[str, Any]) -> Upsert:
    """Return the event that tells a manifest."""
    return Upsert(convert(Kind(manifest["kind"]), manifest))


def populated(manifest: dict[str, Any], *, hints: bool = False) -> Upsert:
    """Return the event of a slice whose endpoints are Pods in zones, as in a real cluster."""
    number = manifest["metadata"]["name"]
    for index, one in enumerate(manifest["endpoints"]):
        one["zone"] = f"zone-{index % 3}"
        one["nodeName"] = f"node-{index % 50}"
        one["targetRef"] = {"kind": "Pod", "namespace": "faults", "name": f"{number}-7d9f8b6c5d-{index:05d}"}
        if hints:
            one["hints"] = {"forZones": [{"name": f"zone-{index % 3}"}]}
    return event(manifest)


def router() -> Router:
    """Return a router of an nftables node."""
    return Router(Settings(mode=Mode.NFTABLES, node="node-1", cluster_cidrs=("10.128.0.0/9",)))


def cluster(services: int, endpoints: int) -> list[Upsert]:
    """Return the events of so many Services of so many endpoints each, one slice a Service."""
    told = [event(service(number)) for number in range(services)]
    return told + [
        populated(endpoint_slice(number, range(endpoints * number, endpoints * (number + 1)))) for number in range(services)
    ]


def median_change(routed: Router, slices: Callable[[int], Upsert]) -> float:
    """Return the median time of a change; ``slices`` gives the n-th new version of a slice."""
    taken = []
    for number in range(CHANGES):
        told = slices(number)
        began = time.perf_counter()
        changes = routed.apply([told])
        taken.append(time.perf_counter() - began)
        assert changes, "every step of this bench is a change"
    return statistics.median(taken)


def swap(step: int) -> Upsert:
    """Return Service 0's slice with its second endpoint replaced, or put back."""
    return populated(endpoint_slice(0, (0, 1 if step % 2 else 2)))


@pytest.mark.parametrize("services", [10_000, 45_000])
def test_resolving_a_whole_cluster(services: int, benchmark: BenchmarkFixture, figure: Callable[[str], None]) -> None:
    """Objects of Services with two endpoints each become the first table."""
    told = cluster(services, 2)

    def load() -> Router:
        routed = router()
        routed.apply([*told, *SYNCED])
        return routed

    routed = benchmark.pedantic(load, rounds=3)
    assert len(routed.table.services) == services
    one = median_change(routed, swap)
    figure(f"{services} Services x 2, one change: {one * 1e3:.2f} ms")


def test_a_change_costs_the_change(benchmark: BenchmarkFixture, bar: Bar) -> None:
    """Ten times the Services may cost a change no more than the copy of a map."""
    times = {}
    for services in (1_000, 10_000):
        routed = router()
        routed.apply([*cluster(services, 2), *SYNCED])
        times[services] = median_change(routed, swap)
    benchmark.pedantic(lambda: None)

    bar("one change at 10,000 Services / at 1,000", times[10_000] / times[1_000], 4.0, f"{times[10_000] * 1e3:.2f} ms")


@pytest.mark.parametrize("hints", [False, True], ids=["plain", "hinted"])
def test_one_slice_of_a_service_of_5000_endpoints(hints: bool, benchmark: BenchmarkFixture, bar: Bar) -> None:
    """One of 50 slices changes: the others are merged in C, so it costs a fraction of reading them all again."""
    parts = [range(start, start + PART) for start in range(0, 5_000, PART)]

    def version(step: int) -> Upsert:
        part = step % len(parts)
        members = [member for member in parts[part] if member % PART != step // len(parts)]
        return populated(endpoint_slice(0, members, part), hints=hints)

    told = [populated(endpoint_slice(0, part, number), hints=hints) for number, part in enumerate(parts)]
    routed = router()
    routed.apply([event(service(0)), *SYNCED])
    whole = seconds(lambda: routed.apply(told))
    one = median_change(routed, version)
    benchmark.pedantic(lambda: None)

    bar("one slice of 50 / all of them", one / whole, 0.5, f"{one * 1e3:.2f} ms of {whole * 1e3:.1f} ms")


def test_memory_of_250000_endpoints(benchmark: BenchmarkFixture, bar: Bar) -> None:
    """Store and table of 5,000 Services with 50 endpoints each, Pods' names included."""
    megabytes = float(subprocess.check_output([sys.executable, "-m", "bench.test_routing"], text=True))
    benchmark.pedantic(lambda: None)

    bar("memory of 250,000 endpoints, MB", megabytes, 150)


def resident() -> float:
    """Return this process's resident memory in megabytes."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4_096 / MEGABYTE


def grown(services: Iterable[int]) -> float:
    """Return by how much the process grows when it takes in so many Services one by one."""
    routed = router()
    before = resident()
    for number in services:
        routed.apply([event(service(number)), populated(endpoint_slice(number, range(50 * number, 50 * number + 50)))])
    routed.apply(SYNCED)
    assert len(routed.table.services) == 5_000
    return resident() - before


if __name__ == "__main__":
    print(grown(range(5_000)))

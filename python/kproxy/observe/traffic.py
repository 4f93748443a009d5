# SPDX-License-Identifier: Apache-2.0
"""The kernel's traffic counters as Prometheus series, read when scraped and never more of them than the operator allows.

A Service or endpoint that has a series keeps it as long as it lives, so that rates stay whole; what is over the cap is
counted, and named by nobody.
"""

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, TypeAlias

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from kproxy.dataplanes.contract import Counters, Duty, Traffic
from kproxy.table.route import RouteKey
from kproxy.table.terms import Family

SERVICE_LABELS: Final = ("namespace", "service", "port", "protocol", "ip_family")
Place: TypeAlias = tuple[RouteKey, str]  # a route, and its frontend or endpoint as text
Readings: TypeAlias = dict[Place, Traffic]
COLUMNS: Final = {
    "connections": "New connections",
    "packets": "Packets of both directions, after translation,",
    "bytes": "Bytes of both directions, after translation,",
}


class Cap(msgspec.Struct, frozen=True):
    """How many Services' frontends and how many endpoints get series of their own."""

    services: int = 1000
    endpoints: int = 2000


class TrafficCollector(Collector):
    """Keeps what was read last of each dataplane, no more of it than the cap lets, and yields it as series.

    Dataplanes of one family may serve one and the same place, each its own share of the clients: a series is their sum. What
    one that leaves has counted stays in it.
    """

    def __init__(self, cap: Cap) -> None:
        self.cap = cap
        self._kept: dict[str, dict[Duty, Readings]] = {"service": {}, "endpoint": {}}
        self._past: dict[str, Readings] = {"service": {}, "endpoint": {}}
        self._present: dict[str, dict[Duty, int]] = {"service": {}, "endpoint": {}}
        self._refused: dict[Duty, Mapping[str, int]] = {}
        self._refused_past: dict[tuple[str, Family], int] = {}

    def take(self, duty: Duty, counters: Counters) -> None:
        """Take a new reading of one dataplane."""
        self._refused[duty] = counters.refused
        for kind, read, cap in (
            ("service", counters.frontends, self.cap.services),
            ("endpoint", counters.endpoints, self.cap.endpoints),
        ):
            self._present[kind][duty] = len(read)
            self._kept[kind][duty] = _keep(self._kept[kind], duty, read, cap)

    def serve(self, duties: Collection[Duty]) -> None:
        """Add what dataplanes that are not among these have counted to what will be read, and forget them."""
        for duty in self._refused.keys() - set(duties):
            for kind, kept in self._kept.items():
                self._past[kind] = _sum([self._past[kind], kept.pop(duty, {})])
                self._present[kind].pop(duty, None)
            for reason, count in self._refused.pop(duty).items():
                past = reason, duty.family
                self._refused_past[past] = self._refused_past.get(past, 0) + count

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand: there is nothing yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the series of the last readings."""
        omitted = GaugeMetricFamily(
            "kproxy_traffic_series_omitted", "What has no traffic series because of the cap.", labels=["kind"]
        )
        for kind, label in (("service", "frontend"), ("endpoint", "endpoint")):
            readings = list(self._kept[kind].values())
            places = {place for reading in readings for place in reading}
            self._past[kind] = {place: past for place, past in self._past[kind].items() if place in places}
            kept = _sum([self._past[kind], *readings])
            omitted.add_metric([kind], sum(self._largest(kind).values()) - len(kept))
            yield from _series(kind, label, kept)
        yield omitted
        yield self._refusals()

    def _largest(self, kind: str) -> dict[Family, int]:
        """Return how many places each family has: as many as the dataplane of it that serves most."""
        largest: dict[Family, int] = {}
        for duty, count in self._present[kind].items():
            largest[duty.family] = max(count, largest.get(duty.family, 0))
        return largest

    def _refusals(self) -> Metric:
        counts = dict(self._refused_past)
        for duty, refused in self._refused.items():
            for reason, count in refused.items():
                counts[reason, duty.family] = counts.get((reason, duty.family), 0) + count
        metric = CounterMetricFamily(
            "kproxy_refused_packets", "Packets that met reject or drop, by reason.", labels=["reason", "ip_family"]
        )
        for (reason, family), count in counts.items():
            metric.add_metric([reason, family], count)
        return metric


def _keep(kept: Mapping[Duty, Readings], duty: Duty, read: Mapping[Place, Traffic], cap: int) -> Readings:
    """Return what of a reading is kept: what was kept before and is still there, then others as far as the cap lets.

    A place that another dataplane has a series of needs no second one.
    """
    elsewhere = {place for other, places in kept.items() if other != duty for place in places}
    shared = [place for place in elsewhere if place in read]
    stay = [place for place in kept.get(duty, {}) if place in read and place not in elsewhere]
    free = cap - len(elsewhere) - len(stay)
    if free > 0 and len(read) > len(stay) + len(shared):
        known = elsewhere.union(stay)
        stay += heapq.nsmallest(free, (place for place in read if place not in known))
    return {place: read[place] for place in (*shared, *stay[: max(0, cap - len(elsewhere))])}


def _sum(readings: Iterable[Readings]) -> Readings:
    total: Readings = {}
    for reading in readings:
        for place, carried in reading.items():
            known = total.get(place)
            total[place] = carried if known is None else _both(known, carried)
    return total


def _both(one: Traffic, other: Traffic) -> Traffic:
    return Traffic(one.connections + other.connections, _plus(one.packets, other.packets), _plus(one.bytes, other.bytes))


def _plus(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


def _series(kind: str, label: str, traffic: Mapping[Place, Traffic]) -> Iterator[Metric]:
    for column, words in COLUMNS.items():
        metric = CounterMetricFamily(
            f"kproxy_{kind}_{column}", f"{words} by {kind} and {label}.", labels=[*SERVICE_LABELS, label]
        )
        for (key, name), carried in traffic.items():
            value: int | None = getattr(carried, column)
            if value is not None:
                metric.add_metric([key.namespace, key.name, key.port, key.protocol, key.family, name], value)
        yield metric

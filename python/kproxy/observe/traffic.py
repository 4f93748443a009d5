# SPDX-License-Identifier: Apache-2.0
"""The kernel's traffic counters as Prometheus series, read when scraped and never more of them than the operator allows.

A Service or endpoint that has a series keeps it as long as it lives, so that rates stay whole; what is over the cap is
counted, and named by nobody.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from kproxy.dataplanes.contract import Counters, Traffic
from kproxy.table.route import RouteKey
from kproxy.table.terms import Family

SERVICE_LABELS: Final = ("namespace", "service", "port", "protocol", "ip_family")
Place: TypeAlias = tuple[RouteKey, str]  # a route, and its frontend or endpoint as text
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
    """Keeps what was read last of each family, no more of it than the cap lets, and yields it as series."""

    def __init__(self, cap: Cap) -> None:
        self.cap = cap
        self._kept: dict[str, dict[Place, Traffic]] = {"service": {}, "endpoint": {}}
        self._present: dict[str, dict[Family, int]] = {"service": {}, "endpoint": {}}
        self._refused: dict[Family, Mapping[str, int]] = {}

    def take(self, family: Family, counters: Counters) -> None:
        """Take a new reading of one family."""
        self._refused[family] = counters.refused
        for kind, read, cap in (
            ("service", counters.frontends, self.cap.services),
            ("endpoint", counters.endpoints, self.cap.endpoints),
        ):
            self._present[kind][family] = len(read)
            self._kept[kind] = _keep(self._kept[kind], family, read, cap)

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand: there is nothing yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the series of the last readings."""
        omitted = GaugeMetricFamily(
            "kproxy_traffic_series_omitted", "What has no traffic series because of the cap.", labels=["kind"]
        )
        for kind, label in (("service", "frontend"), ("endpoint", "endpoint")):
            kept = self._kept[kind]
            omitted.add_metric([kind], sum(self._present[kind].values()) - len(kept))
            yield from _series(kind, label, kept)
        yield omitted
        yield _refused(self._refused)


def _keep(kept: Mapping[Place, Traffic], family: Family, read: Mapping[Place, Traffic], cap: int) -> dict[Place, Traffic]:
    """Return the other family's as they were, and of this one those that stay; who is gone gives its place to another."""
    others = {place: traffic for place, traffic in kept.items() if place[0].family is not family}
    stay = [place for place in kept if place[0].family is family and place in read]
    free = cap - len(others) - len(stay)
    if free > 0 and len(read) > len(stay):
        known = set(stay)
        stay += heapq.nsmallest(free, (place for place in read if place not in known))
    return others | {place: read[place] for place in stay[: max(0, cap - len(others))]}


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


def _refused(refused: Mapping[Family, Mapping[str, int]]) -> Metric:
    metric = CounterMetricFamily(
        "kproxy_refused_packets", "Packets that met reject or drop, by reason.", labels=["reason", "ip_family"]
    )
    for family, counts in refused.items():
        for reason, count in counts.items():
            metric.add_metric([reason, family], count)
    return metric

# SPDX-License-Identifier: Apache-2.0
"""The kernel's traffic counters as Prometheus series, read when scraped and never more of them than the operator allows.

A Service or endpoint that has a series keeps it as long as it lives, so that rates stay whole; what is over the cap is
counted, and named by nobody.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from kproxy.dataplanes.contract import Counters, Traffic
from kproxy.table.route import RouteKey
from kproxy.table.terms import Family

SERVICE_LABELS: Final = ("namespace", "service", "port", "protocol", "ip_family")
COLUMNS: Final = {
    "connections": "New connections",
    "packets": "Packets",
    "bytes": "Bytes",
}


class Cap(msgspec.Struct, frozen=True):
    """How many Services' frontends and how many endpoints get series of their own."""

    services: int = 1000
    endpoints: int = 2000


class TrafficCollector(Collector):
    """Turns one reading of each family's counters into series."""

    def __init__(self, read: Callable[[], Mapping[Family, Counters]], cap: Cap) -> None:
        self.cap = cap
        self._read = read
        self._services: dict[tuple[RouteKey, str], None] = {}  # those with a series, in the order they came
        self._endpoints: dict[tuple[RouteKey, str], None] = {}

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand: describing would read the kernel."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the series of the moment."""
        counters = self._read()
        frontends: dict[tuple[RouteKey, str], Traffic] = {}
        endpoints: dict[tuple[RouteKey, str], Traffic] = {}
        for family in counters.values():
            frontends.update(family.frontends)
            endpoints.update(family.endpoints)
        omitted = GaugeMetricFamily(
            "kproxy_traffic_series_omitted", "What has no traffic series because of the cap.", labels=["kind"]
        )
        for kind, label, traffic, chosen, cap in (
            ("service", "frontend", frontends, self._services, self.cap.services),
            ("endpoint", "endpoint", endpoints, self._endpoints, self.cap.endpoints),
        ):
            _choose(chosen, traffic, cap)
            omitted.add_metric([kind], len(traffic) - len(chosen))
            yield from _series(kind, label, {key: traffic[key] for key in chosen})
        yield omitted
        yield _refused(counters)


def _choose(chosen: dict[tuple[RouteKey, str], None], present: Mapping[tuple[RouteKey, str], Traffic], cap: int) -> None:
    """Let those that are gone go and give their places, in order of names, to others."""
    for key in [key for key in chosen if key not in present]:
        del chosen[key]
    for key in list(chosen)[cap:]:
        del chosen[key]
    free = cap - len(chosen)
    if free > 0 and len(present) > len(chosen):
        newcomers = (key for key in present if key not in chosen)
        chosen.update(dict.fromkeys(sorted(newcomers)[:free]))


def _series(kind: str, label: str, traffic: Mapping[tuple[RouteKey, str], Traffic]) -> Iterator[Metric]:
    for column, words in COLUMNS.items():
        metric = CounterMetricFamily(
            f"kproxy_{kind}_{column}", f"{words} by {kind} and {label}.", labels=[*SERVICE_LABELS, label]
        )
        for (key, name), carried in traffic.items():
            value: int | None = getattr(carried, column)
            if value is not None:
                metric.add_metric([key.namespace, key.name, key.port, key.protocol, key.family, name], value)
        yield metric


def _refused(counters: Mapping[Family, Counters]) -> Metric:
    metric = CounterMetricFamily(
        "kproxy_refused_packets", "Packets that met reject or drop, by reason.", labels=["reason", "ip_family"]
    )
    for family, own in counters.items():
        for reason, count in own.refused.items():
            metric.add_metric([reason, family], count)
    return metric

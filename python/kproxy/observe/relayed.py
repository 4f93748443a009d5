# SPDX-License-Identifier: Apache-2.0
"""What the relay of userspace mode has done, as Prometheus series: read when scraped, one reading for all of them."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from kproxy.dataplanes.contract import Durations, RelayReport


class RelayCollector(Collector):
    """Keeps the last report and yields it as series; none while there is no relay."""

    def __init__(self) -> None:
        self._reports: Sequence[RelayReport] = ()

    def take(self, reports: Sequence[RelayReport]) -> None:
        """Take a new reading of every relay there is: more than one only while a mode changes."""
        self._reports = reports

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand: there may be no relay."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the series of the last reports, added up."""
        reports = self._reports
        if not reports:
            return
        yield GaugeMetricFamily("kproxy_relay_connections", "Connections now.", sum(one.active for one in reports))
        yield GaugeMetricFamily(
            "kproxy_relay_affinity_clients", "Clients known for their affinity.", sum(one.clients for one in reports)
        )
        closed = CounterMetricFamily("kproxy_relay_closed_connections", "Connections, by how they ended.", labels=["reason"])
        refused = CounterMetricFamily("kproxy_relay_refused_clients", "Clients turned away, by why.", labels=["reason"])
        failed = CounterMetricFamily("kproxy_relay_failed_dials", "Dials, by why they failed.", labels=["reason"])
        for metric, counted in (
            (closed, [one.closed for one in reports]),
            (refused, [one.refused for one in reports]),
            (failed, [one.failed for one in reports]),
        ):
            for reason in dict.fromkeys(itertools.chain(*counted)):
                metric.add_metric([reason], sum(counts.get(reason, 0) for counts in counted))
            yield metric
        yield CounterMetricFamily(
            "kproxy_relay_retries", "Endpoints tried in place of one that failed.", sum(one.retries for one in reports)
        )
        yield CounterMetricFamily(
            "kproxy_relay_ejections", "Endpoints left alone for failing.", sum(one.ejections for one in reports)
        )
        yield _histogram("kproxy_relay_dial_duration_seconds", "Dials that succeeded.", [one.dial for one in reports])
        yield _histogram(
            "kproxy_relay_first_byte_seconds",
            "From dial to first byte.",
            [one.first_byte for one in reports],
        )


def _histogram(name: str, words: str, durations: Sequence[Durations]) -> Metric:
    bounds = max((one.bounds for one in durations), key=len)
    counts = [sum(column) for column in zip(*(one.counts for one in durations if one.bounds == bounds), strict=True)]
    buckets = zip([*map(str, bounds), "+Inf"], itertools.accumulate(counts), strict=True)
    metric = HistogramMetricFamily(name, words)
    metric.add_metric([], [(bound, count) for bound, count in buckets], sum(one.seconds for one in durations))
    return metric

# SPDX-License-Identifier: Apache-2.0
"""Metric names are kube-proxy's where kube-proxy has them, and traffic series never exceed the cap."""

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kproxy.dataplanes.contract import Counters, Duty, Traffic
from kproxy.observe.metrics import PROGRAMMING_BUCKETS, SYNC_BUCKETS, Metrics
from kproxy.observe.traffic import Cap, TrafficCollector
from kproxy.table.route import RouteKey
from kproxy.table.terms import Family, Mode, Protocol

V4, V6 = (Duty(Mode.NFTABLES, family) for family in Family)

# Facts of kube-proxy 1.37 (pkg/proxy/metrics/metrics.go), as far as nftables mode on Linux has them: name, type, labels.
UPSTREAM = {
    "kubeproxy_sync_proxy_rules_duration_seconds": ("histogram", {"ip_family"}),
    "kubeproxy_sync_full_proxy_rules_duration_seconds": ("histogram", {"ip_family"}),
    "kubeproxy_sync_partial_proxy_rules_duration_seconds": ("histogram", {"ip_family"}),
    "kubeproxy_sync_proxy_rules_last_timestamp_seconds": ("gauge", {"ip_family"}),
    "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds": ("gauge", {"ip_family"}),
    "kubeproxy_sync_proxy_rules_endpoint_changes_pending": ("gauge", set()),
    "kubeproxy_sync_proxy_rules_endpoint_changes_total": ("counter", set()),
    "kubeproxy_sync_proxy_rules_service_changes_pending": ("gauge", set()),
    "kubeproxy_sync_proxy_rules_service_changes_total": ("counter", set()),
    "kubeproxy_sync_proxy_rules_no_local_endpoints_total": ("gauge", {"traffic_policy", "ip_family"}),
    "kubeproxy_network_programming_duration_seconds": ("histogram", {"ip_family"}),
    "kubeproxy_proxy_healthz_total": ("counter", {"code"}),
    "kubeproxy_proxy_livez_total": ("counter", {"code"}),
    "kubeproxy_sync_proxy_rules_nftables_sync_failures_total": ("counter", {"ip_family"}),
    "kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total": ("counter", {"ip_family"}),
    "kubeproxy_conntrack_reconciler_sync_duration_seconds": ("histogram", {"ip_family"}),
    "kubeproxy_conntrack_reconciler_deleted_entries_total": ("counter", {"ip_family"}),
    "rest_client_requests_total": ("counter", {"code", "host", "method"}),
    "rest_client_request_duration_seconds": ("histogram", {"host", "verb"}),
}


def _busy() -> Metrics:
    """Return metrics in which every series has happened once."""
    metrics = Metrics(version="1", host="api")
    metrics.serve(Mode.NFTABLES, [V4, V6])
    metrics.health_asked("healthz", 200)
    metrics.health_asked("livez", 503)
    metrics.requested("GET", "200", 0.1)
    metrics.synced(Family.IPV4, 0.1, full=True, wall=1.0, operations=1)
    metrics.synced(Family.IPV4, 0.1, full=False, wall=1.0, operations=1)
    metrics.change(Family.IPV4, {"total": 0.1}, [2.0])
    metrics.sync_queued.labels(Family.IPV4).set(1)
    metrics.no_local_endpoints.labels("internal", Family.IPV4).set(1)
    metrics.flows_seconds.labels(Family.IPV4).observe(1)
    return metrics


def test_kube_proxys_series_have_its_names_types_and_labels() -> None:
    """Existing dashboards and alerts keep working."""
    text = _busy().expose().decode()
    types = dict(line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE"))
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            base = sample.name
            for suffix in ("_bucket", "_count", "_sum"):
                base = base.removesuffix(suffix) if family.type == "histogram" else base
            found[base] = (types[base], set(sample.labels) - {"le"})
    assert {name: found.get(name) for name in UPSTREAM} == UPSTREAM


def test_the_buckets_are_kube_proxys() -> None:
    """Quantiles of both proxies can be laid over each other."""
    assert SYNC_BUCKETS[0] == 0.001
    assert SYNC_BUCKETS[-1] == pytest.approx(16.384)
    assert len(SYNC_BUCKETS) == 15
    assert len(PROGRAMMING_BUCKETS) == 81
    assert PROGRAMMING_BUCKETS[:4] == (0, 0.25, 0.5, 1)
    assert PROGRAMMING_BUCKETS[-1] == 300


def test_there_are_no_created_series() -> None:
    """They would double the size of a scrape for nothing."""
    assert b"_created" not in _busy().expose()


def _key(number: int) -> RouteKey:
    return RouteKey("shop", f"s{number}", "http", Protocol.TCP, Family.IPV4)


def _counters(*numbers: int) -> Counters:
    traffic = Traffic(connections=1, bytes=10)
    return Counters(
        {(_key(number), "10.96.0.1:80/TCP"): traffic for number in numbers},
        {(_key(number), "10.244.0.1:80"): traffic for number in numbers},
        {"wrong-port": 3},
    )


def _services(collector: TrafficCollector) -> set[str]:
    metric = next(one for one in collector.collect() if one.name == "kproxy_service_connections")
    return {sample.labels["service"] for sample in metric.samples}


def test_traffic_has_series_up_to_the_cap_and_says_how_many_it_omits() -> None:
    """A cluster of any size costs the monitoring no more than was agreed."""
    collector = TrafficCollector(Cap(services=3, endpoints=1))
    collector.take(V4, _counters(*range(5)))
    assert _services(collector) == {"s0", "s1", "s2"}
    omitted = next(one for one in collector.collect() if one.name == "kproxy_traffic_series_omitted")
    assert {sample.labels["kind"]: sample.value for sample in omitted.samples} == {"service": 2, "endpoint": 4}


def test_who_has_a_series_keeps_it_while_it_lives() -> None:
    """Newcomers never push anybody out; who goes makes room."""
    collector = TrafficCollector(Cap(services=2, endpoints=2))
    collector.take(V4, _counters(2, 3))
    assert _services(collector) == {"s2", "s3"}
    collector.take(V4, _counters(0, 1, 2, 3))
    assert _services(collector) == {"s2", "s3"}
    collector.take(V4, _counters(0, 1, 3))
    assert _services(collector) == {"s0", "s3"}


def test_the_cap_is_over_both_families() -> None:
    """And a reading of one leaves the other's series as they were."""
    collector = TrafficCollector(Cap(services=3, endpoints=3))
    collector.take(V4, _counters(1, 2))
    six = {(msgspec.structs.replace(_key(number), family=Family.IPV6), "x"): Traffic(1) for number in (7, 8, 9)}
    collector.take(V6, Counters(six, {}, {}))
    assert _services(collector) == {"s1", "s2", "s7"}
    collector.take(V4, _counters(2))
    collector.take(V6, Counters(six, {}, {}))
    assert _services(collector) == {"s2", "s7", "s8"}


def test_what_a_mode_does_not_count_has_no_series() -> None:
    """No number is better than a wrong zero."""
    collector = TrafficCollector(Cap())
    collector.take(V4, _counters(1))
    metrics = {one.name: one for one in collector.collect()}
    assert metrics["kproxy_service_packets"].samples == []
    assert metrics["kproxy_service_bytes"].samples[0].value == 10
    assert metrics["kproxy_refused_packets"].samples[0].labels == {"reason": "wrong-port", "ip_family": "IPv4"}


def _connections(collector: TrafficCollector) -> dict[str, float]:
    metric = next(one for one in collector.collect() if one.name == "kproxy_service_connections")
    return {sample.labels["service"]: sample.value for sample in metric.samples}


def test_dataplanes_that_share_a_place_share_its_series() -> None:
    """What nftables counts of a NodePort and what the relay on loopback counts of it is one number, and one series."""
    collector = TrafficCollector(Cap(services=2, endpoints=2))
    beside = Duty(Mode.USERSPACE, Family.IPV4)
    collector.take(V4, _counters(1, 2))
    collector.take(beside, _counters(2, 3))
    assert _connections(collector) == {"s1": 1, "s2": 2}
    collector.take(V4, _counters(2))
    collector.take(beside, _counters(2, 3))
    assert _connections(collector) == {"s2": 2, "s3": 1}


def test_a_switch_of_modes_counts_on() -> None:
    """What the old mode has counted stays in the sum as long as its Service lives; refusals too."""
    collector = TrafficCollector(Cap())
    after = Duty(Mode.IPTABLES, Family.IPV4)
    collector.take(V4, _counters(1, 2))
    collector.take(after, _counters(1, 2))
    collector.serve([after])
    assert _connections(collector) == {"s1": 2, "s2": 2}
    collector.take(after, _counters(1))
    assert _connections(collector) == {"s1": 2}
    collector.take(after, _counters(1, 2))
    assert _connections(collector) == {"s1": 2, "s2": 1}
    refused = next(one for one in collector.collect() if one.name == "kproxy_refused_packets")
    assert [sample.value for sample in refused.samples] == [6]

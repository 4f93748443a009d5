# SPDX-License-Identifier: Apache-2.0
"""Every metric name, in one place.

``kubeproxy_*`` are kube-proxy's, with its labels and buckets, as far as they apply to the modes built: existing dashboards
and alerts keep working. ``kproxy_*`` are ours. Traffic series come from the kernel's counters, see ``traffic``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from kproxy.dataplanes.contract import Duty
from kproxy.objects.events import Kind
from kproxy.table.terms import Family, Mode

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

SYNC_BUCKETS: Final = tuple(0.001 * 2**power for power in range(15))
PROGRAMMING_BUCKETS: Final = (0, 0.25, 0.5, *range(1, 60), *range(60, 120, 5), *range(120, 301, 30))
REST_BUCKETS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
CHANGE_BUCKETS: Final = tuple(0.0001 * 2**power for power in range(18))  # 0.1 ms to 13 s

FAMILY: Final = ("ip_family",)


class Metrics:
    """The process's metrics, in a registry of their own."""

    def __init__(self, *, version: str = "", host: str = "") -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._host = host  # of the API server, a label of the rest_client metrics
        ProcessCollector(registry=self.registry)
        self._build(version)
        self._syncs()
        self._changes()
        self._health()
        self._conntrack()
        self._own()
        self._source()

    def expose(self) -> bytes:
        """Return all series in Prometheus' text format."""
        return prometheus_client.generate_latest(self.registry)

    def health_asked(self, page: str, status: int) -> None:
        """Count an answer of ``healthz``, ``livez`` or ``readyz``."""
        if page in self._pages:
            self._pages[page].labels(str(status)).inc()

    # How what the loop does is counted; ``daemon.report`` calls these.

    def synced(self, family: Family, seconds: float, *, full: bool, wall: float, operations: int) -> None:
        """Count a run that the kernel took."""
        self.sync_seconds.labels(family).observe(seconds)
        (self.sync_full_seconds if full else self.sync_partial_seconds).labels(family).observe(seconds)
        self.sync_last.labels(family).set(wall)
        self.kernel_operations.labels(family).inc(operations)

    def change(self, family: Family, stations: Mapping[str, float], programming: Sequence[float]) -> None:
        """Count one change's latency by station, and from the annotated time of its endpoints on."""
        for station, seconds in stations.items():
            self.change_seconds.labels(station, family).observe(seconds)
        for seconds in programming:
            self.network_programming.labels(family).observe(max(0.0, seconds))

    def serve(self, mode: Mode, duties: Iterable[Duty]) -> None:
        """Name the mode in force, and let the series of each family in use begin at zero."""
        self.mode.clear()
        self.mode.labels(mode).set(1)
        for family in dict.fromkeys(duty.family for duty in duties):
            for counter in (
                self.sync_failures, self.repairs, self.differences, self.refusals, self.flows_deleted, self.kernel_operations
            ):  # fmt: skip
                counter.labels(family)
            for gauge in (self.refused_routes, self.limited_routes, self.in_force):
                gauge.labels(family)
            if mode is Mode.NFTABLES:
                self.nftables_failures.labels(family)
                self.nftables_cleanup_failures.labels(family)

    def failed(self, duty: Duty) -> None:
        """Count a run that failed as a whole."""
        self.sync_failures.labels(duty.family).inc()
        if duty.mode is Mode.NFTABLES:
            self.nftables_failures.labels(duty.family).inc()

    # The series, by theme.

    def _build(self, version: str) -> None:
        self._gauge("kproxy_build_info", "1, by the version that runs.", ("version",)).labels(version).set(1)
        self.mode = self._gauge("kproxy_mode_info", "1 for the mode in force.", ("mode",))

    def _syncs(self) -> None:
        prefix = "kubeproxy_sync_proxy_rules"
        self.sync_seconds = self._histogram(
            f"{prefix}_duration_seconds", "Time of one sync, full or partial.", FAMILY, SYNC_BUCKETS
        )
        self.sync_full_seconds = self._histogram(
            "kubeproxy_sync_full_proxy_rules_duration_seconds", "Time of one full sync.", FAMILY, SYNC_BUCKETS
        )
        self.sync_partial_seconds = self._histogram(
            "kubeproxy_sync_partial_proxy_rules_duration_seconds", "Time of one partial sync.", FAMILY, SYNC_BUCKETS
        )
        self.sync_last = self._gauge(f"{prefix}_last_timestamp_seconds", "When the last sync succeeded.", FAMILY)
        self.sync_queued = self._gauge(f"{prefix}_last_queued_timestamp_seconds", "When a sync was last asked for.", FAMILY)
        self.nftables_failures = self._counter(f"{prefix}_nftables_sync_failures", "Failed nftables syncs.", FAMILY)
        self.nftables_cleanup_failures = self._counter(
            f"{prefix}_nftables_cleanup_failures", "Failed deletions of what a packet may no longer reach.", FAMILY
        )

    def _changes(self) -> None:
        prefix = "kubeproxy_sync_proxy_rules"
        self.changes_total = {
            Kind.SERVICE: self._counter(f"{prefix}_service_changes", "Service events seen."),
            Kind.ENDPOINT_SLICE: self._counter(f"{prefix}_endpoint_changes", "EndpointSlice events seen."),
        }
        self.changes_pending = {
            Kind.SERVICE: self._gauge(f"{prefix}_service_changes_pending", "Service events not yet in force."),
            Kind.ENDPOINT_SLICE: self._gauge(f"{prefix}_endpoint_changes_pending", "EndpointSlice events not yet in force."),
        }
        self.no_local_endpoints = self._gauge(
            f"{prefix}_no_local_endpoints_total",
            "Service ports with a Local traffic policy and endpoints, but none on this node.",
            ("traffic_policy", "ip_family"),
        )
        self.network_programming = self._histogram(
            "kubeproxy_network_programming_duration_seconds",
            "From the annotated time of an endpoint change to its being in force.",
            FAMILY,
            PROGRAMMING_BUCKETS,
        )
        self.change_seconds = self._histogram(
            "kproxy_change_duration_seconds",
            "From one station of a change to the next: received, resolved, committed; total is from first to last.",
            ("station", "ip_family"),
            CHANGE_BUCKETS,
        )

    def _health(self) -> None:
        self._pages = {
            "healthz": self._counter("kubeproxy_proxy_healthz", "Answers of /healthz.", ("code",)),
            "livez": self._counter("kubeproxy_proxy_livez", "Answers of /livez.", ("code",)),
        }
        self.health_ports = self._gauge("kproxy_health_node_ports", "Open listeners of health-check node ports.")
        self.health_port_failures = self._counter(
            "kproxy_health_node_port_failures", "Health-check node ports that could not be opened."
        )

    def _conntrack(self) -> None:
        self.flows_seconds = self._histogram(
            "kubeproxy_conntrack_reconciler_sync_duration_seconds",
            "Time of one clean-up of stale UDP flows.",
            FAMILY,
            SYNC_BUCKETS,
        )
        self.flows_deleted = self._counter(
            "kubeproxy_conntrack_reconciler_deleted_entries", "Stale UDP flows deleted.", FAMILY
        )

    def _own(self) -> None:
        self.sync_failures = self._counter("kproxy_sync_failures", "Syncs that failed as a whole.", FAMILY)
        self.kernel_operations = self._counter("kproxy_kernel_operations", "Operations the kernel has taken.", FAMILY)
        self.in_force = self._gauge("kproxy_routes", "Routes (Service ports) in force.", FAMILY)
        self.refused_routes = self._gauge("kproxy_refused_routes", "Routes the kernel refuses at present.", FAMILY)
        self.refusals = self._counter("kproxy_route_refusals", "Refusals of single routes, retries counted.", FAMILY)
        self.limited_routes = self._gauge("kproxy_limited_routes", "Routes that ask for what this mode cannot do.", FAMILY)
        self.repairs = self._counter("kproxy_drift_repairs", "Repairs of what others changed in our rules.", FAMILY)
        self.differences = self._counter("kproxy_drift_differences", "What others had changed, piece by piece.", FAMILY)
        self.lock_wait = self._counter("kproxy_xtables_lock_wait_seconds", "Time waited for the xtables lock.", FAMILY)
        self.lock_timeouts = self._counter("kproxy_xtables_lock_timeouts", "Waits for that lock that were in vain.", FAMILY)
        self.broken = self._gauge("kproxy_broken_objects", "Objects that cannot be read and are kept out.", ("kind",))
        self.conflicts = self._gauge("kproxy_frontend_conflicts", "Frontends that two Services claim.")
        self.services = self._gauge("kproxy_services", "Services with at least one route.")
        self.ready = self._gauge("kproxy_ready", "1 once every family's first table is in force.")
        self.events = self._counter("kproxy_events", "Kubernetes Events, by what became of them.", ("result",))
        self.reloads = self._counter("kproxy_config_reloads", "Changes of the configuration file.", ("result",))
        self.reloads.labels("applied")

    def _source(self) -> None:
        self.requests = self._counter("rest_client_requests", "Requests to the API server.", ("code", "host", "method"))
        self.request_seconds = self._histogram(
            "rest_client_request_duration_seconds", "Time to an answer's headers.", ("host", "verb"), REST_BUCKETS
        )
        self.list_seconds = self._histogram(
            "kproxy_source_list_duration_seconds", "Time of a complete list.", ("kind", "streamed"), REST_BUCKETS
        )
        self.watches = self._counter("kproxy_source_watches", "Watches that ended.", ("kind",))
        self.restarts = self._counter("kproxy_source_restarts", "Lists and watches that failed.", ("kind", "reason"))
        self.received_bytes = self._counter("kproxy_source_received_bytes", "Bytes of lists and watches.", ("kind",))

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: Sequence[str], buckets: Sequence[float]) -> Histogram:
        return Histogram(name, text, labels, registry=self.registry, buckets=buckets)

    # ``sources.kubernetes.observer.Observer``

    def requested(self, method: str, code: str, seconds: float) -> None:
        """Count an answer of the API server."""
        self.requests.labels(code, self._host, method).inc()
        self.request_seconds.labels(self._host, method).observe(seconds)

    def listed(self, kind: Kind, seconds: float, *, streamed: bool) -> None:
        """Count a complete list."""
        self.list_seconds.labels(kind, str(streamed).lower()).observe(seconds)

    def watched(self, kind: Kind, seconds: float) -> None:  # noqa: ARG002 - how long a watch lives is the server's choice
        """Count the end of a watch."""
        self.watches.labels(kind).inc()

    def restarted(self, kind: Kind, reason: str) -> None:
        """Count a failure."""
        self.restarts.labels(kind, reason).inc()

    def received(self, kind: Kind, size: int) -> None:
        """Count bytes."""
        self.received_bytes.labels(kind).inc(size)

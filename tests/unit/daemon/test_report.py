# SPDX-License-Identifier: Apache-2.0
"""What happens is told where people look: metrics, Events, health, one line in the log."""

import logging
from typing import Any

import pytest

from kproxy.daemon.observer import Sync
from kproxy.daemon.report import Reporter
from kproxy.dataplanes.contract import Difference, Duty
from kproxy.objects.endpointslice import EndpointSlice
from kproxy.objects.events import Broken, Kind, Upsert
from kproxy.objects.meta import Meta
from kproxy.objects.node import DRAIN_TAINT, Node, NodeSpec, Taint
from kproxy.objects.service import Service
from kproxy.observe.events import Reason, Recorder
from kproxy.observe.health import Health
from kproxy.observe.metrics import Metrics
from kproxy.table.clock import FakeClock
from kproxy.table.routing_table import Conflict, RoutingTable, Times
from kproxy.table.terms import Family, Mode
from tests.unit.daemon.tables import changes, key, table

V4 = Duty(Mode.NFTABLES, Family.IPV4)


class Told(Recorder):
    """A recorder that remembers reasons and notes."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__("n1", clock=clock)
        self.notes: list[tuple[Reason, str, str]] = []

    def tell(self, weight: Any, reason: Any, action: Any, note: Any, about: Any = None) -> None:  # noqa: ARG002
        """Remember it."""
        self.notes.append((reason, note, f"{about.namespace}/{about.name}" if about else "node"))


class Desk:
    """A reporter with all it reports to."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.health = Health(60.0, clock=self.clock)
        self.health.expect([V4])
        self.events = Told(self.clock)
        self.complaints: dict[tuple[Kind, str], tuple[str, ...]] = {}
        self.reporter = Reporter(
            "n1",
            metrics=self.metrics,
            health=self.health,
            events=self.events,
            clock=self.clock,
            complaints=lambda: self.complaints,
        )

    def value(self, name: str, **labels: str) -> float | None:
        """Return one sample."""
        return self.metrics.registry.get_sample_value(name, labels)

    def sync(self, **fields: Any) -> None:
        """Report a sync of IPv4."""
        usual: dict[str, Any] = {"duty": V4, "table": table()}
        usual |= {"keys": None, "started": 1.0, "ended": 1.5}
        self.reporter.synced(Sync(**usual | fields))


@pytest.fixture(autouse=True)
def _listen(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="kproxy")


def test_a_sync_is_counted_with_its_latencies() -> None:
    """By family, full or partial, and from each station to the next."""
    desk = Desk()
    desk.reporter.queued(V4)
    times = Times(received=1.0, resolved=1.25, committed=1.5, triggers=(990.0,))
    desk.sync(changes=(times,), operations=7)
    assert desk.value("kubeproxy_sync_full_proxy_rules_duration_seconds_sum", ip_family="IPv4") == 0.5
    assert desk.value("kproxy_kernel_operations_total", ip_family="IPv4") == 7
    for station, seconds in (("received_to_resolved", 0.25), ("resolved_to_committed", 0.25), ("total", 0.5)):
        assert desk.value("kproxy_change_duration_seconds_sum", station=station, ip_family="IPv4") == seconds
    assert desk.value("kubeproxy_network_programming_duration_seconds_sum", ip_family="IPv4") == 10.0
    assert desk.health.verdict().ready
    desk.sync(keys=frozenset({key("a")}))
    assert desk.value("kubeproxy_sync_partial_proxy_rules_duration_seconds_count", ip_family="IPv4") == 1


def test_object_changes_are_pending_until_in_force() -> None:
    """Services and slices apart."""
    desk = Desk()
    desk.reporter.told(Upsert(Service(Meta("web", "shop"))))
    desk.reporter.told(Upsert(EndpointSlice(Meta("web-1", "shop"))))
    desk.reporter.told(Upsert(EndpointSlice(Meta("web-2", "shop"))))
    assert desk.value("kubeproxy_sync_proxy_rules_endpoint_changes_pending") == 2
    desk.sync()
    assert desk.value("kubeproxy_sync_proxy_rules_endpoint_changes_pending") == 0
    assert desk.value("kubeproxy_sync_proxy_rules_endpoint_changes_total") == 2
    assert desk.value("kubeproxy_sync_proxy_rules_service_changes_total") == 1


def test_a_refused_route_is_named_in_log_metric_and_event(caplog: pytest.LogCaptureFixture) -> None:
    """Once for each kind of refusal, however often it is retried."""
    desk = Desk()
    for _ in range(5):
        desk.reporter.refused(V4, key("a"), "the set is full", retry_in=0.1)
    assert desk.value("kproxy_refused_routes", ip_family="IPv4") == 1
    assert desk.value("kproxy_route_refusals_total", ip_family="IPv4") == 5
    assert desk.events.notes == [(Reason.ROUTE_REFUSED, "the set is full", "shop/a")]
    assert sum("shop/a" in line and "the set is full" in line for line in caplog.messages) == 1
    desk.reporter.accepted(V4, key("a"))
    assert desk.value("kproxy_refused_routes", ip_family="IPv4") == 0


def test_a_failing_kernel_is_told_once_and_its_recovery_too(caplog: pytest.LogCaptureFixture) -> None:
    """A retry every few seconds does not fill the log."""
    desk = Desk()
    for pause in (0.1, 0.2, 0.4):
        desk.reporter.failed(V4, "out of memory", retry_in=pause)
    desk.sync()
    loud = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(loud) == 1
    assert "out of memory" in loud[0]
    assert any("takes changes again" in line for line in caplog.messages)
    assert desk.value("kubeproxy_sync_proxy_rules_nftables_sync_failures_total", ip_family="IPv4") == 3


def test_a_repair_is_counted_and_says_what_was_wrong(caplog: pytest.LogCaptureFixture) -> None:
    """The first few differences by name, the rest by number."""
    desk = Desk()
    desk.reporter.drifted(V4, [Difference(f"thing {number}") for number in range(9)])
    desk.reporter.repaired(V4, 0.3)
    assert desk.value("kproxy_drift_repairs_total", ip_family="IPv4") == 1
    assert desk.value("kproxy_drift_differences_total", ip_family="IPv4") == 9
    assert any("thing 0" in line and "and 4 more" in line for line in caplog.messages)


def test_a_broken_object_is_told_counted_and_forgotten_once_mended() -> None:
    """By an empty mend or by any word of the object itself."""
    desk = Desk()
    desk.reporter.told(Broken(Kind.SERVICE, "shop/web", "Service shop/web: spec.ports: expected array; mend the object"))
    desk.reporter.told(Broken(None, "a.yaml", "a.yaml: line 3: no YAML"))
    assert desk.value("kproxy_broken_objects", kind="Service") == 1
    assert desk.value("kproxy_broken_objects", kind="file") == 1
    assert [(reason, about) for reason, _, about in desk.events.notes] == [(Reason.OBJECT_BROKEN, "shop/web")]
    desk.reporter.told(Upsert(Service(Meta("web", "shop"))))
    desk.reporter.told(Broken(None, "a.yaml", ""))
    assert not desk.reporter.broken
    assert desk.value("kproxy_broken_objects", kind="Service") == 0


def test_conflicts_and_complaints_are_told_when_new() -> None:
    """And not with every change that follows."""
    desk = Desk()
    conflict = Conflict("10.0.0.1:80/TCP", "shop/a", "shop/b")
    desk.complaints = {(Kind.SERVICE, "shop/odd"): ("the annotation is ignored",)}
    after = RoutingTable(conflicts=(conflict,))
    for _ in range(3):
        desk.reporter.resolved(changes(None, after), 0.0)
    assert [(reason, about) for reason, _, about in desk.events.notes] == [
        (Reason.FRONTEND_CONFLICT, "shop/b"),
        (Reason.OBJECT_QUESTIONABLE, "shop/odd"),
    ]
    assert desk.value("kproxy_frontend_conflicts") == 1


def test_what_a_mode_cannot_do_is_told_and_forgotten_with_the_route() -> None:
    """A partial sync judges only the routes it touched."""
    desk = Desk()
    desk.sync(limits={key("a"): "random is used"})
    desk.sync(keys=frozenset({key("b")}))
    assert desk.value("kproxy_limited_routes", ip_family="IPv4") == 1
    desk.sync(keys=frozenset({key("a")}))
    assert desk.value("kproxy_limited_routes", ip_family="IPv4") == 0
    assert desk.events.notes == [(Reason.ROUTE_LIMITED, "random is used", "shop/a")]


def test_only_this_node_counts_for_health() -> None:
    """Another Node's taint is its own affair."""
    desk = Desk()
    tainted = NodeSpec(taints=(Taint(DRAIN_TAINT),))
    desk.reporter.told(Upsert(Node(Meta("n2"), tainted)))
    assert desk.health.verdict().eligible
    desk.reporter.told(Upsert(Node(Meta("n1"), tainted)))
    assert not desk.health.verdict().eligible

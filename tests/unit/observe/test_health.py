# SPDX-License-Identifier: Apache-2.0
"""Green means that what was asked for is in force; a blind proxy is not green for ever."""

import msgspec

from kproxy.dataplanes.contract import Duty
from kproxy.objects.meta import Meta
from kproxy.objects.node import DRAIN_TAINT, Node, NodeSpec, Taint
from kproxy.observe.answers import healthz, livez, readyz
from kproxy.observe.health import Health
from kproxy.table.clock import FakeClock
from kproxy.table.terms import Family, Mode

V4, V6 = (Duty(Mode.NFTABLES, family) for family in Family)


def _health() -> tuple[Health, FakeClock]:
    clock = FakeClock()
    health = Health(60.0, clock=clock)
    health.expect([V4, V6])
    return health, clock


def test_a_start_without_any_table_turns_red_after_the_time_out() -> None:
    """kube-proxy stays green for ever while it cannot reach the API server; this is our difference."""
    health, clock = _health()
    assert livez(health.verdict()).status == 200
    clock.advance(60.0)
    assert (healthz(health.verdict()).status, livez(health.verdict()).status) == (503, 503)
    health.updated(V4)
    assert livez(health.verdict()).status == 200


def test_ready_wants_a_table_in_every_family() -> None:
    """Readiness comes once and stays."""
    health, clock = _health()
    assert readyz(health.verdict()).status == 503
    health.updated(V4)
    assert readyz(health.verdict()).status == 503
    health.updated(V6)
    assert readyz(health.verdict()).status == 200
    health.queued(V4)
    clock.advance(1_000.0)
    assert readyz(health.verdict()).status == 200


def test_only_the_oldest_waiting_change_counts() -> None:
    """A family that is asked again and again does not look young."""
    health, clock = _health()
    health.updated(V4)
    for _ in range(7):
        health.queued(V4)
        clock.advance(10.0)
    assert livez(health.verdict()).status == 503


def test_a_draining_or_vanished_node_is_not_eligible() -> None:
    """The proxy itself stays well, so that it is not restarted; without any Node object it stays eligible."""
    health, _ = _health()
    health.updated(V4)
    health.node(None)
    assert healthz(health.verdict()).status == 200
    for node in (Node(Meta("n"), NodeSpec(taints=(Taint(DRAIN_TAINT),))), None):
        health.node(node)
        assert (healthz(health.verdict()).status, livez(health.verdict()).status) == (503, 200)
    health.node(Node(Meta("n"), NodeSpec(taints=(Taint("other"),))))
    assert healthz(health.verdict()).status == 200


def test_the_body_has_kube_proxys_keys_in_its_order() -> None:
    """Existing probes read it."""
    health, clock = _health()
    health.updated(V4)
    clock.advance(5.0)
    response = healthz(health.verdict())
    body = msgspec.json.decode(response.body)
    assert list(body) == ["lastUpdated", "currentTime", "nodeEligible", "healthy", "status"]
    assert body["lastUpdated"] == body["currentTime"] == "1970-01-01T00:16:45Z"
    assert body["status"] == {"IPv4": {"lastUpdated": "1970-01-01T00:16:40Z", "healthy": True}}
    assert response.content_type == "application/json"
    assert "nodeEligible" not in msgspec.json.decode(livez(health.verdict()).body)


def test_red_tells_the_real_time_of_the_last_update() -> None:
    """On 503 the time is no courtesy."""
    health, clock = _health()
    health.updated(V4)
    health.queued(V4)
    clock.advance(60.0)
    body = msgspec.json.decode(livez(health.verdict()).body)
    assert body["lastUpdated"] == "1970-01-01T00:16:40Z"
    assert body["status"]["IPv4"]["healthy"] is False


def test_another_mode_counts_once_it_serves() -> None:
    """While it comes it may take its time; then it alone counts, and the node stays ready."""
    health, clock = _health()
    for duty in (V4, V6):
        health.updated(duty)
    coming = Duty(Mode.USERSPACE, Family.IPV4)
    health.queued(coming)
    clock.advance(100.0)
    assert livez(health.verdict()).status == 200
    health.queued(V4)
    health.serve([coming])
    clock.advance(100.0)
    assert (livez(health.verdict()).status, readyz(health.verdict()).status) == (200, 200)
    health.queued(coming)
    clock.advance(60.0)
    assert livez(health.verdict()).status == 503


def test_two_dataplanes_of_a_family_are_waited_for() -> None:
    """A family is as well as the worse of them."""
    health, clock = _health()
    beside = Duty(Mode.USERSPACE, Family.IPV4)
    health.expect([V4, V6, beside])
    health.updated(V4)
    health.updated(V6)
    assert readyz(health.verdict()).status == 503
    health.updated(beside)
    assert readyz(health.verdict()).status == 200
    health.queued(beside)
    clock.advance(60.0)
    verdict = health.verdict()
    assert {family: part.healthy for family, part in verdict.families.items()} == {Family.IPV4: False, Family.IPV6: True}

# SPDX-License-Identifier: Apache-2.0
"""Area healthz: what /healthz and /livez answer as changes wait, are done, and the Node goes."""

from typing import Any

from kproxy.dataplanes.contract import Duty
from kproxy.objects.meta import Meta
from kproxy.objects.node import Node, NodeSpec, Taint
from kproxy.observe.answers import healthz, livez
from kproxy.observe.health import Health
from kproxy.observe.metrics import Metrics
from kproxy.table.clock import FakeClock
from kproxy.table.terms import Family, Mode

DUTIES = {family: Duty(Mode.NFTABLES, family) for family in Family}


def run(case: dict[str, Any]) -> None:
    """Go through the steps and compare both status codes after each, or count requests."""
    given, expect = case["input"], case["expect"]
    if "requests" in given:
        _counters(given["requests"], expect["counters"])
        return
    clock = FakeClock()
    health = Health(given["timeoutSeconds"], clock=clock)
    health.expect(DUTIES.values())
    health.node(Node(Meta("n1")))
    if not any("start" in step for step in given["steps"]):
        for family in Family:
            health.updated(DUTIES[family])
    for number, (step, wanted) in enumerate(zip(given["steps"], expect["afterEachStep"], strict=True)):
        _take(step, health, clock)
        verdict = health.verdict()
        answers = {"healthz": healthz(verdict).status, "livez": livez(verdict).status}
        found = {name: answers[name] for name in wanted}
        assert found == wanted, f"after step {number} {step}: {found}, expected {wanted}"


def _take(step: dict[str, Any], health: Health, clock: FakeClock) -> None:
    for name, value in step.items():
        match name:
            case "start":
                pass
            case "queuedUpdate":
                for family in _families(value):
                    health.queued(DUTIES[family])
            case "updated":
                for family in _families(value):
                    health.updated(DUTIES[family])
            case "advanceSeconds":
                clock.advance(value)
            case "nodeTaint":
                health.node(Node(Meta("n1"), NodeSpec(taints=(Taint(value),) if value else ())))
            case "nodeDeleting":
                health.node(Node(Meta("n1", deletion_timestamp="2026-01-01T00:00:00Z" if value else None)))
            case _:
                raise AssertionError(f"no step {name} is known")


def _families(value: str | list[str]) -> list[Family]:
    return [Family(value)] if isinstance(value, str) else list(map(Family, value))


def _counters(requests: list[dict[str, Any]], wanted: dict[str, dict[str, int]]) -> None:
    metrics = Metrics()
    for request in requests:
        metrics.health_asked(request["path"].removeprefix("/"), request["status"])
    found = {
        name: {code: metrics.registry.get_sample_value(name, {"code": code}) for code in codes}
        for name, codes in wanted.items()
    }
    assert found == wanted, f"{found}"

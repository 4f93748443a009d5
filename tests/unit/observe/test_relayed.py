# SPDX-License-Identifier: Apache-2.0
"""What the relay has done, as a scrape shows it."""

from prometheus_client.exposition import generate_latest
from prometheus_client.registry import CollectorRegistry

from kproxy.dataplanes.contract import Durations, RelayReport
from kproxy.observe.relayed import RelayCollector


def exposed(*reports: RelayReport) -> dict[str, float]:
    """Return every sample of a scrape."""
    registry = CollectorRegistry()
    collector = RelayCollector()
    registry.register(collector)
    collector.take(reports)
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_without_a_relay_there_is_nothing() -> None:
    """Other modes have no series of a relay."""
    assert exposed() == {}


def test_relays_are_added_up() -> None:
    """While a mode changes there may be two; a histogram is cumulative, as Prometheus wants it."""
    report = RelayReport(
        active=2,
        closed={"done": 3, "idle": 0},
        refused={"full": 1},
        failed={"refused": 1},
        retries=4,
        dial=Durations((0.001, 0.01), (1, 2, 3), 0.5),
    )

    samples = exposed(report, report)

    assert samples["kproxy_relay_connections"] == 4
    assert samples['kproxy_relay_closed_connections_total{reason="done"}'] == 6
    assert samples['kproxy_relay_closed_connections_total{reason="idle"}'] == 0
    assert samples['kproxy_relay_refused_clients_total{reason="full"}'] == 2
    assert samples['kproxy_relay_failed_dials_total{reason="refused"}'] == 2
    assert samples["kproxy_relay_retries_total"] == 8
    dial = "kproxy_relay_dial_duration_seconds"
    assert [samples[f'{dial}_bucket{{le="{bound}"}}'] for bound in ("0.001", "0.01", "+Inf")] == [2, 6, 12]
    assert (samples[f"{dial}_count"], samples[f"{dial}_sum"]) == (12, 1)

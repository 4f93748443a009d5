# SPDX-License-Identifier: Apache-2.0
"""The check of expressions itself: what it must let through, and what it must find."""

import pytest

from tests.unit.deploy.series import exposed, unknown


@pytest.mark.parametrize(
    "expression",
    [
        "kproxy_ready == 0",
        'rate(kproxy_refused_packets_total{reason="no-endpoints",instance=~"$node"}[5m])',
        "histogram_quantile(0.5, sum by (station, le) (rate(kproxy_change_duration_seconds_bucket[5m])))",
        "topk(10, sum by (namespace, service, endpoint) (rate(kproxy_endpoint_bytes_total[5m])))",
        "process_resident_memory_bytes",
        'up{job="kproxy"} == 0',
    ],
)
def test_good_expressions_pass(expression: str) -> None:
    """What exists may be asked for."""
    assert unknown(expression) == []


@pytest.mark.parametrize(
    ("expression", "trouble"),
    [
        ("kproxy_nothing", "no series kproxy_nothing"),
        ("rate(kproxy_ready_total[5m])", "no series kproxy_ready_total"),
        ("kproxy_refused_packets", "no series kproxy_refused_packets"),
        ("kproxy_change_duration_seconds", "no series kproxy_change_duration_seconds"),
        ('kproxy_routes{family="IPv4"}', "kproxy_routes has no label family"),
        ("sum by (family) (kproxy_routes)", "nothing here has label family"),
        ("1 + 1", "it asks for nothing"),
    ],
)
def test_bad_expressions_are_named(expression: str, trouble: str) -> None:
    """A wrong name, suffix or label is found."""
    assert unknown(expression) == [trouble]


def test_traffic_has_its_labels() -> None:
    """Series that exist only once there is traffic count as well."""
    series = exposed()

    assert series["kproxy_endpoint_connections_total"] >= {"namespace", "service", "endpoint"}
    assert series["kproxy_change_duration_seconds_bucket"] == {"station", "ip_family", "le"}

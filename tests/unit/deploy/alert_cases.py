# SPDX-License-Identifier: Apache-2.0
"""For each alert what trouble looks like, and what is calm although it looks alike, a sample a minute.

The notation is Prometheus' own: ``0+6x90`` starts at 0 and grows by 6, 90 times; ``1x90`` stays.
"""

from typing import Any, Final

import msgspec

JUMP: Final = 'kproxy_refused_packets_total{instance="%s",reason="no-endpoints",ip_family="IPv4"}'
BUCKET: Final = 'kproxy_change_duration_seconds_bucket{instance="%s",station="total",ip_family="IPv4",le="%s"}'
QUEUED: Final = 'kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{instance="%s",ip_family="IPv4"}'
SYNCED: Final = 'kubeproxy_sync_proxy_rules_last_timestamp_seconds{instance="%s",ip_family="IPv4"}'


class Case(msgspec.Struct, frozen=True):
    """Series by name: after so many minutes those of node ``bad`` fire the alert, all others do not."""

    alert: str
    bad: dict[str, str]
    calm: dict[str, str]
    minutes: int = 90


def _case(alert: str, series: str, bad: str, calm: str, minutes: int = 90) -> Case:
    return Case(alert, {series % "bad": bad}, {series % "calm": calm}, minutes)


CASES: Final = (
    _case("KproxyGone", 'up{job="kproxy",instance="%s"}', "1x60 0x30", "1x90"),
    _case("KproxyTableNotInForce", 'kproxy_ready{instance="%s"}', "0x90", "0 0 1x88"),
    Case(
        "KproxyChangesWait",
        {QUEUED % "bad": "1000+60x90", SYNCED % "bad": "1000+60x60 4600x30"},
        # Changes without a pause: the newest request is always ahead of the last sync, but never by much.
        {QUEUED % "calm": "1000+60x90", SYNCED % "calm": "999+60x90"},
    ),
    _case("KproxySyncsFail", 'kproxy_sync_failures_total{instance="%s",ip_family="IPv4"}', "0+2x90", "0x60 2x30"),
    _case("KproxyRoutesRefused", 'kproxy_refused_routes{instance="%s",ip_family="IPv4"}', "3x90", "0x85 1 1 1 0 0"),
    _case("KproxyObjectsBroken", 'kproxy_broken_objects{instance="%s",kind="Service"}', "1x90", "0x83 1 1 1 1 1 1 1"),
    _case("KproxyRulesEditedByOthers", 'kproxy_drift_repairs_total{instance="%s",ip_family="IPv4"}', "0+1x90", "0x70 1x20"),
    _case(
        "KproxyDropsForLackOfLocalEndpoints",
        'kproxy_refused_packets_total{instance="%s",reason="no-local-endpoints",ip_family="IPv4"}',
        "0+600x90",
        "0+1x90",
    ),
    Case(
        "KproxyRefusalsJump",
        {JUMP % "bad": "0+1x460 460+6000x20"},
        {JUMP % "calm": "0+6000x480", JUMP % "new": "_x460 0+6000x20"},  # the same all day; a node just begun
        minutes=480,
    ),
    _case("KproxyRelayDialsFail", 'kproxy_relay_failed_dials_total{instance="%s",reason="refused"}', "0+120x90", "0+6x90"),
    _case(
        "KproxySourceRestarts",
        'kproxy_source_restarts_total{instance="%s",kind="Service",reason="unreachable"}',
        "0+4x90",
        "0x50 1x40",
    ),
    Case(
        "KproxySlow",
        {BUCKET % ("bad", "1.6384"): "0+10x90", BUCKET % ("bad", "6.5536"): "0+20x90", BUCKET % ("bad", "+Inf"): "0+20x90"},
        {BUCKET % ("calm", "0.8192"): "0+20x90", BUCKET % ("calm", "+Inf"): "0+20x90"},
    ),
    _case("KproxyFrontendConflict", 'kproxy_frontend_conflicts{instance="%s"}', "2x90", "0x70 1x20"),
)


def promtool_tests(rules: str) -> dict[str, Any]:
    """Return what ``promtool test rules`` reads: at the end each case's alert fires, on the bad node alone."""
    tests = []
    for case in CASES:
        series = [{"series": name, "values": values} for name, values in (case.bad | case.calm).items()]
        firing = {
            "expr": 'count by (alertname, instance) (ALERTS{alertstate="firing"})',
            "eval_time": f"{case.minutes}m",
            "exp_samples": [{"labels": f'{{alertname="{case.alert}", instance="bad"}}', "value": 1}],
        }
        tests.append({"interval": "1m", "name": case.alert, "input_series": series, "promql_expr_test": [firing]})
    return {"rule_files": [rules], "evaluation_interval": "1m", "tests": tests}

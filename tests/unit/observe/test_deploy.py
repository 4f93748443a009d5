# SPDX-License-Identifier: Apache-2.0
"""What deploy/ asks of kproxy exists: metric names, flags, permissions, paths."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kproxy.config.command_line import read_command_line
from kproxy.config.decode import decode
from kproxy.config.defaults import with_defaults
from kproxy.config.validation import require_valid
from kproxy.dataplanes.contract import Counters, Traffic
from kproxy.observe.metrics import Metrics
from kproxy.observe.traffic import Cap, TrafficCollector
from kproxy.sources.watches import watches_of
from kproxy.table.route import RouteKey
from kproxy.table.terms import Family, Protocol

DEPLOY = Path(__file__).parents[3] / "deploy"
NAME = re.compile(r"\b(?:kproxy|kubeproxy|rest_client|process)_[a-z0-9_]+")
SUFFIXES = ("_bucket", "_sum", "_count", "_total")


def _known() -> dict[str, set[str]]:
    """Return every series' name with its labels."""
    metrics = Metrics()
    found: dict[str, set[str]] = {}
    collectors: list[Any] = list(metrics.registry._collector_to_names)
    for collector in collectors:
        for described in collector.describe() if hasattr(collector, "_labelnames") else ():
            labels = set(collector._labelnames) | ({"le"} if described.type == "histogram" else set())
            found |= {described.name + suffix: labels for suffix in ("", *SUFFIXES)}
    key = RouteKey("a", "b", "c", Protocol.TCP, Family.IPV4)
    counters = Counters({(key, "x"): Traffic(1, 1, 1)}, {(key, "y"): Traffic(1, 1, 1)}, {"z": 1})
    collector = TrafficCollector(Cap())
    collector.take(Family.IPV4, counters)
    for family in collector.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    process = {"process_resident_memory_bytes", "process_cpu_seconds_total"}  # of the client library
    return found | {name: set() for name in process}


def _expressions() -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    found += [variable["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())
    return found + [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("expression", _expressions())
def test_dashboard_and_alerts_ask_for_series_and_labels_that_exist(expression: str) -> None:
    """A renamed metric would leave a panel empty and an alert silent."""
    known = _known()
    names = NAME.findall(re.sub(r"\{[^}]*\}|by \([^)]*\)", "", expression))
    assert names
    assert not [name for name in names if name not in known]
    grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
    available = set().union(*(known[name] for name in names)) | {"instance", "le"}
    assert grouped <= available


def _documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "daemonset.yaml").read_text()))


def _kind(kind: str) -> dict[str, Any]:
    return next(document for document in _documents() if document["kind"] == kind)


def test_the_role_allows_what_is_watched_and_no_more() -> None:
    """Apart from Events, which are written."""
    rules = _kind("ClusterRole")["rules"]
    allowed = set()
    for rule in rules:
        if "watch" in rule["verbs"]:
            allowed |= {(group, resource) for group in rule["apiGroups"] for resource in rule["resources"]}
    watched = set()
    for watch in watches_of("n1"):
        parts = watch.path.strip("/").split("/")
        watched.add(("" if parts[0] == "api" else parts[1], parts[-1]))
    assert allowed == watched
    assert {resource for rule in rules for resource in rule["resources"] if "create" in rule["verbs"]} == {"events"}


def test_the_daemonsets_flags_and_configuration_are_accepted() -> None:
    """As they stand."""
    pod = _kind("DaemonSet")["spec"]["template"]["spec"]
    for container in (*pod["initContainers"], *pod["containers"]):
        read_command_line(container["args"])
    text = _kind("ConfigMap")["data"]["config.yaml"]
    decoded = decode(text, "config.yaml", strict=True)
    assert not decoded.findings
    require_valid(with_defaults(decoded.config), "config.yaml", {})


def test_probes_ask_pages_that_exist_where_the_health_server_listens() -> None:
    """Liveness does not depend on the Node being drained."""
    container = _kind("DaemonSet")["spec"]["template"]["spec"]["containers"][0]
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {probe["port"] for probe in probes.values()} == {10256}
    assert probes["livenessProbe"]["path"] == "/livez"
    assert probes["readinessProbe"]["path"] == "/readyz"


def test_the_unit_file_starts_kproxy_with_flags_that_exist() -> None:
    """And asks for the notifications it sends."""
    unit = (DEPLOY / "kproxy.service").read_text()
    for line in re.findall(r"^ExecStart(?:Pre)?=\+?/usr/bin/kproxy (.*)$", unit, re.MULTILINE):
        read_command_line(line.split())
    assert "Type=notify" in unit
    assert "CAP_NET_ADMIN" in unit

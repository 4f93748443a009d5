# SPDX-License-Identifier: Apache-2.0
"""The files of ``deploy/``, read."""

import json
from pathlib import Path
from typing import Any, Final

import yaml

DEPLOY: Final = Path(__file__).parents[3] / "deploy"
ALERTS: Final = DEPLOY / "prometheus" / "alerts.yaml"
UNIT: Final = DEPLOY / "kproxy.service"


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    read: dict[str, Any] = json.loads((DEPLOY / "grafana" / "kproxy.json").read_text(encoding="utf-8"))
    return read


def alerts() -> list[dict[str, Any]]:
    """Return the alerting rules."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def scrape() -> dict[str, Any]:
    """Return the only scrape configuration."""
    (job,) = yaml.safe_load((DEPLOY / "prometheus" / "scrape.yaml").read_text(encoding="utf-8"))["scrape_configs"]
    found: dict[str, Any] = job
    return found


def manifest(kind: str) -> dict[str, Any]:
    """Return the only object of a kind that the DaemonSet's file holds."""
    objects = yaml.safe_load_all((DEPLOY / "daemonset.yaml").read_text(encoding="utf-8"))
    (found,) = (item for item in objects if item["kind"] == kind)
    result: dict[str, Any] = found
    return result


def pod() -> dict[str, Any]:
    """Return the Pod's specification."""
    spec: dict[str, Any] = manifest("DaemonSet")["spec"]["template"]["spec"]
    return spec

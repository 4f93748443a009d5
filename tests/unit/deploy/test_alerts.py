# SPDX-License-Identifier: Apache-2.0
"""The alerts: they ask for what there is, say what to do, fire when they should and only then."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.unit.deploy.alert_cases import CASES, promtool_tests
from tests.unit.deploy.files import ALERTS, alerts, manifest, scrape
from tests.unit.deploy.series import asked, exposed, grouped, unknown

RULES: Final = alerts()
wants_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on PATH")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_it_asks_for_what_there_is_and_says_what_to_do(rule: dict[str, Any]) -> None:
    """A renamed metric would leave the alert silent; one without a next step would leave its reader alone."""
    known = exposed() | {"up": set()}
    available = grouped(rule["expr"]) or set[str]().union(*(known[one.name] for one in asked(rule["expr"]))) | {"instance"}
    words = f"{rule['annotations']['summary']} {rule['annotations']['description']}"

    assert unknown(rule["expr"]) == []
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert len(rule["annotations"]["description"]) > 80
    assert set(re.findall(r"\$labels\.(\w+)", words)) <= available
    assert "$labels.instance" in rule["annotations"]["summary"]


def test_names_are_unique() -> None:
    """Each alert is one of its own."""
    names = [rule["alert"] for rule in RULES]

    assert len(set(names)) == len(names)
    assert all(name.startswith("Kproxy") for name in names)


@wants_promtool
def test_prometheus_understands_them() -> None:
    """Its own check finds nothing."""
    done = subprocess.run(["promtool", "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_each_has_a_case() -> None:
    """None is left untried."""
    assert sorted(case.alert for case in CASES) == sorted(rule["alert"] for rule in RULES)


@wants_promtool
def test_they_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    """Prometheus itself evaluates them over series of trouble and of calm."""
    file = tmp_path / "cases.yaml"
    file.write_text(yaml.safe_dump(promtool_tests(str(ALERTS))))

    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_scraping_finds_the_daemonset() -> None:
    """The label, the port's name and the namespace it keeps by are those of the manifest."""
    job, daemonset = scrape(), manifest("DaemonSet")
    keep = next(step for step in job["relabel_configs"] if step.get("action") == "keep")
    label, port = keep["regex"].split(";")
    ports = {one["name"]: one["containerPort"] for one in daemonset["spec"]["template"]["spec"]["containers"][0]["ports"]}

    assert job["job_name"] == "kproxy"  # which the alert on a silent daemon names
    assert daemonset["spec"]["template"]["metadata"]["labels"]["k8s-app"] == label
    assert ports[port] == 10249
    assert job["kubernetes_sd_configs"][0]["namespaces"]["names"] == [daemonset["metadata"]["namespace"]]

# SPDX-License-Identifier: Apache-2.0
"""The dashboard: it asks for what the daemon exposes, and every panel says what it shows."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.unit.deploy.files import dashboard
from tests.unit.deploy.series import asked, exposed, unknown

DASHBOARD: Final = dashboard()
PANELS: Final[list[dict[str, Any]]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS: Final = [target for panel in PANELS for target in panel["targets"]]
EXPRESSIONS: Final = sorted({one["expr"] for one in [*TARGETS, *DASHBOARD["annotations"]["list"]]})
VARIABLES: Final = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_it_asks_for_what_there_is(expression: str) -> None:
    """A renamed metric or label would leave a panel empty."""
    assert unknown(expression) == []


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: str(target["expr"])[:60])
def test_legends_name_labels_that_are_left(target: dict[str, Any]) -> None:
    """A legend that names an aggregated label would show an empty word."""
    known = exposed()
    wanted = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
    kept = re.findall(r"\bby \(([^)]*)\)", target["expr"])
    labels = {label.strip() for group in kept for label in group.split(",")}
    if not kept:
        labels = set().union(*(known[one.name] for one in asked(target["expr"]))) | {"instance"}

    assert wanted <= labels


def test_variables() -> None:
    """Node, namespace and Service can be chosen, and each is made of a label that exists."""
    assert list(VARIABLES) == ["datasource", "node", "namespace", "service"]
    for variable in list(VARIABLES.values())[1:]:
        match = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"])
        assert match
        assert unknown(f"sum by ({match[2]}) ({match[1]})") == []


def test_every_panel_obeys_the_variables() -> None:
    """No panel shows other nodes than the chosen ones, or names a variable or data source that is not there."""
    for target in TARGETS:
        expression = target["expr"]
        assert expression.count('instance=~"$node"') == len(list(asked(expression))), expression
        assert set(re.findall(r"\$(\w+)", expression)) <= {*VARIABLES, "__rate_interval"}
        assert target["datasource"]["uid"] == "${datasource}"


def test_every_panel_explains_itself() -> None:
    """Each has a title of its own and a sentence; identifiers are unique."""
    titles = [panel["title"] for panel in PANELS]

    assert len(set(titles)) == len(titles)
    assert all(panel["description"].endswith(".") for panel in PANELS)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_panels_fill_their_rows_and_do_not_overlap() -> None:
    """The grid of 24 columns is full wherever it is used."""
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    height = max(y for _, y in taken) + 1
    assert set(taken) == {(x, y) for x in range(24) for y in range(height)}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on PATH")
def test_prometheus_understands_every_expression(tmp_path: Path) -> None:
    """Its own parser takes them all, variables filled in."""
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m")}
        for number, expression in enumerate(EXPRESSIONS)
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr

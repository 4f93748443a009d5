# SPDX-License-Identifier: Apache-2.0
"""Every case that this tree holds, on the pure code: units by their adapters, traffic against the model."""

from pathlib import Path
from typing import Any, Final

import pytest

from tests.conformance.applies import MODES, excluded
from tests.conformance.build import completed
from tests.conformance.model import run_case
from tests.conformance.runner import load, main, run, run_unit

CASES: Final = Path(__file__).parent / "cases"
UNITS: Final = [case for name in ("units", "more-units") for case in load(CASES / f"{name}.yaml") if not case.get("inner")]
TRAFFIC: Final = [completed(case) for name in ("traffic", "more-traffic") for case in load(CASES / f"{name}.yaml")]
EVERY: Final = [(case, mode) for case in TRAFFIC for mode in MODES if not excluded(case, mode, packets=False)]


@pytest.mark.parametrize("case", UNITS, ids=lambda case: case["id"])
def test_unit(case: dict[str, Any]) -> None:
    """Kproxy answers a unit case as it is expected to, or the case is about a mode that is not built."""
    result = run_unit(case)

    assert result.ok, result.words


@pytest.mark.parametrize(("case", "mode"), EVERY, ids=[f"{case['id']}-{mode}" for case, mode in EVERY])
def test_traffic(case: dict[str, Any], mode: str) -> None:
    """The model lets each packet meet what it is expected to meet."""
    result = run_case(case, mode)

    assert result.ok, result.words


@pytest.mark.parametrize(
    "expect", ["DROP", "REJECT", "NONE", "ACCEPT", ["10.180.0.9:80"], ["10.180.0.1:80", "10.180.0.9:80"]]
)
def test_runner_sees_a_wrong_answer(expect: object) -> None:
    """An expectation that does not hold fails the case."""
    case = next(case for case in TRAFFIC if case["flows"][0]["expect"] == ["10.180.0.1:80"])
    wrong = case | {"flows": [case["flows"][0] | {"expect": expect}]}

    results = run([wrong], "model")

    assert [result.ok for result in results if not result.skipped].count(True) == 0


def test_runner_sees_a_wrong_masquerade() -> None:
    """A source that is rewritten against the expectation fails the case."""
    case = next(case for case in TRAFFIC if case["flows"][0]["expect"] == ["10.180.0.1:80"])
    flow = case["flows"][0]

    results = run([case | {"flows": [flow | {"masquerade": not flow["masquerade"]}]}], "model")

    assert not any(result.ok for result in results if not result.skipped)


@pytest.mark.parametrize(
    "text",
    [
        "- {id: X-1, area: no_such_area, title: t, input: {}, expect: {}}",
        "- {id: X-2, title: t}",
        "- {id: X-3, area: skip_service, title: t, only_modes: [ebpf], input: {clusterIP: None, type: null}, expect: {}}",
        "- {id: X-5, title: t, flows: [{from: node, dst_ip: 10.0.0.1, dst_port: 80, expect: DROP}]}",
        "- {id: X-6, title: t, flows: [{from: external, src_ip: 10.0.0.9, dst_ip: 10.0.0.1, dst_port: 80, expect: drop}]}",
        "- {id: X-4, area: ipvs, title: t, input: {}, expect: {}}",
        "[]",
    ],
)
def test_runner_refuses_what_fits_no_rule(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A case that fits no rule, and a file of which nothing runs, are failures."""
    path = tmp_path / "cases.yaml"
    path.write_text(text, encoding="utf-8")

    assert main([str(path), "model"]) == 1
    assert capsys.readouterr().out.splitlines()[-1].endswith(" failed")

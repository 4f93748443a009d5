# SPDX-License-Identifier: Apache-2.0
"""Run a file of cases in one mode and tell what came of it."""

import importlib
import importlib.util
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from kproxy.table.terms import Mode
from tests.conformance.applies import INNER, MODES, excluded, unfit
from tests.conformance.build import completed
from tests.conformance.model import run_case
from tests.conformance.result import ModeNotBuilt, Result

Case = dict[str, Any]
MODEL = "model"
NOT_BUILT = "mode not built"


def load(path: Path) -> list[Case]:
    """Read a case file."""
    cases: list[Case] = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    return cases


def main(arguments: Sequence[str]) -> int:
    """Run ``FILE MODE [SHARE]``; 0 when something ran and nothing failed. Share 2/3 is every third case from the second."""
    share = _share(arguments[2]) if len(arguments) == 3 else slice(None)
    if len(arguments) not in (2, 3) or arguments[1] not in (MODEL, *MODES) or share is None:
        print(f"usage: python -m tests.conformance FILE {'|'.join((MODEL, *MODES))} [NUMBER/OF]", file=sys.stderr)
        return 2
    return report(run(load(Path(arguments[0]))[share], arguments[1]))


def _share(text: str) -> slice | None:
    """Read a share; None when it is none."""
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        return None
    return slice(int(number) - 1, None, int(of))


def run(cases: Sequence[Case], mode: str) -> list[Result]:
    """Run units and traffic, whatever the file holds."""
    cases = [completed(case) for case in cases]
    results = [Result(str(case.get("id")), ok=False, words=f"fits no rule: {unfit(case)}") for case in cases if unfit(case)]
    fit = [case for case in cases if not unfit(case)]
    results += [run_unit(case) for case in fit if "area" in case]
    traffic = [case for case in fit if "area" not in case]
    return results + (run_traffic_on_model(traffic) if mode == MODEL else run_packets(traffic, mode))


def run_unit(case: Case) -> Result:
    """Run one unit case by the adapter of its area."""
    name, area = case["id"], case["area"]
    if case.get("inner"):
        return Result(name, ok=True, mode="units", skipped=INNER)
    if importlib.util.find_spec(f"tests.conformance.areas.{area}") is None:
        return Result(name, ok=False, words=f"fits no rule: nothing answers for area {area}", mode="units")
    try:
        importlib.import_module(f"tests.conformance.areas.{area}").run(case)
    except ModeNotBuilt:
        return Result(name, ok=True, mode="units", skipped=NOT_BUILT)
    except KeyError as error:
        return Result(name, ok=False, words=f"{case.get('title', area)}: nothing says {error}", mode="units")
    except Exception as error:  # noqa: BLE001 - whatever breaks an adapter breaks this case and no other
        return Result(name, ok=False, words=f"{case.get('title', area)}: {type(error).__name__}: {error}", mode="units")
    return Result(name, ok=True, mode="units")


def run_traffic_on_model(cases: Iterable[Case]) -> list[Result]:
    """Run every case in every mode it names."""
    results = []
    for case in cases:
        for mode in MODES:
            rule = excluded(case, mode, packets=False)
            results.append(Result(case["id"], ok=True, mode=mode, skipped=rule) if rule else _on_model(case, mode))
    return results


def _on_model(case: Case, mode: str) -> Result:
    try:
        return run_case(case, mode)
    except Exception as error:  # noqa: BLE001 - a case that breaks the model hides no other case's verdict
        return Result(case["id"], ok=False, words=f"{type(error).__name__}: {error}", mode=mode)


def run_packets(cases: Sequence[Case], mode: str) -> list[Result]:
    """Send the flows of the cases that apply as real packets."""
    results, applicable = [], []
    for case in cases:
        rule = excluded(case, mode, packets=True)
        if rule:
            results.append(Result(case["id"], ok=True, mode=mode, skipped=rule))
        else:
            applicable.append(case)
    if not applicable:
        return results
    if Mode(mode) not in importlib.import_module("kproxy.daemon.modes").MODES:
        return results + [Result(case["id"], ok=True, mode=mode, skipped=NOT_BUILT) for case in applicable]
    return results + list(importlib.import_module("tests.conformance.packets.runner").run(applicable, mode))


def report(results: Sequence[Result]) -> int:
    """Print what failed, a line for each mode, and the sum; 0 when something ran and nothing failed."""
    failed = [result for result in results if not result.ok]
    for result in failed:
        print(f"FAILED {result.id}{f' ({result.mode})' if result.mode else ''}: {result.words}")
    for mode in dict.fromkeys(result.mode for result in results if result.mode):
        own = [result for result in results if result.mode == mode]
        ran = sum(not result.skipped for result in own)
        rules = Counter(result.skipped for result in own if result.skipped)
        unbuilt = rules.pop(NOT_BUILT, 0)
        why = "; ".join(f"{count}: {rule}" if len(rules) > 1 else rule for rule, count in rules.items())
        line = f"{mode}: run {ran}, excluded {rules.total()}{f' ({why})' if why else ''}"
        print(f"{line}, {NOT_BUILT}: {unbuilt}" if unbuilt else line)
    passed = sum(result.ok and not result.skipped for result in results)
    if not passed and not failed:
        print("nothing ran")
    print(f"{passed} passed, {len(failed)} failed")
    return 0 if passed and not failed else 1

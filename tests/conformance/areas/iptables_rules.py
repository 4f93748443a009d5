# SPDX-License-Identifier: Apache-2.0
"""Area iptables_rules: the rules of iptables mode, by their effect."""

import re
from typing import Any

from kproxy.dataplanes.iptables import layout, skeleton
from kproxy.dataplanes.iptables.layout import Chain, Options
from kproxy.dataplanes.iptables.rules import Rule
from kproxy.dataplanes.iptables.shares import probability
from kproxy.table.node import FamilyFacts
from kproxy.table.terms import Family


def run(case: dict[str, Any]) -> None:
    """Write the rules a case asks for and compare what of them it names."""
    inputs, expected = case["input"], case["expect"]
    if not isinstance(inputs, list):
        inputs, expected = [inputs], [expected]
    for given, expect in zip(inputs, expected, strict=True):
        found = _answer(given)
        if found != expect:
            raise AssertionError(f"{given}: {found}, not {expect}")


def _answer(given: dict[str, Any]) -> Any:
    match given:
        case {"n": count}:
            return {"text": f"{float(probability(1, count).rpartition(' ')[2]):.10f}"}
        case {"tcpBeLiberal": liberal}:
            forward = _chains(Options(drop_invalid=not liberal))[layout.FORWARD]
            return any("--ctstate INVALID -j DROP" in rule.text for rule in forward)
        case {"hasRandomFully": fully}:
            (rule,) = _masquerading(Options(random_fully=fully))
            return "--random-fully" if rule.endswith("-j MASQUERADE --random-fully") else "plain"
        case {"masqueradeBit": bit}:
            return _marks(Options(masquerade_bit=bit))
    raise KeyError(f"nothing answers {given}")


def _chains(options: Options) -> dict[Chain, tuple[Rule, ...]]:
    return dict(skeleton.fixed(Family.IPV4, FamilyFacts(), options))


def _masquerading(options: Options) -> list[str]:
    return [rule.text for rule in _chains(options)[layout.MASQUERADE] if "MASQUERADE" in rule.text]


def _marks(options: Options) -> dict[str, str]:
    """Read the mark that leads to masquerading, and what it is replaced by before the packet leaves."""
    chains = _chains(options)
    leading = re.search(r"--mark (\S+)/(\S+)", chains[layout.POSTROUTING][0].text)
    clearing = re.search(r"--set-xmark (\S+)/(\S+)", chains[layout.MASQUERADE][0].text)
    if not leading or not clearing or leading[2] != clearing[2]:
        raise AssertionError("another bit is cleared than the one that is looked for")
    return {"mark": leading[1], "clearedWith": clearing[1]}

# SPDX-License-Identifier: Apache-2.0
"""Reads what of ours the kernel holds: chains by their prefix, jumps to them by their comment."""

from kproxy.dataplanes.iptables.committed import Found
from kproxy.dataplanes.iptables.layout import COMMENT, PREFIX, TABLES, Chain
from kproxy.dataplanes.iptables.rules import Rule
from kproxy.kernel import ipset
from kproxy.kernel.xtables import Table, Xtables
from kproxy.table.terms import Family


def read_back(xtables: Xtables, *, sets: bool) -> Found:
    """Read our chains, the rules of built-in chains that lead to them, and our ipsets. Raises KernelError."""
    saved = xtables.save()
    found = Found()
    for name in TABLES:
        if name in saved:
            _read(name, saved[name], found)
    if sets:
        found.sets = frozenset(own_sets(xtables.family))
    return found


def own_sets(family: Family) -> list[str]:
    """Return the names of our ipsets of a family. Raises KernelError."""
    prefix = f"{PREFIX}{'4' if family is Family.IPV4 else '6'}-"
    return [name for name in ipset.names() if name.startswith(prefix)]


def _read(name: str, table: Table, found: Found) -> None:
    rules: dict[Chain, list[Rule]] = {(name, chain): [] for chain in table.chains if chain.startswith(PREFIX)}
    jumps: dict[Chain, list[str]] = {}
    for rule in table.rules:
        if rule.chain.startswith(PREFIX):
            rules[name, rule.chain].append(Rule(rule.text))
        elif rule.target.startswith(PREFIX) and rule.comment == COMMENT and table.built_in(rule.chain):
            jumps.setdefault((name, rule.chain), []).append(rule.text)
    found.chains.update((chain, tuple(each)) for chain, each in rules.items())
    found.jumps.update((chain, tuple(each)) for chain, each in jumps.items())

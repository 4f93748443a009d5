# SPDX-License-Identifier: Apache-2.0
"""Compiling, held to a kernel of dictionaries: each section leaves what a packet can walk, the last what was wanted."""

import re

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kproxy.dataplanes.iptables import layout
from kproxy.dataplanes.iptables.committed import Committed, Found
from kproxy.dataplanes.iptables.compile import compile_changes
from kproxy.dataplanes.iptables.layout import JUMPS, Chain, Options
from kproxy.dataplanes.iptables.rules import Rule
from kproxy.dataplanes.iptables.transaction import IptablesTransaction, Line
from kproxy.table.endpoint import Endpoint
from kproxy.table.route import Route
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Family
from tests.examples import examples
from tests.unit.dataplanes.tables import changes, endpoint, frontend, node, route, table, tables

V4 = Family.IPV4
bounded = settings(deadline=None, max_examples=examples(50), suppress_health_check=list(HealthCheck))


class Kernel:
    """Chains as ``iptables-restore --noflush`` would leave them. Refuses what the kernel would."""

    def __init__(self) -> None:
        self.chains: dict[Chain, list[str]] = {built_in: [] for built_in, _ in JUMPS}

    def restore(self, lines: list[Line]) -> None:
        """Carry out text; after each section nothing leads nowhere."""
        name = ""
        for line in lines:
            verb, _, rest = line.text.partition(" ")
            if verb.startswith("*"):
                name = verb[1:]
            elif verb.startswith(":"):
                self.chains[name, verb[1:]] = []
            elif verb == "-A":
                chain, _, text = rest.partition(" ")
                self.chains[name, chain].append(f" {text}")
            elif verb == "-I":
                chain, _, text = rest.partition(" 1 ")
                self.chains[name, chain].insert(0, f" {text}")
            elif verb == "-X":
                assert not self.chains.pop((name, rest))
            elif verb == "COMMIT":
                self.check()
            else:
                raise AssertionError(line.text)

    def check(self) -> None:
        """See that every jump has a target, and that a chain of ours that is reached is not empty by accident."""
        for (name, _), rules in self.chains.items():
            for rule in rules:
                target = re.search(r" -[jg] (KPX-\S+)", rule)
                assert target is None or (name, target[1]) in self.chains, rule

    def ours(self) -> dict[Chain, list[str]]:
        """Return what is ours."""
        return {chain: rules for chain, rules in self.chains.items() if chain[1].startswith(layout.PREFIX)}


def compiled(committed: Committed, before: RoutingTable | None, after: RoutingTable) -> IptablesTransaction:
    """Compile a change."""
    return compile_changes(committed, changes(before, after), Options(), V4)


@bounded
@given(st.lists(tables(V4), min_size=1, max_size=4))
def test_every_way_leads_to_what_a_fresh_start_makes(history: list[RoutingTable]) -> None:
    """Step by step from table to table, the kernel ends with exactly the chains that a load of the last would make."""
    kernel, committed = Kernel(), Committed(Found())
    before = None
    for after in history:
        transaction = compiled(committed, before, after)
        kernel.restore(transaction.lines())
        kernel.restore(transaction.later())
        committed.advance(transaction.outcome)
        before = after
    fresh = compiled(Committed(Found()), None, history[-1])
    assert kernel.ours() == {chain: [rule.text for rule in rules] for chain, rules in fresh.after.items()}
    assert committed.counts == fresh.outcome.counts
    assert compiled(committed, None, history[-1]).operations == 0


@bounded
@given(tables(V4), tables(V4))
def test_a_restart_needs_only_what_differs(before: RoutingTable, after: RoutingTable) -> None:
    """What is read back is compared as text: the same table is no operation, another one is reached from there."""
    kernel = Kernel()
    first = compiled(Committed(Found()), None, before)
    kernel.restore(first.lines())
    from_found = compiled(_read(kernel, first.outcome.sets), None, after)
    kernel.restore(from_found.lines())
    kernel.restore(from_found.later())
    assert kernel.ours() == {
        chain: [rule.text for rule in rules] for chain, rules in compiled(Committed(Found()), None, after).after.items()
    }
    assert compiled(_read(kernel, from_found.outcome.sets), None, after).operations == 0


def _read(kernel: Kernel, sets: frozenset[str]) -> Committed:
    chains = {chain: tuple(Rule(text) for text in rules) for chain, rules in kernel.ours().items()}
    return Committed(Found(chains, {built_in: tuple(kernel.chains[built_in]) for built_in, _ in JUMPS}, sets))


def _many(count: int) -> list[Route]:
    return [route(V4, f"web-{number}", [frontend(V4, number)], [endpoint(V4, number)]) for number in range(1, count)]


def test_a_change_rewrites_one_leaf() -> None:
    """Among 200 Services the change of one is some tens of lines, all of its leaf."""
    routes = _many(200)
    before = table(node(V4), routes)
    committed = Committed(Found())
    committed.advance(compiled(committed, None, before).outcome)
    more: tuple[Endpoint, ...] = (*routes[7].all, endpoint(V4, 250))
    routes[7] = msgspec.structs.replace(routes[7], all=more)
    transaction = compiled(committed, before, table(before.node, routes))

    assert len(transaction.after) == 1
    assert len(transaction.lines()) < 80


def test_a_refusal_comes_before_the_translation_goes_and_goes_after_it_comes() -> None:
    """A Service that loses its last endpoint, while another gets its first, is never neither translated nor refused."""
    one, other = route(V4, "one", [frontend(V4, 1)], [endpoint(V4, 1)]), route(V4, "other", [frontend(V4, 2)], [])
    before = table(node(V4), [one, other])
    committed = Committed(Found())
    committed.advance(compiled(committed, None, before).outcome)
    after = table(
        before.node, [route(V4, "one", [frontend(V4, 1)], []), route(V4, "other", [frontend(V4, 2)], [endpoint(V4, 1)])]
    )
    lines = [line.text for line in compiled(committed, before, after).lines()]
    sections = "\n".join(lines).split("COMMIT")
    early, translated, late = sections[0], next(part for part in sections if "*nat" in part), sections[-2]

    assert "10.96.0.1/32" in early
    assert "10.96.0.2/32" in early
    assert "10.96.0.2/32" in translated
    assert "*filter" in late
    assert "10.96.0.1/32" in late
    assert "10.96.0.2/32" not in late

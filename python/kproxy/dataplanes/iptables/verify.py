# SPDX-License-Identifier: Apache-2.0
"""Compares what is committed with a table.

What was read back is compared rule by rule as text. What is only remembered is compared route by route: what its chains hold
follows from it.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from kproxy.dataplanes.contract import Difference
from kproxy.dataplanes.iptables import jumps
from kproxy.dataplanes.iptables.committed import Committed, Found
from kproxy.dataplanes.iptables.layout import Options
from kproxy.dataplanes.iptables.rules import Chains, Rule
from kproxy.dataplanes.iptables.state import Setting, State
from kproxy.table.route import Route, RouteKey
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Family, Protocol

_OWNER: Final = re.compile(r' -p (\w+) -m comment --comment "?([^/"]+)/([^:"]+):([^"]*)"')


def differences(committed: Committed, table: RoutingTable, options: Options, family: Family) -> Sequence[Difference]:
    """Return everything that is not as the table says. A read-back that agrees is known, route by route, from then on."""
    setting = Setting(family, options, table.node.of(family))
    if committed.state is not None:
        return list(_remembered(committed.state, setting, {route.key: route for route in table.routes(family)}))
    state = State.of(setting, table.routes(family))
    here = state.everything()
    found = committed.found or Found()
    differing = [*_found(found, here, family)]
    differing += [
        Difference(f"ipset {name} is {'surplus' if name in found.sets else 'missing'}") for name in state.sets() ^ found.sets
    ]
    if not differing and not jumps.strays(found):
        committed.know(state, here)
    return differing


def _remembered(state: State, setting: Setting, wanted: dict[RouteKey, Route]) -> Iterator[Difference]:
    if state.setting != setting:
        yield Difference("the rules are those of other node facts or options")
    for key in state.routes.keys() | wanted.keys():
        before, after = state.routes.get(key), wanted.get(key)
        if before != after:
            words = "is missing" if before is None else "is surplus" if after is None else "is not as the table says"
            yield Difference(f"{key} {words}", key)


def _found(found: Found, here: Chains, family: Family) -> Iterator[Difference]:
    for chain in here:
        if chain not in found.chains:
            yield Difference(f"chain {chain[1]} of table {chain[0]} is missing", _owner(here[chain], family))
        else:
            yield from _rules(found.chains, here, chain[0], chain[1], family)
    for table, name in found.chains.keys() - here.keys():
        yield Difference(f"chain {name} of table {table} is surplus", _owner(found.chains[table, name], family))
    for table, built_in in jumps.missing(found):
        yield Difference(f"chain {built_in} of table {table} does not lead to ours")


def _rules(there: Chains, here: Chains, table: str, name: str, family: Family) -> Iterator[Difference]:
    held, wanted = there[table, name], here[table, name]
    texts, due = [rule.text for rule in held], [rule.text for rule in wanted]
    if texts == due:
        return
    lost = [rule for rule in wanted if rule.text not in set(texts)]
    surplus = [rule for rule in held if rule.text not in set(due)]
    for rule in lost:
        yield Difference(f"chain {name} of table {table} lacks the rule{rule.text}", rule.key)
    for rule in surplus:
        yield Difference(f"chain {name} of table {table} has the surplus rule{rule.text}", _owner((rule,), family))
    if not lost and not surplus:
        yield Difference(f"the rules of chain {name} of table {table} stand in another order")


def _owner(rules: Sequence[Rule], family: Family) -> RouteKey | None:
    """Return whose rules these are, as far as they tell."""
    for rule in rules:
        if rule.key:
            return rule.key
        match = _OWNER.search(rule.text)
        if match:
            return RouteKey(match[2], match[3], match[4], Protocol(match[1].upper()), family)
    return None

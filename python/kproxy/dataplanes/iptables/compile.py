# SPDX-License-Identifier: Apache-2.0
"""From changes of the table to a transaction. Pure: reads what is committed, alters nothing.

Only the leaves of changed frontends, the nodes on the way to them and the changed routes' own chains are written out and
compared; after a read-back, or when the node itself is another, all of them.
"""

from collections.abc import Iterable
from typing import Final

from kproxy.dataplanes.iptables import jumps
from kproxy.dataplanes.iptables.affinity import LIST_CLIENTS, sets_of
from kproxy.dataplanes.iptables.committed import Committed, Found, Outcome
from kproxy.dataplanes.iptables.layout import WORDS, Chain, Options
from kproxy.dataplanes.iptables.rules import Chains
from kproxy.dataplanes.iptables.state import Setting, State, Written
from kproxy.dataplanes.iptables.transaction import IptablesTransaction, Sets
from kproxy.table.route import Route, RouteKey
from kproxy.table.routing_table import Changes
from kproxy.table.terms import Family, Method

METHODS: Final = frozenset({Method.RANDOM})


def compile_changes(committed: Committed, changes: Changes, options: Options, family: Family) -> IptablesTransaction:
    """Return the transaction that takes the kernel from ``committed`` to ``changes.after``."""
    setting = Setting(family, options, changes.after.node.of(family))
    before = committed.state
    if before is None or changes.before is None:
        after = State.of(setting, changes.after.routes(family))
        there: Chains = before.everything() if before else (committed.found or Found()).chains
        here: Written = after.everything()
        routes: Iterable[Route] = after.routes.values()
        sets = Sets(tuple(sorted(after.sets() - committed.sets)), tuple(sorted(committed.sets - after.sets())))
    else:
        wanted = {change.key: change.after for change in changes.routes if change.key.family is family}
        routes = [route for route in wanted.values() if route is not None]
        if changes.node and before.setting != setting:
            stay = {key: route for key, route in before.routes.items() if key not in wanted}
            after = State.of(setting, [*stay.values(), *routes])
            there, here = before.everything(), after.everything()
        else:
            after = before.changed(wanted)
            there, here = after.differing(before, wanted)
        sets = _changed_sets(before, wanted, options)
    return _transaction(committed, after, there, here, sets, _limits(routes, options))


def _changed_sets(before: State, wanted: dict[RouteKey, Route | None], options: Options) -> Sets:
    old = {name for key in wanted if (route := before.routes.get(key)) for name in sets_of(route, options)}
    new = {name for route in wanted.values() if route for name in sets_of(route, options)}
    return Sets(tuple(sorted(new - old)), tuple(sorted(old - new)))


def _transaction(
    committed: Committed, after: State, there: Chains, here: Written, sets: Sets, limits: dict[RouteKey, str]
) -> IptablesTransaction:
    written = {chain: rules for chain, rules in here.items() if _texts(there, chain) != _texts(here, chain)}
    gone = tuple(sorted(there.keys() - here.keys()))
    found = (committed.found or Found()) if committed.state is None else None
    outcome = Outcome(
        committed.revision,
        after,
        {chain: tuple(rule.count for rule in rules) for chain, rules in _counted(committed, here, written).items()},
        gone,
        (committed.sets | set(sets.come)) - set(sets.gone),
    )
    return IptablesTransaction(
        WORDS[after.setting.family],
        outcome,
        {chain: there[chain] for chain in (*written, *gone) if chain in there},
        written,
        gone,
        jumps.missing(found) if found else (),
        jumps.strays(found) if found else (),
        sets,
        found is not None and not found.jumps,
        limits,
    )


def _counted(committed: Committed, here: Written, written: Written) -> Written:
    """Return the chains whose counters are to be learned: after a read-back those that stay too."""
    return here if committed.state is None else written


def _texts(chains: Chains, chain: Chain) -> list[str] | None:
    return [rule.text for rule in chains[chain]] if chain in chains else None


def _limits(routes: Iterable[Route], options: Options) -> dict[RouteKey, str]:
    limits = {}
    for route in routes:
        words = []
        if route.method not in METHODS:
            words.append(f"mode iptables has no method {route.method}: endpoints are chosen at random, by weight")
        if route.affinity and not options.sets:
            words.append(
                f"without ipset an endpoint remembers {LIST_CLIENTS} clients, and forgets the oldest for the next: install "
                "ipset, and give kproxy CAP_NET_RAW"
            )
        if route.proxy_protocol:
            words.append("mode iptables sends no PROXY protocol header, which the Service asks for: take mode userspace")
        if words:
            limits[route.key] = "; ".join(words)
    return limits

# SPDX-License-Identifier: Apache-2.0
"""kube-proxy's chains in iptables: which of a table are its own, and the text that takes them out. Pure.

Two steps, so that no packet meets a half-emptied chain: first the jumps go, then the chains they led to. A chain that a rule
of somebody else still points to stays (CNI plugins use KUBE-MARK-MASQ), with whatever it leads to itself.
"""

from collections.abc import Iterable, Mapping

import msgspec

from kproxy.dataplanes.upstream.names import JUMP_COMMENT, is_chain
from kproxy.kernel.xtables import Rule, Table


class Leftovers(msgspec.Struct, frozen=True):
    """What of one table is kube-proxy's: jumps from built-in chains, chains to delete, and chains that others still use."""

    table: str
    jumps: tuple[Rule, ...] = ()
    chains: tuple[str, ...] = ()
    kept: Mapping[str, str] = {}  # chain -> the rule of somebody else that points to it

    def __bool__(self) -> bool:
        return bool(self.jumps or self.chains)


def _is_jump(table: Table, rule: Rule, own: set[str]) -> bool:
    """Tell whether a rule is one of the jumps that kube-proxy puts into built-in chains."""
    return rule.target in own and table.built_in(rule.chain) and rule.comment.startswith(JUMP_COMMENT)


def _reachable(start: Iterable[str], rules: Iterable[Rule]) -> set[str]:
    edges: dict[str, set[str]] = {}
    for rule in rules:
        edges.setdefault(rule.chain, set()).add(rule.target)
    reached: set[str] = set()
    waiting = list(start)
    while waiting:
        chain = waiting.pop()
        if chain not in reached:
            reached.add(chain)
            waiting += edges.get(chain, ())
    return reached


def leftovers(name: str, table: Table) -> Leftovers:
    """Tell kube-proxy's part of a table from everybody else's."""
    own = {chain for chain in table.chains if is_chain(name, chain)}
    jumps = tuple(rule for rule in table.rules if _is_jump(table, rule, own))
    foreign = {
        rule.target: f"{rule.chain}{rule.text}"
        for rule in table.rules
        if rule.target in own and rule.chain not in own and not _is_jump(table, rule, own)
    }
    needed = _reachable(foreign, (rule for rule in table.rules if rule.chain in own)) & own
    return Leftovers(name, jumps, tuple(sorted(own - needed)), foreign)


def unlink(found: Iterable[Leftovers]) -> str:
    """Return the restore text that takes the jumps out."""
    return _text((item.table, [f"-D {rule.chain}{rule.text}" for rule in item.jumps]) for item in found)


def delete(found: Iterable[Leftovers]) -> str:
    """Return the restore text that empties the chains and deletes them, all of a table at once."""
    return _text(
        (item.table, [f":{chain} - [0:0]" for chain in item.chains] + [f"-X {chain}" for chain in item.chains])
        for item in found
    )


def _text(parts: Iterable[tuple[str, list[str]]]) -> str:
    return "".join("\n".join([f"*{table}", *lines, "COMMIT", ""]) for table, lines in parts if lines)

# SPDX-License-Identifier: Apache-2.0
"""A change as ``iptables-restore`` text, in sections that the kernel takes one after the other.

New chains come first, then the chains that lead to them; a refusal comes before the translation it replaces goes, and goes
after the translation that replaces it has come. Chains that nothing leads to any more wait until no packet can be in them.
"""

from collections.abc import Iterator, Mapping

import msgspec

from kproxy.dataplanes.iptables import layout
from kproxy.dataplanes.iptables.committed import Counted, Outcome
from kproxy.dataplanes.iptables.jumps import jump
from kproxy.dataplanes.iptables.layout import FILTER, JUMPS, NAT, Chain, Words
from kproxy.dataplanes.iptables.rules import Chains, Rule
from kproxy.table.route import RouteKey


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line of restore text, and whose it is."""

    text: str
    key: RouteKey | None = None


class Sets(msgspec.Struct, frozen=True):
    """The ipsets that come before the rules and go after them."""

    come: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


class IptablesTransaction(msgspec.Struct):
    """A change as a value.

    ``before``: the chains as they are that change or go; ``after``: those that are written; ``jumps`` are built-in chains
    that lack theirs, ``strays`` rules of built-in chains that go; ``is_first``: nothing leads to our chains yet.
    """

    words: Words
    outcome: Outcome
    before: Chains
    after: Chains
    gone: tuple[Chain, ...]
    jumps: tuple[Chain, ...]
    strays: tuple[tuple[Chain, str], ...]
    sets: Sets
    is_first: bool
    limits: Mapping[RouteKey, str]

    @property
    def operations(self) -> int:
        """How many lines it sends, those of later included."""
        return len(self.lines()) + len(self.later()) + len(self.sets.come) + len(self.sets.gone)

    def __str__(self) -> str:
        """Return the text of ipset and iptables-restore; what is sent later comes last."""
        come = "".join(f"{line}\n" for line in self.set_commands())
        gone = "".join(f"destroy {name}\n" for name in self.sets.gone)
        return come + text_of(self.lines()) + text_of(self.later()) + gone

    def set_commands(self) -> list[str]:
        """Return the ipset commands that come first. Entries carry their own time-outs."""
        family = self.words.set_family
        return [f"create {name} hash:ip family {family} timeout 0" for name in self.sets.come]

    def lines(self, counted: Counted | None = None) -> list[Line]:
        """Return the sections. ``counted``: what rules that are written anew begin counting at."""
        counted = counted or {}
        created = {table: self._written(table, new=True) for table in layout.TABLES}
        changed = {table: self._written(table, new=False) for table in layout.TABLES}
        early, late = changed[FILTER], {}
        if changed[NAT] or created[NAT]:
            late = {chain: rules for chain, rules in early.items() if self._lost(chain, rules)}
            early = {chain: (*rules, *self._lost(chain, rules)) for chain, rules in early.items()}
        lines: list[Line] = []
        for table, rewritten in ((FILTER, early), (NAT, changed[NAT])):
            jumps = list(self._jumps(table))
            if self.is_first:
                lines += _section(table, _chain_lines({**created[table], **rewritten}, counted), jumps)
            else:
                lines += _section(table, _chain_lines(created[table], counted))
                lines += _section(table, _chain_lines(rewritten, counted), jumps)
        return lines + _section(FILTER, _chain_lines(late, counted))

    def later(self) -> list[Line]:
        """Return what waits for packets in flight: chains that go."""
        lines: list[Line] = []
        for table in layout.TABLES:
            lines += deletion(table, [chain for chain in self.gone if chain[0] == table])
        return lines

    def _written(self, table: str, *, new: bool) -> Chains:
        return {
            chain: rules for chain, rules in self.after.items() if chain[0] == table and (chain not in self.before) is new
        }

    def _lost(self, chain: Chain, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        """Return the rules a chain has and shall not keep."""
        kept = {rule.text for rule in rules}
        return tuple(rule for rule in self.before.get(chain, ()) if rule.text not in kept)

    def _jumps(self, table: str) -> Iterator[Line]:
        for (where, chain), text in self.strays:
            if where == table:
                yield Line(f"-D {chain}{text}")
        for built_in, ours in JUMPS:
            if built_in in self.jumps and built_in[0] == table:
                yield Line(f"-I {built_in[1]} 1{jump(ours)}")


def deletion(table: str, chains: list[Chain]) -> list[Line]:
    """Return the section that empties chains and deletes them."""
    emptied = [Line(f":{name} - [0:0]") for _, name in chains]
    return _section(table, [*emptied, *(Line(f"-X {name}") for _, name in chains)])


def text_of(lines: list[Line]) -> str:
    """Return lines as restore text."""
    return "".join(f"{line.text}\n" for line in lines)


def _section(table: str, *parts: list[Line]) -> list[Line]:
    lines = [line for part in parts for line in part]
    return [Line(f"*{table}"), *lines, Line("COMMIT")] if lines else []


def _chain_lines(chains: Chains, counted: Counted) -> list[Line]:
    lines = [Line(f":{name} - [0:0]") for _, name in chains]
    for chain, rules in chains.items():
        counts = counted.get(chain, ())
        for index, rule in enumerate(rules):
            packets, octets = counts[index] if index < len(counts) else (0, 0)
            begin = f"[{packets}:{octets}] " if packets else ""
            lines.append(Line(f"{begin}-A {chain[1]}{rule.text}", rule.key))
    return lines

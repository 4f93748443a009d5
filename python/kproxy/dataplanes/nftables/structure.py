# SPDX-License-Identifier: Apache-2.0
"""Tables, sets, chains and rules as nft text.

Every piece of text may be sent again over what it made before: that is what repairs a table somebody has edited. Each chain
has an element in ``about``, a digest of its rules, so that a restart knows which of them are as it would write them.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from kproxy.dataplanes.nft_tables import Facts
from kproxy.dataplanes.nftables import layout
from kproxy.dataplanes.nftables.committed import Committed
from kproxy.dataplanes.nftables.elements import schemas
from kproxy.dataplanes.nftables.layout import Kind, Options, Reason, Scope, Words
from kproxy.dataplanes.nftables.shapes import (
    FIRST_SPECIAL,
    Balancer,
    Meeting,
    Rules,
    balancer_chain,
    dispatch_chain,
    policy_chain,
)
from kproxy.kernel.nft_elements import Schema, number_text
from kproxy.kernel.nft_rules import digest
from kproxy.table.errors import KernelError

AHEAD: Final = 16  # so many counts up and down have their chains made together


def declarations(table: str, schemas: Mapping[str, Schema]) -> Iterator[str]:
    """Yield the commands that make the table, its sets and the elements that are always there.

    Pointers to chains are emptied: those that are needed are written with their chains.
    """
    yield f"add table {table}"
    body = "\n".join(f"\t{schema.noun} {schema.name} {{\n{schema.declaration}\n\t}}" for schema in schemas.values())
    yield f"table {table} {{\n{body}\n}}"
    for schema in schemas.values():
        if schema.verdict or schema.name in {layout.ABOUT, layout.REFUSALS}:
            yield f"flush {schema.noun} {table} {schema.name}"
    yield f"add element {table} {layout.REFUSALS} {{ {', '.join(number_text(reason.code) for reason in Reason)} }}"
    yield f"add element {table} {layout.ABOUT} {{ {number_text(layout.ABOUT_VERSION)} : {number_text(layout.VERSION)} }}"


class Structure:
    """The chains a transaction needs; what is there already is not written again.

    ``used`` are the balancers that were asked for. What the transaction adds: ``chains`` and ``late_chains`` as digests,
    ``verdicts``, the pointers to them, and ``codes`` of balancers; ``dropped`` are chains it takes away.
    """

    def __init__(self, committed: Committed, table: str, words: Words, options: Options, facts: Facts) -> None:
        self.table, self.words, self.options, self.facts = table, words, options, facts
        self.committed = committed
        self.chains: dict[str, int] = {}
        self.late_chains: dict[str, int] = {}
        self.verdicts: dict[tuple[str, int], str] = {}
        self.codes: dict[Balancer, int] = {}
        self.dropped: list[str] = []
        self.used: set[tuple[Kind, Scope, Balancer]] = set()
        self._prepare: list[str] = []
        self._closing: list[str] = []
        if committed.facts != facts or not committed.chains:
            self._write_all()

    def _write_all(self) -> None:
        if not self.committed.chains:
            self._prepare += declarations(self.table, schemas(self.words.family, self.options))
        for name, rules in layout.static_chains(self.words):
            self._write(self._prepare, name, rules)
        for (name, code), target in self.committed.verdicts.items():
            for kind in Kind:
                if name == kind.policies:
                    self._write(self._prepare, target, self._policy(kind, Meeting.of_code(code >> 16)))
        self._write(self._closing, "dispatch", dispatch_chain(self.words, self.facts))
        for name, hook, rules in layout.base_chains(self.words, self.options):
            self._write(self._closing, name, rules, hook)
        for name in layout.COUNTING_CHAINS:
            if name in self.committed.chains and not self.options.count_bytes:
                self._drop(name)

    def _drop(self, name: str) -> None:
        self.dropped.append(name)
        self._closing.append(f"delete chain {self.table} {name}")
        self._closing.append(f"delete element {self.table} {layout.ABOUT} {{ {number_text(digest((name,)))} }}")

    def code(self, balancer: Balancer) -> int:
        """Return a balancer's code: its own, the known one, or the next that is free. Raises KernelError when none is."""
        known = balancer.plain_code or self.committed.codes.get(balancer) or self.codes.get(balancer)
        if known is None:
            taken = {*self.committed.codes.values(), *self.codes.values()}
            known = next((code for code in range(FIRST_SPECIAL + 1, 1 << 16) if code not in taken), None)
            if known is None:
                raise KernelError("there are more than 32,000 different affinity time-outs and endpoint counts together")
            self.codes[balancer] = known
        return known

    def need_policy(self, kind: Kind, met: Meeting) -> None:
        """See to the chain that tells clients apart."""
        if self._lacks(kind.policies, met.code << 16):
            target = f"{kind}-policy-{met}"
            self.verdicts[kind.policies, met.code << 16] = target
            self._write(self._prepare, target, self._policy(kind, met))

    def need_balancer(self, kind: Kind, scope: Scope, balancer: Balancer) -> None:
        """See to the chain that picks a slot."""
        self.used.add((kind, scope, balancer))
        self._see_to(kind, scope, balancer)

    def need_around(self, kind: Kind, scope: Scope, balancer: Balancer) -> None:
        """See to the chains of neighbouring counts as well."""
        for near in balancer.around(AHEAD):
            self._see_to(kind, scope, near)

    def _see_to(self, kind: Kind, scope: Scope, balancer: Balancer) -> None:
        name, code = kind.balancers(scope), self.code(balancer)
        if self._lacks(name, code):
            target = f"{kind}-{scope}-{balancer}"
            self.verdicts[name, code] = target
            self._write(self._prepare, target, balancer_chain(balancer, kind, scope, self.words))

    def prepare(self) -> list[str]:
        """Return the commands that come before the elements. With a new table come chains that may be wanted next."""
        if not self.committed.chains:
            for use in sorted(self.used, key=str):
                self.need_around(*use)
        pointers = [
            f"add element {self.table} {name} {{ {number_text(code)} : goto {target} }}"
            for (name, code), target in self.verdicts.items()
        ]
        return self._prepare + pointers

    def closing(self) -> list[str]:
        """Return the commands that come after the elements; with them what others left under our names goes."""
        return self._closing + [f"delete table {self.words.ip} {name}" for name in self.committed.obsolete]

    def _policy(self, kind: Kind, met: Meeting) -> Rules:
        return policy_chain(met, kind, self.words, self.options, self.facts.family.pods)

    def _lacks(self, name: str, code: int) -> bool:
        return (name, code) not in self.committed.verdicts and (name, code) not in self.verdicts

    def _write(self, text: list[str], name: str, rules: Rules, hook: str = "") -> None:
        known = self.committed.chains.get(name)
        now = digest((hook, *rules))
        if known == now:
            return
        (self.chains if text is self._prepare else self.late_chains)[name] = now
        text.append(f"add chain {self.table} {name}" + (f" {{ {hook}; }}" if hook else ""))
        text.append(f"flush chain {self.table} {name}")
        text += [f"add rule {self.table} {name} {rule}" for rule in rules]
        key = number_text(digest((name,)))
        if known is not None:
            text.append(f"delete element {self.table} {layout.ABOUT} {{ {key} }}")
        text.append(f"add element {self.table} {layout.ABOUT} {{ {key} : {number_text(now)} }}")

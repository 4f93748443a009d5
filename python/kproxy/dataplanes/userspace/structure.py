# SPDX-License-Identifier: Apache-2.0
"""Table, sets, chains and rules as nft text. All of it is a function of options, facts and policy codes.

Every piece may be sent again over what it made before: that is what repairs a table somebody has edited. ``about`` holds a
digest of the text, so that a restart knows whether the chains are as it would write them.
"""

from collections.abc import Iterable, Iterator

import msgspec

from kproxy.dataplanes.nft_tables import Facts
from kproxy.dataplanes.userspace import layout
from kproxy.dataplanes.userspace.judging import chain_name, dispatch_chain, policy_chain
from kproxy.dataplanes.userspace.layout import Chain, Options, Reason, Words
from kproxy.kernel.nft_elements import Schema, number_text
from kproxy.kernel.nft_rules import digest


class Structure(msgspec.Struct, frozen=True):
    """The chains that options, facts and codes lead to."""

    words: Words
    options: Options
    facts: Facts
    codes: frozenset[int]

    @property
    def digest(self) -> int:
        """Return the number that stands for all of it."""
        chains = (*self._called(), *self._calling())
        return digest(f"{name} {hook} {rule}" for name, hook, rules in chains for rule in ("", *rules))

    def _called(self) -> Iterator[Chain]:
        yield from layout.static_chains(self.words, self.options)
        yield from self._policies(self.codes)

    def _policies(self, codes: Iterable[int]) -> Iterator[Chain]:
        for code in sorted(codes):
            yield chain_name(code), "", policy_chain(code, self.words, self.facts.family.pods)

    def _calling(self) -> Iterator[Chain]:
        yield layout.ENTRANCE, "", dispatch_chain(self.words, self.facts)
        yield from layout.base_chains(self.words, self.options)

    def everything(self, table: str, schemas: Iterable[Schema]) -> list[str]:
        """Return the commands that make table, sets and chains, up to those that the kernel calls."""
        lines = list(_declarations(table, schemas))
        for chain in self._called():
            lines += _chain(table, chain)
        return lines + _pointers(table, self.codes)

    def more(self, table: str, codes: Iterable[int]) -> list[str]:
        """Return the commands that make the chains of some codes."""
        lines = [line for chain in self._policies(codes) for line in _chain(table, chain)]
        return lines + _pointers(table, codes)

    def closing(self, table: str) -> list[str]:
        """Return the commands that make the chains the kernel calls."""
        return [line for chain in self._calling() for line in _chain(table, chain)]

    def note(self, table: str, before: int | None) -> list[str]:
        """Return the commands that write the digest down in place of another."""
        key = number_text(layout.ABOUT_STRUCTURE)
        gone = [f"delete element {table} {layout.ABOUT} {{ {key} }}"] if before is not None else []
        return [*gone, f"add element {table} {layout.ABOUT} {{ {key} : {number_text(self.digest)} }}"]


def _declarations(table: str, schemas: Iterable[Schema]) -> Iterator[str]:
    """Yield what makes the table, its sets and the elements that are always there. Pointers to chains are emptied."""
    yield f"add table {table}"
    schemas = tuple(schemas)
    body = "\n".join(f"\t{schema.noun} {schema.name} {{\n{schema.declaration}\n\t}}" for schema in schemas)
    yield f"table {table} {{\n{body}\n}}"
    for schema in schemas:
        if schema.verdict or schema.name == layout.ABOUT:
            yield f"flush {schema.noun} {table} {schema.name}"
    yield f"add element {table} {layout.REFUSALS} {{ {', '.join(number_text(reason.code) for reason in Reason)} }}"
    yield f"add element {table} {layout.ABOUT} {{ {number_text(layout.ABOUT_VERSION)} : {number_text(layout.VERSION)} }}"


def _chain(table: str, chain: Chain) -> list[str]:
    name, hook, rules = chain
    return [
        f"add chain {table} {name}" + (f" {{ {hook}; }}" if hook else ""),
        f"flush chain {table} {name}",
        *(f"add rule {table} {name} {rule}" for rule in rules),
    ]


def _pointers(table: str, codes: Iterable[int]) -> list[str]:
    return [
        f"add element {table} {layout.POLICIES} {{ {number_text(code)} : goto {chain_name(code)} }}"
        for code in sorted(codes)
    ]

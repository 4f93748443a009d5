# SPDX-License-Identifier: Apache-2.0
"""The table, its sets and its rules as nft text.

Every piece of text may be sent again over what it made before: that is what repairs a table somebody has edited. All rules
are written together, in one transaction; a digest of their text stands in ``about``, so that a restart knows them again.
"""

import zlib
from collections.abc import Iterator

from kproxy.dataplanes.ipvs import layout
from kproxy.dataplanes.ipvs.elements import schemas
from kproxy.dataplanes.ipvs.layout import WORDS, Options, Reason, chains
from kproxy.dataplanes.nft_tables import Facts
from kproxy.kernel.nft_elements import number_text
from kproxy.table.terms import Family


def declarations(family: Family) -> Iterator[str]:
    """Yield the commands that make the table, its sets and the elements that are always there."""
    table = WORDS[family].table
    yield from (f"{verb} table {table}" for verb in ("add", "delete", "add"))  # what is there is not what we know
    for schema in schemas(family).values():
        yield f"add {schema.noun} {table} {schema.name} {{ {'; '.join(map(str.strip, schema.declaration.splitlines()))}; }}"
    yield f"add element {table} {layout.REFUSALS} {{ {', '.join(number_text(reason.code) for reason in Reason)} }}"
    version = f"{number_text(layout.ABOUT_VERSION)} : {number_text(layout.VERSION)}"
    yield f"add element {table} {layout.ABOUT} {{ {version} }}"


def closing(family: Family, options: Options, facts: Facts) -> Iterator[str]:
    """Yield the commands that write every rule anew."""
    words = WORDS[family]
    every = list(chains(words, options, facts))
    for chain in every:
        yield f"add chain {words.table} {chain.name}" + (f" {{ {chain.hook}; }}" if chain.hook else "")
        yield f"flush chain {words.table} {chain.name}"
    for chain in every:
        yield from (f"add rule {words.table} {chain.name} {rule}" for rule in chain.rules)


def rules_digest(family: Family, options: Options, facts: Facts) -> int:
    """Return the number that stands for the rules' text; never 0."""
    return zlib.crc32("\n".join(closing(family, options, facts)).encode()) or 1


def delivery(family: Family, options: Options) -> Iterator[str]:
    """Yield what ``ip`` would be told of the policy route."""
    route = options.delivery(family)
    ip = "-4" if family is Family.IPV4 else "-6"
    yield f"{ip} route add local default dev lo table {route.table}"
    yield f"{ip} rule add preference {route.preference} fwmark {route.mark:#x}/{route.mark:#x} lookup {route.table}"

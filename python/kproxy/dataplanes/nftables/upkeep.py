# SPDX-License-Identifier: Apache-2.0
"""Chains made before they are needed, and taken away long after.

A chain costs a run of ``nft``, ten times what an element costs. When a set grows or shrinks its next counts are foreseeable,
so their chains are made beside the path of changes, the first ones with the table. Chains of counts long gone cost every
commit some nanoseconds each; they are swept when there are many.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from kproxy.dataplanes.nft_tables import Facts
from kproxy.dataplanes.nftables import layout
from kproxy.dataplanes.nftables.committed import Committed, Outcome
from kproxy.dataplanes.nftables.frontends import balancer_of, kind_of, usable_scopes
from kproxy.dataplanes.nftables.layout import WORDS, Kind, Options, Scope
from kproxy.dataplanes.nftables.shapes import Balancer
from kproxy.dataplanes.nftables.structure import AHEAD, Structure
from kproxy.dataplanes.nftables.transaction import Target
from kproxy.kernel.nft_elements import number_text
from kproxy.kernel.nft_rules import digest

Use = tuple[Kind, Scope, Balancer]

NEAR: Final = 8  # counts this close to one in use must have their chains, else those of ``AHEAD`` are made
IDLE: Final = 1024  # more chains than this beside those in use are swept


class Upkeep(msgspec.Struct, frozen=True):
    """Commands, and what they add to or take from what is committed."""

    lines: list[str]
    outcome: Outcome
    gone: frozenset[tuple[str, int]] = frozenset()


def make_ahead(committed: Committed, used: Iterable[Use], target: Target, options: Options) -> Upkeep | None:
    """Return what makes the chains of neighbouring counts, or None when they are there."""
    structure = Structure(committed, target.table, WORDS[target.family], options, committed.facts or Facts())
    for kind, scope, balancer in used:
        if balancer.hashed or all(_has(committed, kind, scope, near) for near in balancer.around(NEAR)):
            continue
        structure.need_around(kind, scope, balancer)
    if not structure.verdicts:
        return None
    outcome = Outcome(committed.revision, chains=structure.chains, verdicts=structure.verdicts, codes=structure.codes)
    return Upkeep(structure.prepare(), outcome)


def sweep(committed: Committed, target: Target) -> Upkeep | None:
    """Return what takes away the pointers to chains that have long had no use, or None while they are few."""
    chains = sum(1 for name, _ in committed.verdicts if name not in _POLICIES)
    if chains <= IDLE:
        return None
    kept = {
        (kind_of(frontend).balancers(scope), near)
        for record in committed.records.values()
        for scope in usable_scopes(record)
        for near in balancer_of(record, scope).around(AHEAD)
        for frontend in record.route.frontends
    }
    special = {code: balancer for balancer, code in committed.codes.items()}
    gone = frozenset(
        (name, code)
        for name, code in committed.verdicts
        if name not in _POLICIES and (name, special.get(code) or Balancer(code)) not in kept
    )
    if len(gone) <= IDLE:
        return None
    lines = [f"delete element {target.table} {name} {{ {number_text(code)} }}" for name, code in gone]
    return Upkeep(lines, Outcome(committed.revision), gone)


def take_chains(names: Iterable[str], target: Target) -> list[str]:
    """Return what takes away chains that nothing points to any more."""
    return [
        line
        for name in names
        for line in (
            f"delete chain {target.table} {name}",
            f"delete element {target.table} {layout.ABOUT} {{ {number_text(digest((name,)))} }}",
        )
    ]


_POLICIES: Final = frozenset(kind.policies for kind in Kind)


def _has(committed: Committed, kind: Kind, scope: Scope, balancer: Balancer) -> bool:
    code = balancer.plain_code or committed.codes.get(balancer)
    return code is not None and (kind.balancers(scope), code) in committed.verdicts

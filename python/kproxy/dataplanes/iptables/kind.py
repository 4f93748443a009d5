# SPDX-License-Identifier: Apache-2.0
"""Which of the two iptables serves here: rules in the one that nobody else uses are seen by nobody else."""

import logging
import os
from typing import Final

from kproxy.dataplanes.iptables.layout import PREFIX
from kproxy.kernel.command import installed
from kproxy.kernel.xtables import Kind, Table, Xtables
from kproxy.table.errors import KernelError, Unsupported
from kproxy.table.terms import Family

log: Final = logging.getLogger(__name__)

CHOICE: Final = "KPROXY_IPTABLES"
_HINTS: Final = frozenset({"KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"})  # kubelet's, for others to follow


def kind_here() -> Kind:
    """Return the kind of iptables that this machine uses, ``nft`` if none is installed.

    The environment may say so (``KPROXY_IPTABLES=legacy``). Else it is the kind that holds our rules, then the one with
    kubelet's hint, then the one that holds more rules; a clean machine uses what ``iptables`` itself is. Raises Unsupported
    for another word in the environment.
    """
    chosen = os.environ.get(CHOICE, "")
    if chosen:
        if chosen not in list(Kind):
            raise Unsupported(f"{CHOICE} is {chosen!r}: set it to {' or '.join(Kind)}, or to nothing")
        return Kind(chosen)
    kinds = [kind for kind in Kind if Xtables(Family.IPV4, kind).available()]
    if len(kinds) < len(Kind):
        return kinds[0] if kinds else Kind.NFT
    saved = {kind: _saved(kind) for kind in kinds}
    for fits in (_has_ours, _has_hint):
        found = [kind for kind in kinds if any(fits(table) for table in saved[kind])]
        if found:
            return found[0]
    rules = {kind: sum(len(table.rules) for table in saved[kind]) for kind in kinds}
    if len(set(rules.values())) > 1:
        return max(kinds, key=lambda kind: rules[kind])
    return _installed_kind(kinds)


def _saved(kind: Kind) -> list[Table]:
    tables: list[Table] = []
    for family in Family:
        try:
            tables += Xtables(family, kind).save().values()
        except KernelError as error:  # the kernel lacks it, or the family
            log.debug("iptables-%s of %s cannot be read: %s", kind, family, error)
    return tables


def _has_ours(table: Table) -> bool:
    return any(chain.startswith(PREFIX) for chain in table.chains)


def _has_hint(table: Table) -> bool:
    return not _HINTS.isdisjoint(table.chains)


def _installed_kind(kinds: list[Kind]) -> Kind:
    if not installed("iptables"):
        return kinds[0]
    return Kind.NFT if "nf_tables" in Xtables.installed_version() else Kind.LEGACY

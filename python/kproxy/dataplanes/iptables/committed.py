# SPDX-License-Identifier: Apache-2.0
"""What of ours the kernel holds, and how it becomes the next.

``Committed`` belongs to its dataplane and changes in place, only after the kernel has said yes. After a read-back ``found``
holds what the kernel showed; the first compile compares it as text.
"""

import itertools
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from kproxy.dataplanes.iptables.layout import Chain
from kproxy.dataplanes.iptables.rules import Chains, Count, Rule
from kproxy.dataplanes.iptables.state import State

Counted: TypeAlias = Mapping[Chain, tuple[tuple[int, int], ...]]  # packets and bytes of each rule

_REVISIONS = itertools.count(1)


class Found(msgspec.Struct):
    """What a read-back showed: our chains; of each built-in chain the rules that jump to ours; our ipsets."""

    chains: dict[Chain, tuple[Rule, ...]] = {}
    jumps: dict[Chain, tuple[str, ...]] = {}
    sets: frozenset[str] = frozenset()


class Outcome(msgspec.Struct):
    """How ``Committed`` differs once a transaction is in."""

    revision: int
    state: State
    counts: dict[Chain, tuple[Count | None, ...]]  # of the chains that were written
    gone: tuple[Chain, ...]
    sets: frozenset[str]


class Committed:
    """The dataplane's state.

    ``state``: what was committed; None: nothing is known but what ``found`` says. ``counts``: what each rule of each chain
    counts. ``sets``: our ipsets. ``revision`` is another after each transaction.
    """

    def __init__(self, found: Found | None = None) -> None:
        self.revision = next(_REVISIONS)
        self.state: State | None = None
        self.found = found
        self.counts: dict[Chain, tuple[Count | None, ...]] = {}
        self.sets = found.sets if found else frozenset()

    def know(self, state: State, chains: Chains) -> None:
        """Take note that what was found is this state, chain for chain."""
        self.state, self.found = state, None
        self.counts = {chain: tuple(rule.count for rule in rules) for chain, rules in chains.items()}

    def advance(self, outcome: Outcome) -> None:
        """Take over what a transaction has done."""
        self.revision = next(_REVISIONS)
        self.state, self.found, self.sets = outcome.state, None, outcome.sets
        for chain in outcome.gone:
            self.counts.pop(chain, None)
        self.counts.update(outcome.counts)

# SPDX-License-Identifier: Apache-2.0
"""What of ours the kernel holds, and how it becomes the next.

``Committed`` belongs to its dataplane and changes in place, only after the kernel has said yes: with 10,000 Services a copy
for each change would cost more than the change. It keeps a ``Record`` a route; elements are never stored, a record's are
worked out again when needed. After a read-back the records are not known yet: ``found`` holds what the kernel showed, and
the first compile gives each route back the ids it had.
"""

import itertools
from array import array
from collections.abc import Iterable

import msgspec

from kproxy.dataplanes.nft_tables import Facts
from kproxy.dataplanes.nftables.layout import FIRST_ENDPOINT, TABLE, Kind, Scope
from kproxy.dataplanes.nftables.shapes import Balancer
from kproxy.dataplanes.nftables.slots import Slots
from kproxy.kernel.nft_elements import read_number
from kproxy.table.route import Route, RouteKey

ElementKey = tuple[str, bytes, bytes | None]  # set, key, last key of an interval

ID_GAP = 1 << 20  # ids skipped at a restart: entries of the affinity maps may still name endpoints that left before
_REVISIONS = itertools.count(1)
_SETS = frozenset(kind.sets for kind in Kind)


class Record(msgspec.Struct, frozen=True, gc=False):
    """A route as committed: what it said, its set id (the local set's is one more), its slots."""

    route: Route
    set_id: int
    all: Slots
    local: Slots

    def slots(self, scope: Scope) -> Slots:
        """Return one of the two sets."""
        return self.all if scope is Scope.ALL else self.local


class Found(msgspec.Struct):
    """What a read-back showed of the elements: by set and key; slots by set id; endpoints by id."""

    elements: dict[ElementKey, bytes | None] = {}
    slots: dict[int, "array[int]"] = {}  # set id -> endpoint id of each slot, 0 for a hole
    endpoints: dict[int, str] = {}  # endpoint id -> key

    def hold(self, set_id: int, index: int, identifier: int) -> None:
        """Note what a slot holds."""
        held = self.slots.setdefault(set_id, array("I"))
        if len(held) <= index:
            held.extend([0] * (index + 1 - len(held)))
        held[index] = identifier


class Outcome(msgspec.Struct):
    """How ``Committed`` differs once a transaction is in."""

    revision: int
    records: dict[RouteKey, Record | None] = {}
    references: dict[ElementKey, int] = {}  # new counts of shared elements; 0: gone
    chains: dict[str, int] = {}
    closing: dict[str, int] = {}  # chains that are written after the elements
    dropped: list[str] = []  # chains that are gone
    verdicts: dict[tuple[str, int], str] = {}
    codes: dict[Balancer, int] = {}
    used: set[tuple[Kind, Scope, Balancer]] = set()  # balancers of the changed frontends
    facts: Facts | None = None
    next_set: int = 0
    next_endpoint: int = 0


class Committed:
    """The dataplane's state.

    Attributes: ``table`` is the name ours has, ``obsolete`` those of tables that go once ours is in force; ``records`` by
    route; ``references``: how many routes share an element of ``cluster-ips`` or ``hairpin``; ``chains``: a digest of each
    one's rules as last written; ``verdicts``: map and code to chain; ``codes`` of special balancers; ``facts`` in force;
    ``found`` while records are unknown; ``revision`` is another after each transaction.
    """

    def __init__(self, *, table: str = TABLE, obsolete: tuple[str, ...] = ()) -> None:
        self.table = table
        self.obsolete = obsolete
        self.revision = next(_REVISIONS)
        self.records: dict[RouteKey, Record] = {}
        self.references: dict[ElementKey, int] = {}
        self.chains: dict[str, int] = {}
        self.verdicts: dict[tuple[str, int], str] = {}
        self.codes: dict[Balancer, int] = {}
        self.facts: Facts | None = None
        self.found: Found | None = None
        self.next_set = 2
        self.next_endpoint = FIRST_ENDPOINT

    def take(self, found: Found) -> None:
        """Take over what was read. New ids start where none can still be remembered by a client's affinity."""
        self.found = found
        used = sorted(found.endpoints)
        if used and used[-1] + 2 * ID_GAP < 1 << 32:
            self.next_endpoint = used[-1] + ID_GAP
        elif used:
            edges = [FIRST_ENDPOINT, *used, 1 << 32]
            width, start = max((after - before, before) for before, after in itertools.pairwise(edges))
            self.next_endpoint = start + width // 2
        named = [read_number(data) for (name, _, _), data in found.elements.items() if data and name in _SETS]
        self.next_set = max([0, *found.slots, *named]) // 2 * 2 + 2

    def advance(self, outcome: Outcome) -> None:
        """Take over what a transaction has done."""
        self.revision = next(_REVISIONS)
        for key, record in outcome.records.items():
            if record is None:
                self.records.pop(key, None)
            else:
                self.records[key] = record
        for element, count in outcome.references.items():
            if count:
                self.references[element] = count
            else:
                self.references.pop(element, None)
        self.chains.update(outcome.closing)
        for name in outcome.dropped:
            self.chains.pop(name, None)
        self.facts = outcome.facts
        self.next_set, self.next_endpoint = outcome.next_set, outcome.next_endpoint
        self.found = None
        self.obsolete = ()

    def built(self, outcome: Outcome) -> None:
        """Take over the chains of a transaction, whatever becomes of its elements."""
        self.chains.update(outcome.chains)
        self.verdicts.update(outcome.verdicts)
        self.codes.update(outcome.codes)

    def unpoint(self, gone: Iterable[tuple[str, int]]) -> list[str]:
        """Forget pointers that were taken away; return the names of the chains they led to."""
        targets = [self.verdicts.pop(pointer) for pointer in gone]
        held = {code for _, code in self.verdicts}
        self.codes = {balancer: code for balancer, code in self.codes.items() if code in held}
        for name in targets:
            self.chains.pop(name, None)
        return targets

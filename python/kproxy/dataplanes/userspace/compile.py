# SPDX-License-Identifier: Apache-2.0
"""From changes of the table to operations of the kernel and of the relay. Pure: reads what is committed, alters nothing.

Cost follows the change: only changed routes are worked out, and compared with what they had. After a read-back all of them
are, and what no route claims is surplus.
"""

from collections.abc import Mapping
from typing import Final

from kproxy.dataplanes.nft_tables import Facts
from kproxy.dataplanes.userspace import layout
from kproxy.dataplanes.userspace.committed import Committed, Outcome
from kproxy.dataplanes.userspace.elements import SHARED, ElementKey, elements_of, node_elements
from kproxy.dataplanes.userspace.judging import facts_of
from kproxy.dataplanes.userspace.layout import WORDS, Options
from kproxy.dataplanes.userspace.services import Claim, Service, claims_of, limit_of, meanwhile, service_of
from kproxy.dataplanes.userspace.structure import Structure
from kproxy.dataplanes.userspace.transaction import ADD, DELETE, Batch, Operation, RelayTransaction, Target, Telling
from kproxy.kernel.nft_elements import Codec, read_number
from kproxy.table.route import Route, RouteKey
from kproxy.table.routing_table import Changes
from kproxy.table.terms import Family

BATCH_ELEMENTS: Final = 20_000  # a load goes in batches of so many elements
_CODED: Final = frozenset({layout.FRONTENDS, layout.NODEPORTS})

Wanted = list[tuple[RouteKey, Route | None]]


def compile_changes(
    committed: Committed, held: Mapping[str, Service], changes: Changes, family: Family, options: Options, target: Target
) -> RelayTransaction:
    """Return the transaction that takes kernel and relay to ``changes.after``. ``held`` are its Services in the relay."""
    everything = changes.before is None or committed.routes is None
    known = committed.known
    if everything:
        routes = sorted(changes.after.routes(family), key=lambda route: -route.priority)
        named = {route.key for route in routes}
        wanted: Wanted = [(key, None) for key in known if key not in named]
        wanted += [(route.key, route) for route in routes]
    else:
        wanted = [(change.key, change.after) for change in changes.routes if change.key.family is family]
        wanted.sort(key=lambda item: -item[1].priority if item[1] else -1 << 40)
    facts = committed.facts
    if facts is None or everything or changes.node:
        facts = facts_of(changes.after.node, family, options)
    compilation = _Compilation(committed, held, options, facts, target, Codec(family))
    for key, route in wanted:
        compilation.route(key, route)
    if everything:
        compilation.surplus()
    return compilation.conclude()


class _Compilation:
    def __init__(
        self,
        committed: Committed,
        held: Mapping[str, Service],
        options: Options,
        facts: Facts,
        target: Target,
        codec: Codec,
    ) -> None:
        self.committed, self.held, self.options = committed, held, options
        self.facts, self.target, self.codec = facts, target, codec
        self.outcome = Outcome(committed.revision, facts=facts)
        self.limits: dict[RouteKey, str] = {}
        self.services: dict[str, Service | None] = {}
        # what differs of the elements of single routes and of the node: as they shall be, and whose they are
        self.come: dict[ElementKey, tuple[bytes | None, RouteKey | None]] = {}
        self.gone: set[ElementKey] = set()
        nodeports = facts.family.nodeports.addresses
        before = committed.facts.family.nodeports.addresses if committed.facts else ()
        self.gone.update(node_elements(before, codec))
        self.come.update((element, (None, None)) for element in node_elements(nodeports, codec))

    def route(self, key: RouteKey, route: Route | None) -> None:
        """Compile one route; None: it leaves."""
        before = self.committed.known.get(key)
        had = elements_of(before, self.codec, self.options) if before is not None else {}
        has = elements_of(route, self.codec, self.options) if route is not None else {}
        for element in had.keys() | has.keys():
            if element[0] in SHARED:
                self._count(element, (element in has) - (element in had))
        self.gone.update(element for element in had if element[0] not in SHARED and element not in has)
        self.come.update((name, (data, key)) for name, data in has.items() if name[0] not in SHARED)
        self.outcome.routes[key] = route
        self.services[str(key)] = service_of(route, self.options) if route is not None else None
        limit = limit_of(route) if route is not None and self.options.serves_all else None
        if limit:
            self.limits[key] = limit

    def surplus(self) -> None:
        """Let go of whatever nobody has claimed."""
        claimed = {element for element, count in self.outcome.claims.items() if count}
        self.gone.update(element for element in self.committed.elements if element not in claimed)
        self.services.update((key, None) for key in self.held if key not in self.services)

    def _count(self, element: ElementKey, step: int) -> None:
        claims = self.outcome.claims
        claims[element] = claims.get(element, self.committed.claims.get(element, 0)) + step

    def conclude(self) -> RelayTransaction:
        """Sort what was collected into phases."""
        held = self.committed.elements
        for element, count in self.outcome.claims.items():
            if count:
                self.come[element] = (None, None)
            else:
                self.gone.add(element)
        outs: list[Operation] = []
        adds: list[Operation] = []
        later: list[Operation] = []
        for element, (data, owner) in self.come.items():
            if element in held:
                if held[element] == data:
                    continue
                outs.append(Operation(DELETE, element, held[element], owner))
            adds.append(Operation(ADD, element, data, owner))
            self.outcome.elements[element] = data
        gone = {element for element in self.gone if element not in self.come and element in held}
        self.outcome.gone = gone
        for element in sorted(gone):
            unguarded = element[0] == layout.ALLOWED and self._guard(element) in gone
            # a packet that has met the guard looks for its range; one that has not, never will
            (later if unguarded else outs).append(Operation(DELETE, element, held[element], None))
        return self._transaction(outs, adds, later)

    def _guard(self, element: ElementKey) -> ElementKey:
        return (layout.GUARDED, element[1][: -self.codec.width], None)

    def _transaction(self, outs: list[Operation], adds: list[Operation], later: list[Operation]) -> RelayTransaction:
        prepare, closing = self._structure()
        fill, relieve = self._telling()
        return RelayTransaction(
            self.target,
            self.outcome,
            fill,
            prepare,
            _batches(outs, sorted(adds, key=lambda one: one.element[0] in _CODED)),
            closing,
            routing=self.options.serves_all and not self.committed.is_routed,
            later=later,
            relieve=relieve,
            limits=self.limits,
        )

    def _structure(self) -> tuple[list[str], list[str]]:
        """Return the text before and after the elements: none, as long as facts and codes are those in force."""
        committed, outcome, table = self.committed, self.outcome, self.target.table
        needed = {read_number(data or bytes(4)) for (name, _, _), (data, _) in self.come.items() if name in _CODED}
        codes = outcome.codes = committed.codes | needed
        is_known = committed.routes is not None and committed.structure is not None and committed.facts == self.facts
        if is_known and codes == committed.codes:
            outcome.structure = committed.structure or 0
            return [], []
        structure = Structure(WORDS[self.codec.family], self.options, self.facts, codes)
        outcome.structure = structure.digest
        before = Structure(structure.words, self.options, self.facts, committed.codes)
        if committed.structure != before.digest:
            prepare = [f"delete table {table}"] if committed.is_obsolete else []
            prepare += structure.everything(table, self.target.schemas.values())
            return prepare, [*structure.closing(table), *structure.note(table, None)]
        more = codes - committed.codes
        return [*structure.more(table, more), *structure.note(table, committed.structure)] if more else [], []

    def _telling(self) -> tuple[Telling, Telling]:
        """Work out what the relay is told before and after the kernel."""
        now = [service for service in self.services.values() if service is not None]
        then = [self.held[key] for key in self.services if key in self.held]
        claimed = frozenset[Claim]().union(*map(claims_of, now))
        lost = frozenset[Claim]().union(*map(claims_of, then))
        first: dict[str, Service] = {}
        last: dict[str, Service] = {}
        for new in now:
            old = self.held.get(new.key)
            between = meanwhile(old, new, claimed, lost)
            if between != old:
                first[new.key] = between
            if between != new:
                last[new.key] = new
        removes = {key for key, new in self.services.items() if new is None and key in self.held}
        for key in removes:
            # a frontend that has moved to another Service leaves its old one at once: no two may claim it
            if not claims_of(self.held[key]).isdisjoint(claimed):
                first[key] = _without(self.held[key], claimed)
        return Telling(first), Telling(last, frozenset(removes))


def _without(service: Service, claimed: frozenset[Claim]) -> Service:
    left = tuple(one for one in service.frontends if (one[1], one[2], service.protocol) not in claimed)
    return service._replace(frontends=left)


def _batches(outs: list[Operation], adds: list[Operation]) -> list[Batch]:
    """Return batches: one alone where something goes, for what takes its place must come with it."""
    if outs:
        return [[*outs, *adds]]
    return [adds[start : start + BATCH_ELEMENTS] for start in range(0, len(adds), BATCH_ELEMENTS)]

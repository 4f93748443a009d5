# SPDX-License-Identifier: Apache-2.0
"""From changes of the table to kernel operations. Pure: reads what is committed, alters nothing.

Cost follows the change: a changed route is compared with its record, elements are only worked out for what differs, and
references tell when a shared element comes or goes. After a read-back the same walk adopts the ids the kernel shows; what no
route has claimed by then is surplus.
"""

import itertools
from typing import Final, TypeAlias

from kproxy.dataplanes.nft_tables import Facts
from kproxy.dataplanes.nftables import layout, slots
from kproxy.dataplanes.nftables.committed import Committed, ElementKey, Found, Outcome, Record
from kproxy.dataplanes.nftables.elements import slot
from kproxy.dataplanes.nftables.frontends import (
    Appearance,
    appearance,
    balancer_of,
    cluster_ips,
    kind_of,
    looks_alike,
    usable_scopes,
)
from kproxy.dataplanes.nftables.layout import LOCAL_SET, WORDS, Kind, Options, Scope
from kproxy.dataplanes.nftables.shapes import facts_of, scopes_wanted
from kproxy.dataplanes.nftables.slots import Rearrangement, Slots
from kproxy.dataplanes.nftables.structure import Structure
from kproxy.dataplanes.nftables.transaction import NftTransaction, Stage, Target
from kproxy.kernel.nft_elements import Codec, number, read_number
from kproxy.table.endpoint import Endpoint
from kproxy.table.route import Route, RouteKey
from kproxy.table.routing_table import Changes
from kproxy.table.terms import Method

BATCH_ELEMENTS: Final = 20_000  # a load goes in batches of about so many elements, each of whole Services
METHODS: Final = frozenset({Method.RANDOM, Method.MH})

_NO_SLOTS: Final = Slots()
_NO_SCOPES: Final[frozenset[Scope]] = frozenset()
_SETS: Final = frozenset(kind.sets for kind in Kind)
_DISPATCH: Final = frozenset(kind.shapes for kind in Kind)

Ends: TypeAlias = tuple[tuple[Endpoint, ...], tuple[Endpoint, ...]]  # a set before and after


def compile_changes(committed: Committed, changes: Changes, options: Options, target: Target) -> NftTransaction:
    """Return the transaction that takes the kernel from ``committed`` to ``changes.after``."""
    family = target.family
    everything = changes.before is None or committed.found is not None
    if everything:
        routes = sorted(changes.after.routes(family), key=lambda route: -route.priority)
        named = {route.key for route in routes}
        wanted: list[tuple[RouteKey, Route | None]] = [(key, None) for key in committed.records if key not in named]
        wanted += [(route.key, route) for route in routes]
    else:
        wanted = [(change.key, change.after) for change in changes.routes if change.key.family is family]
        wanted.sort(key=lambda item: -item[1].priority if item[1] else -1 << 40)
    facts = committed.facts
    if facts is None or everything or changes.node:
        facts = facts_of(changes.after.node, family)
    compilation = _Compilation(committed, options, facts, target)
    for key, route in wanted:
        compilation.route(key, route)
    return compilation.conclude(everything=everything)


class _Compilation:
    def __init__(self, committed: Committed, options: Options, facts: Facts, target: Target) -> None:
        self.committed = committed
        self.codec = Codec(target.family)
        self.target = target
        self.structure = Structure(committed, target.table, WORDS[target.family], options, facts)
        self.outcome = Outcome(committed.revision, facts=facts, next_set=committed.next_set)
        self.fresh = itertools.count(committed.next_endpoint)
        self.stages = [Stage()]
        self.later = Stage()
        self.limits: dict[RouteKey, str] = {}
        self.counts_bytes = options.count_bytes
        # elements of frontends: what they held and shall hold, of which route, in which stage
        self.gone: dict[ElementKey, tuple[bytes | None, RouteKey, Stage]] = {}
        self.come: dict[ElementKey, tuple[bytes | None, RouteKey, Stage]] = {}
        self.held: dict[int, Slots] = {}  # what the changed sets held
        self.padded: dict[int, int] = {}
        self.is_first = not committed.records and not committed.found
        self.found = committed.found or Found()
        self.adopted: set[int] = set()
        self.kept: set[int] = set()  # endpoint ids of adopted sets
        self.strays: dict[tuple[int, int], int] = {}  # slots of adopted sets that lead nowhere, with the id they hold
        for sign, side in ((-1, committed.facts), (1, facts)):
            for address in side.family.nodeports.addresses if side else ():
                self._count((layout.NODEPORT_ADDRESSES, self.codec.address(address), None), sign)

    def route(self, key: RouteKey, route: Route | None) -> None:
        """Compile one route; None: it leaves."""
        record = self.committed.records.get(key)
        if record is None and route is None:
            return
        if self.stages[-1].size > BATCH_ELEMENTS:
            self.stages.append(Stage())
        if route is not None and route.proxy_protocol:
            self.limits[key] = f"mode nftables sends no PROXY protocol header, which {key} asks for: take mode userspace"
        elif route is not None and route.method not in METHODS:
            self.limits[key] = f"method {route.method} is not available in mode nftables: {key} is balanced at random"
        if record is not None:
            set_id, all_, local = record.set_id, record.all, record.local
        else:
            set_id, all_, local = self._adopt(route) if route is not None and self.committed.found else self._new_set()
        before = record.route if record is not None else None
        then = scopes_wanted(before) if before is not None else _NO_SCOPES
        now = scopes_wanted(route) if route is not None else _NO_SCOPES
        if all_.keys or Scope.ALL in then | now:
            ends = (_endpoints(before, Scope.ALL, then), _endpoints(route, Scope.ALL, now))
            all_ = self._set(key, set_id, all_, ends, before, route)
        if local.keys or Scope.LOCAL in then | now:
            ends = (_endpoints(before, Scope.LOCAL, then), _endpoints(route, Scope.LOCAL, now))
            local = self._set(key, set_id | LOCAL_SET, local, ends, before, route)
        after = Record(route, set_id, all_, local) if route is not None else None
        self.outcome.records[key] = after
        if record is None or after is None or not looks_alike(record, after):
            self._frontends(key, record, after)

    # --- endpoint sets

    def _new_set(self) -> tuple[int, Slots, Slots]:
        self.outcome.next_set += 2
        return self.outcome.next_set - 2, _NO_SLOTS, _NO_SLOTS

    def _adopt(self, route: Route) -> tuple[int, Slots, Slots]:
        """Find the set that the kernel has for this route's frontends."""
        for frontend in route.frontends:
            data = self.found.elements.get((kind_of(frontend).sets, self.codec.frontend(frontend), None))
            set_id = read_number(data) if data else 0
            if set_id and set_id not in self.adopted and not set_id & LOCAL_SET and set_id < layout.FIRST_ENDPOINT:
                return set_id, self._found_slots(set_id), self._found_slots(set_id | LOCAL_SET)
        return self._new_set()

    def _found_slots(self, set_id: int) -> Slots:
        """Read a set as the kernel has it. What does not fit (a dead id, one id in two sets) becomes a hole."""
        self.adopted.add(set_id)
        keys: list[str | None] = []
        ids: dict[str, int] = {}
        for index, identifier in enumerate(self.found.slots.get(set_id, ())):
            key = self.found.endpoints.get(identifier)
            if key is None or identifier in self.kept or ids.setdefault(key, identifier) != identifier:
                key = None
                if identifier:
                    self.strays[set_id, index] = identifier
            keys.append(key)
        self.kept.update(ids.values())
        return Slots(tuple(keys), ids)

    def _set(self, key: RouteKey, set_id: int, old: Slots, ends: Ends, before: Route | None, after: Route | None) -> Slots:
        """Compile one of a route's endpoint sets; return its slots as they will be."""
        change = slots.difference(*ends)
        for sign, side in ((-1, change.left), (1, change.joined)):
            for endpoint in side:
                if endpoint.local or not endpoint.node:
                    self._hairpin(endpoint, sign)
                if self.counts_bytes:
                    self._count((layout.TRAFFIC, self.codec.traffic(key.protocol, endpoint.key), None), sign)
        for one, other in change.changed:
            if one.local is not other.local or one.node != other.node:
                self._hairpin(one, -(one.local or not one.node))
                self._hairpin(other, other.local or not other.node)
        self.held[set_id] = old
        method = after.method if after is not None else Method.RANDOM
        if change or (ends[1] and old.hashed is not (method is Method.MH)) or (before is None and old.keys):
            step = slots.rearrange(old, ends[1], change, method, self.fresh)
        elif old.keys and before is not None and after is not None and _forgets_clients(before, after):
            step = slots.renumber(old, self.fresh)
        else:
            return old
        self._rearrange(key, set_id, step)
        return step.slots

    def _hairpin(self, endpoint: Endpoint, sign: int) -> None:
        """Count one route more or less whose endpoint may dial itself through this node."""
        self._count((layout.HAIRPIN, self.codec.hairpin(endpoint.address), None), sign)

    def _rearrange(self, key: RouteKey, set_id: int, step: Rearrangement) -> None:
        stage, later, strays = self.stages[-1], self.later, self.strays
        stage.size += len(step.born) + len(step.filled)
        endpoint_of = self.codec.endpoint_of
        if step.born:
            names = [number(identifier) for identifier, _ in step.born]
            stage.endpoints.add_many(layout.ENDPOINTS, names, [endpoint_of(name) for _, name in step.born], key)
        if step.filled:
            for index, held, _ in step.filled:
                before = strays.pop((set_id, index), None) if held is None and strays else held
                if before is not None:
                    stage.slots_out.delete(layout.SLOTS, slot(set_id, index), number(before), None, key)
            names = [slot(set_id, index) for index, _, _ in step.filled]
            stage.slots.add_many(layout.SLOTS, names, [number(identifier) for _, _, identifier in step.filled], key)
        for index, identifier in step.surplus:
            later.slots.delete(layout.SLOTS, slot(set_id, index), number(identifier), None, key)
        for identifier, name in step.dead:
            later.endpoints.delete(layout.ENDPOINTS, number(identifier), endpoint_of(name), None, key)

    # --- frontends

    def _frontends(self, key: RouteKey, before: Record | None, after: Record | None) -> None:
        stage = self.stages[-1]
        come = self._appearance(after).elements if after is not None else {}
        if self.is_first:  # nobody has lost a frontend to this route
            for element, data in come.items():
                stage.put(element, data, key, dispatch=element[0] in _DISPATCH)
        else:
            gone = self._appearance(before, needed=False).elements if before is not None else {}
            self.gone.update((name, (data, key, stage)) for name, data in gone.items() if come.get(name, _ABSENT) != data)
            self.come.update((name, (data, key, stage)) for name, data in come.items() if gone.get(name, _ABSENT) != data)
        stage.size += len(come)
        for sign, side in ((-1, before), (1, after)):
            for address in cluster_ips(side.route) if side is not None else ():
                self._count((layout.CLUSTER_IPS, self.codec.address(address), None), sign)

    def _appearance(self, record: Record, *, needed: bool = True) -> Appearance:
        balancers = {scope: balancer_of(record, scope) for scope in usable_scopes(record)}
        codes = {scope: self.structure.code(balancer) for scope, balancer in balancers.items()}
        found = appearance(record, self.codec, codes)
        if needed:
            for (_, kind), meets in found.meetings.items():
                self.structure.need_policy(kind, meets)
                for scope in sorted(meets.scopes):
                    self.structure.need_balancer(kind, scope, balancers[scope])
        return found

    def _count(self, element: ElementKey, step: int) -> None:
        references = self.outcome.references
        references[element] = references.get(element, self.committed.references.get(element, 0)) + step

    # --- the end

    def conclude(self, *, everything: bool) -> NftTransaction:
        """Sort what was collected into phases; with ``everything`` take away what no route has claimed."""
        held = self.found.elements
        claimed: set[ElementKey] = set()
        for element, (data, owner, stage) in self.come.items():
            claimed.add(element)
            known = self.gone.pop(element, None)
            then = known[0] if known else held.get(element, _ABSENT)
            if then is _ABSENT:
                stage.put(element, data, owner, dispatch=element[0] in _DISPATCH)
            elif then != data:
                self._replace(stage, element, then, data, owner)
        for element, count in self.outcome.references.items():
            present = self.committed.references.get(element, 0) > 0 or element in held
            claimed.add(element)
            if count and not present:
                self.stages[0].put(element, None, None)
            elif present and not count:
                self.later.take(element, None, None)
        gone: dict[ElementKey, tuple[bytes | None, RouteKey | None, Stage]] = dict(self.gone)
        if everything:
            gone.update((element, (data, None, self.stages[0])) for element, data in held.items() if element not in claimed)
            self._sweep()
        for element, (data, loser, stage) in gone.items():
            name, key, end = element
            if name in _DISPATCH or name == layout.GUARDED:
                stage.take(element, data, loser, dispatch=True)
            elif end is not None and (layout.GUARDED, key[: -self.codec.width], None) not in gone:
                stage.take(element, data, loser)  # in one transaction with the ranges that come: overlaps are refused
            else:
                self.later.take(element, data, loser)
        outcome = self.outcome
        outcome.next_endpoint = next(self.fresh)
        prepare = self.structure.prepare()
        outcome.chains, outcome.closing = self.structure.chains, self.structure.late_chains
        outcome.verdicts, outcome.codes = self.structure.verdicts, self.structure.codes
        outcome.used, outcome.dropped = self.structure.used, self.structure.dropped
        return NftTransaction(
            self.target,
            outcome,
            prepare,
            [batch for stage in self.stages if (batch := stage.batch()).runs],
            self.structure.closing(),
            self.later.batch(),
            self.limits,
        )

    def _replace(self, stage: Stage, element: ElementKey, then: object, data: bytes | None, owner: RouteKey) -> None:
        before = then if isinstance(then, bytes) else None
        dispatch = element[0] in _DISPATCH
        stage.take(element, before, owner, dispatch=dispatch)
        stage.put(element, data, owner, dispatch=dispatch)
        record = self.outcome.records.get(owner)
        if element[0] in _SETS and before and record:
            self._pad(read_number(before), record, stage, owner)

    def _pad(self, left: int, record: Record, stage: Stage, owner: RouteKey) -> None:
        """Lengthen the set a frontend moves to by the one it leaves, for packets that have picked by that one's length."""
        for scope, bit in ((Scope.ALL, 0), (Scope.LOCAL, LOCAL_SET)):
            set_id, before = record.set_id | bit, self.held.get(left | bit, _NO_SLOTS)
            known = max(
                len(record.slots(scope).keys), len(self.held.get(set_id, _NO_SLOTS).keys), self.padded.get(set_id, 0)
            )
            for index, name in enumerate(before.keys[known:], known):
                data = number(before.ids.get(name or "", 0))
                stage.slots.add(layout.SLOTS, slot(set_id, index), data, None, owner)
                self.later.slots.delete(layout.SLOTS, slot(set_id, index), data, None, owner)
            self.padded[set_id] = max(known, len(before.keys))

    def _sweep(self) -> None:
        """Take away slots and endpoints that lead nowhere or that nothing leads to."""
        for (set_id, index), identifier in self.strays.items():
            self.later.slots.delete(layout.SLOTS, slot(set_id, index), number(identifier), None, None)
        for set_id, held in self.found.slots.items():
            for index, identifier in enumerate(held if set_id not in self.adopted else ()):
                if identifier:
                    self.later.slots.delete(layout.SLOTS, slot(set_id, index), number(identifier), None, None)
        for identifier, name in self.found.endpoints.items():
            if identifier not in self.kept:
                self.later.endpoints.delete(layout.ENDPOINTS, number(identifier), self.codec.endpoint_of(name), None, None)


_ABSENT: Final = object()


def _endpoints(route: Route | None, scope: Scope, wanted: frozenset[Scope]) -> tuple[Endpoint, ...]:
    if route is None or scope not in wanted:
        return ()
    return route.all if scope is Scope.ALL else route.local


def _forgets_clients(before: Route, after: Route) -> bool:
    """Tell whether clients are remembered at frontends the route no longer has, or for longer than it now asks for."""
    if not before.affinity:
        return False
    return not after.affinity or not {f.claim for f in before.frontends} <= {f.claim for f in after.frontends}

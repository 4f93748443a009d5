# SPDX-License-Identifier: Apache-2.0
"""From changes of the table to kernel operations. Pure: reads what is committed, alters nothing.

Cost follows the change: a changed route's appearance before and after is worked out, and what of it the kernel does not hold
becomes an operation. After a read-back the same is done for every route, and what no route wants by then is surplus.
"""

from typing import Final

import msgspec

from kproxy.dataplanes.ipvs import layout
from kproxy.dataplanes.ipvs.committed import Committed, Outcome, is_shared
from kproxy.dataplanes.ipvs.elements import OWN, ElementKey, Elements
from kproxy.dataplanes.ipvs.frontends import Appearance, World, appearance
from kproxy.dataplanes.ipvs.layout import CLIENTS, Kind, Options
from kproxy.dataplanes.ipvs.marks import LAST_NUMBER
from kproxy.dataplanes.ipvs.pools import Pools
from kproxy.dataplanes.ipvs.structure import closing, declarations, delivery, rules_digest
from kproxy.dataplanes.ipvs.transaction import ElementChange, IpvsTransaction
from kproxy.dataplanes.nft_tables import Facts
from kproxy.kernel.nft_elements import Codec
from kproxy.table.addresses import contains
from kproxy.table.errors import KernelError
from kproxy.table.route import Route, RouteKey
from kproxy.table.routing_table import Changes
from kproxy.table.terms import Family, Protocol

_ABSENT: Final = object()
_DISPATCH: Final = frozenset({*(kind.answers(client) for kind in Kind for client in CLIENTS), layout.GUARDED})


def compile_changes(
    committed: Committed, changes: Changes, family: Family, options: Options, missing: frozenset[str] = frozenset()
) -> IpvsTransaction:
    """Return the transaction that takes the kernel from ``committed`` to ``changes.after``."""
    everything = changes.before is None or changes.node or committed.routes is None or committed.facts is None
    if everything:
        routes = sorted(changes.after.routes(family), key=lambda route: -route.priority)
        wanted: dict[RouteKey, Route | None] = dict.fromkeys(committed.routes or ())
        wanted |= {route.key: route for route in routes}
        facts = Facts.of(changes.after.node, family)
    else:
        named = sorted(
            (change for change in changes.routes if change.key.family is family),
            key=lambda change: -change.after.priority if change.after else 1,
        )
        wanted = {change.key: change.after for change in named}
        facts = committed.facts or Facts()
    compilation = _Compilation(committed, family, options, facts, missing)
    for key, route in wanted.items():
        compilation.route(key, route, is_fresh=everything)
    return compilation.conclude(everything=everything)


class Numbers:
    """Numbers of frontends that have a virtual server by mark: the known ones, and new ones as they are asked for."""

    def __init__(self, known: dict[tuple[Kind, bytes], int]) -> None:
        self.known = known
        self.fresh: dict[tuple[Kind, bytes], int] = {}
        self._next = max(known.values(), default=0) + 1

    def __call__(self, kind: Kind, name: bytes) -> int:
        """Return a frontend's number. Raises KernelError when there is none left."""
        place = (kind, name)
        found = self.known.get(place) or self.fresh.get(place)
        if found is None:
            if self._next > LAST_NUMBER:
                taken = {*self.known.values(), *self.fresh.values()}
                self._next = next((each for each in range(1, LAST_NUMBER + 1) if each not in taken), 0)
                if not self._next:
                    raise KernelError("there are more than a million frontends that need a mark")
            found = self.fresh[place] = self._next
            self._next += 1
        return found


class _Compilation:
    def __init__(
        self, committed: Committed, family: Family, options: Options, facts: Facts, missing: frozenset[str]
    ) -> None:
        self.committed = committed
        self.family = family
        self.options = options
        self.facts = facts
        self.codec = Codec(family)
        self.numbers = Numbers(committed.numbers)
        self.before = World(family, options, committed.facts or facts, self.codec, self.numbers, missing)
        self.after = World(family, options, facts, self.codec, self.numbers, missing)
        self.outcome = Outcome(committed.revision, facts)
        self.pools = Pools(committed, options, self.codec)
        self.touched: dict[ElementKey, RouteKey | None] = {}
        self.wanted: Elements = {}
        self.counts: dict[ElementKey, int] = {}
        self.limits: dict[RouteKey, str] = {}

    def route(self, key: RouteKey, route: Route | None, *, is_fresh: bool) -> None:
        """Compile one route; None: it leaves. ``is_fresh``: all routes are compiled, so none is subtracted."""
        old = (self.committed.routes or {}).get(key)
        if old is not None:
            looked = appearance(old, self.before)
            self.touched.update(dict.fromkeys(looked.elements, key))
            self.pools.leave(looked, key)
            if not is_fresh:
                self._count(looked, -1)
        self.outcome.routes[key] = route
        self.outcome.serves[key] = None
        if route is not None:
            looks = appearance(route, self.after)
            looks = self._without_excluded(looks, key)
            self.touched.update(dict.fromkeys(looks.elements, key))
            self.wanted.update(looks.elements)
            self.pools.want(looks, key, is_hurried=key.protocol is Protocol.UDP)
            self._count(looks, 1)
            self.outcome.serves[key] = looks.serves
            if looks.limit:
                self.limits[key] = looks.limit

    def _without_excluded(self, looks: Appearance, key: RouteKey) -> Appearance:
        """Leave out frontends whose virtual server is somebody else's, at an address that was excluded."""
        taken = [
            server
            for server in looks.servers
            if server.protocol is not None
            and server in self.committed.pools
            and contains(self.options.exclude, server.address)
            and not self.committed.is_ours(server, self.options.marks, self.codec)
        ]
        if not taken:
            return looks
        names = {self.codec.address(server.address) for server in taken}
        width = self.codec.width
        elements = {
            element: data
            for element, data in looks.elements.items()
            if element[0].startswith(str(Kind.NODEPORT)) or element[1][:width] not in names
        }
        servers = {server: pool for server, pool in looks.servers.items() if server not in taken}
        words = f"{taken[0].address} is excluded, and another virtual server is there: {key} is not served on it"
        return msgspec.structs.replace(looks, servers=servers, elements=elements, limit=words)

    def _count(self, looks: Appearance, step: int) -> None:
        for element in looks.shared:
            self.counts[element] = self.counts.get(element, 0) + step

    def conclude(self, *, everything: bool) -> IpvsTransaction:
        """Sort what was collected into phases; with ``everything`` take away what no route has claimed."""
        held = self.committed.elements
        self._shared(everything=everything)
        if everything:
            for address in self.facts.family.nodeports.addresses:
                place: ElementKey = (layout.NODEPORT_ADDRESSES, self.codec.address(address), None)
                self.wanted[place] = None
                self.touched[place] = None
            self.touched.update((element, None) for element in held if element[0] not in OWN and element not in self.touched)
        servers = self.pools.changes(self.outcome, everything=everything)
        leaving = {each.owner for each in self.outcome.draining.values() if each is not None and each.leaves}
        leaving |= {each.owner for each in self.committed.draining.values() if each.leaves}
        ground: list[ElementChange] = []
        dispatch: list[ElementChange] = []
        later: list[ElementChange] = []
        for element, owner in self.touched.items():
            now, then = self.wanted.get(element, _ABSENT), held.get(element, _ABSENT)
            if element in self.committed.obsolete and now is not _ABSENT:
                self.outcome.needed.add(element)
            if now == then:
                continue
            if then is not _ABSENT:
                if element[0] == layout.SERVERS and owner in leaving:
                    self.outcome.obsolete[element] = owner  # goes with the virtual server, once that is idle
                    continue
                gone = ElementChange(False, element, held[element], owner)
                (dispatch if now is not _ABSENT or self._goes_at_once(element) else later).append(gone)
                self.outcome.elements[element] = None
            if now is not _ABSENT:
                come = ElementChange(True, element, self.wanted[element], owner)
                at_once = element[0] in _DISPATCH or element[0] == layout.ALLOWED or then is not _ABSENT
                (dispatch if at_once else ground).append(come)
                self.outcome.elements[element] = (self.wanted[element],)
        for phase in (ground, dispatch, later):
            phase.sort(key=_order)
        self.outcome.numbers = self.numbers.fresh
        digest = self.outcome.rules = rules_digest(self.family, self.options, self.facts)
        is_written = self.committed.rules == digest
        return IpvsTransaction(
            self.family,
            self.outcome,
            () if self.committed.has_table else tuple(declarations(self.family)),
            () if self.committed.is_ready else tuple(delivery(self.family, self.options)),
            ground,
            servers,
            dispatch,
            () if is_written else tuple(closing(self.family, self.options, self.facts)),
            later,
            self.limits,
        )

    def _shared(self, *, everything: bool) -> None:
        known = {} if everything else self.committed.references
        if everything:
            self.outcome.references = dict.fromkeys(self.committed.references, 0)
        for element, step in self.counts.items():
            count = known.get(element, 0) + step
            self.outcome.references[element] = count
            self.touched[element] = None
            if count:
                self.wanted[element] = None
        if not everything:
            return
        for element in self.committed.elements:
            if is_shared(element):
                self.touched.setdefault(element, None)

    def _goes_at_once(self, element: ElementKey) -> bool:
        """Tell whether an element goes in the phase that adds others of its set."""
        name, key, end = element
        if name in _DISPATCH:
            return True
        guarded = (layout.GUARDED, key[: -self.codec.width], None)
        return end is not None and guarded in self.wanted  # ranges of a frontend that stays guarded may overlap new ones


def _order(change: ElementChange) -> tuple[bool, bool, str]:
    """Return the place of a change in its phase: deletions first; what leads a packet last."""
    return (change.adds, change.element[0] in _DISPATCH, change.element[0])

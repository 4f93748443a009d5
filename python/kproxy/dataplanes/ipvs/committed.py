# SPDX-License-Identifier: Apache-2.0
"""What of ours the kernel holds, and how it becomes the next.

``Committed`` belongs to its dataplane and changes in place, only after the kernel has said yes. It mirrors the kernel: the
elements of our table, and every virtual server of the family, others' too, so that nobody's is taken for free.
"""

import itertools
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from kproxy.dataplanes.ipvs.elements import SHARED, ElementKey, Elements
from kproxy.dataplanes.ipvs.frontends import Pool
from kproxy.dataplanes.ipvs.layout import SERVERS, Kind
from kproxy.dataplanes.ipvs.marks import Marks
from kproxy.dataplanes.nft_tables import Facts
from kproxy.kernel.ipvs_values import ServerKey
from kproxy.kernel.nft_elements import Codec
from kproxy.table.frontend import Frontend
from kproxy.table.route import Route, RouteKey
from kproxy.table.terms import FrontendKind

_REVISIONS = itertools.count(1)
K = TypeVar("K")
V = TypeVar("V")


class Draining(msgspec.Struct, frozen=True):
    """What of a virtual server is on its way out.

    ``reals``: real servers that take no new connections; True: they need not wait until theirs have ended. ``leaves``: the
    virtual server goes with the last of them. ``owner``: the route it was for, where that is known.
    """

    reals: Mapping[str, bool]
    leaves: bool = False
    owner: RouteKey | None = None


class Outcome(msgspec.Struct):
    """How ``Committed`` differs once a transaction is in. None: gone."""

    revision: int
    facts: Facts
    routes: dict[RouteKey, Route | None] = {}
    elements: dict[ElementKey, tuple[bytes | None] | None] = {}
    references: dict[ElementKey, int] = {}
    pools: dict[ServerKey, Pool] = {}
    draining: dict[ServerKey, Draining | None] = {}
    obsolete: dict[ElementKey, RouteKey | None] = {}
    needed: set[ElementKey] = set()  # records that were obsolete
    serves: dict[RouteKey, Mapping[str, tuple[ServerKey, ...]] | None] = {}
    numbers: dict[tuple[Kind, bytes], int] = {}
    rules: int = 0


class Committed:
    """The dataplane's state.

    Attributes: ``routes`` as committed (none are known after a read-back, until one was compared or compiled); ``elements``
    and ``pools`` as the kernel holds them; ``references``: how many routes have a shared element; ``numbers`` of frontends
    that have a virtual server by mark; what is ``draining``; ``obsolete``: records that go with the virtual servers of the
    route they were for; ``claimed``: virtual servers known as ours beside their records; ``serves``: those of each
    frontend; ``rules``: digest of the rules as text, 0 where they are missing or not as they were written; ``has_table``;
    ``is_ready``: packets are delivered and sysctls set.
    """

    def __init__(self, claimed: frozenset[ServerKey] = frozenset()) -> None:
        self.claimed = claimed
        self.revision = next(_REVISIONS)
        self.routes: dict[RouteKey, Route] | None = None
        self.facts: Facts | None = None
        self.elements: Elements = {}
        self.references: dict[ElementKey, int] = {}
        self.pools: dict[ServerKey, Pool] = {}
        self.numbers: dict[tuple[Kind, bytes], int] = {}
        self.draining: dict[ServerKey, Draining] = {}
        self.obsolete: dict[ElementKey, RouteKey | None] = {}
        self.serves: dict[RouteKey, Mapping[str, tuple[ServerKey, ...]]] = {}
        self.rules = 0
        self.has_table = False
        self.is_ready = False

    def is_ours(self, key: ServerKey, marks: Marks, codec: Codec) -> bool:
        """Tell whether a virtual server is ours: its mark is, or its address and port stand in our table."""
        if key.protocol is None:
            return marks.unpack(key.mark) is not None
        return key in self.claimed or record_of(key, codec) in self.elements

    def advance(self, outcome: Outcome) -> None:
        """Take over what a transaction has done."""
        self.revision = next(_REVISIONS)
        self.facts, self.rules = outcome.facts, outcome.rules
        self.has_table = self.is_ready = True
        self.routes = self.routes or {}
        _merge(self.routes, outcome.routes)
        _merge(self.serves, outcome.serves)
        _merge(self.draining, outcome.draining)
        _merge(self.references, {element: count or None for element, count in outcome.references.items()})
        for element, data in outcome.elements.items():
            if data is None:
                self.elements.pop(element, None)
            else:
                self.elements[element] = data[0]
        for element in outcome.needed:
            self.obsolete.pop(element, None)
        self.obsolete.update(outcome.obsolete)
        self.pools.update(outcome.pools)
        self.numbers.update(outcome.numbers)

    def claims(self) -> frozenset[ServerKey]:
        """Return the virtual servers that are ours whatever becomes of the table that says so."""
        served = {key for each in self.serves.values() for servers in each.values() for key in servers}
        return frozenset(key for key in served | self.draining.keys() if key in self.pools)


def _merge(known: dict[K, V], changed: Mapping[K, V | None]) -> None:
    for key, value in changed.items():
        if value is None:
            known.pop(key, None)
        else:
            known[key] = value


def record_of(key: ServerKey, codec: Codec) -> ElementKey:
    """Return the element by which a virtual server of an address and port is known as ours."""
    assert key.protocol is not None  # noqa: S101 - those by mark have no record
    return (SERVERS, codec.frontend(Frontend(FrontendKind.EXTERNAL_IP, key.protocol, key.address, key.port)), None)


def is_shared(element: ElementKey) -> bool:
    """Tell whether several routes may have an element."""
    return element[0] in SHARED

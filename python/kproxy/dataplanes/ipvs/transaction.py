# SPDX-License-Identifier: Apache-2.0
"""A change to the kernel as a value: its phases, and their printed form.

1. ``prepare``: the table and its sets (nft text), once; with it policy routing and sysctls.
2. ``ground``: elements that nothing leads to yet; the record of virtual servers to come among them.
3. ``servers``: virtual and real servers; what shall leave gets weight 0 and keeps its connections.
4. ``dispatch``: elements that lead packets to the servers.
5. ``closing``: the rules, when they are not there as they should be (nft text).
6. ``later``: elements that a packet in flight may still look up. Real servers of weight 0 leave once they are idle.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from kproxy.dataplanes.ipvs.committed import Outcome
from kproxy.dataplanes.ipvs.elements import ElementKey, schemas
from kproxy.dataplanes.ipvs.layout import WORDS
from kproxy.kernel.ipvs_values import Operation
from kproxy.table.route import RouteKey
from kproxy.table.terms import Family

_LINE: Final = 200  # elements a printed line holds


class ElementChange(NamedTuple):
    """An element that comes (``adds``) or goes, and the route it is for, where it is one's."""

    adds: bool
    element: ElementKey
    data: bytes | None
    owner: RouteKey | None

    @property
    def undone(self) -> "ElementChange":
        """What takes this one back."""
        return self._replace(adds=not self.adds)


class ServerChange(NamedTuple):
    """An operation on a server, the one that takes it back, and the route it is for, where it is one's."""

    operation: Operation
    undo: Operation
    owner: RouteKey | None


class IpvsTransaction(msgspec.Struct, frozen=True):
    """What to send, and what will be committed then."""

    family: Family
    outcome: Outcome
    prepare: Sequence[str] = ()
    delivery: Sequence[str] = ()
    ground: Sequence[ElementChange] = ()
    servers: Sequence[ServerChange] = ()
    dispatch: Sequence[ElementChange] = ()
    closing: Sequence[str] = ()
    later: Sequence[ElementChange] = ()
    limits: dict[RouteKey, str] = {}

    @property
    def operations(self) -> int:
        """Return how many kernel operations it holds."""
        parts: tuple[Sequence[object], ...] = (
            *(self.prepare, self.delivery, self.ground, self.servers, self.dispatch, self.closing, self.later),
        )
        return sum(map(len, parts))

    def lines(self) -> Iterator[str]:
        """Yield the whole, each phase under the name of the tool that takes it."""
        yield from _under("nft -f", self.prepare)
        yield from _under("ip -batch", self.delivery)
        yield from _under("nft -f", list(self._elements(self.ground)))
        yield from _under("ipvsadm -R", [str(change.operation) for change in self.servers])
        yield from _under("nft -f", [*self._elements(self.dispatch), *self.closing, *self._elements(self.later)])

    def _elements(self, changes: Sequence[ElementChange]) -> Iterator[str]:
        known, table = schemas(self.family), WORDS[self.family].table
        start = 0
        while start < len(changes):
            first, stop = changes[start], start + 1
            while stop < len(changes) and stop - start < _LINE and _alike(first, changes[stop]):
                stop += 1
            schema = known[first.element[0]]
            texts = [
                schema.element_text(change.element[1], change.data if change.adds else None, change.element[2])
                for change in changes[start:stop]
            ]
            yield f"{'add' if first.adds else 'delete'} element {table} {schema.name} {{ {', '.join(texts)} }}"
            start = stop

    def __str__(self) -> str:
        """Return the printed form."""
        return "".join(f"{line}\n" for line in self.lines())


def _alike(one: ElementChange, other: ElementChange) -> bool:
    return one.adds is other.adds and one.element[0] == other.element[0]


def _under(tool: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"# {tool}"
        yield from lines

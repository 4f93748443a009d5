# SPDX-License-Identifier: Apache-2.0
"""A change as a value: its phases, and their printed form.

1. ``fill``: Services the relay must have before anybody is sent there.
2. ``prepare``: chains that something is going to point to (text).
3. ``batches``: elements, each batch one kernel transaction.
4. ``closing``: rules that must not be in force before the elements are (text).
5. ``later``: what a packet in flight may still reach: elements, Services of the relay and parts of them.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from kproxy.dataplanes.userspace.committed import Outcome
from kproxy.dataplanes.userspace.elements import ElementKey
from kproxy.dataplanes.userspace.services import Service
from kproxy.kernel.nft_elements import Schema
from kproxy.table.route import RouteKey

ADD: Final = "add"
DELETE: Final = "delete"
_A_LINE: Final = 500  # elements of printed text


class Operation(NamedTuple):
    """One element that comes or goes. ``data`` is what it holds, ``owner`` the route it is for, where it is for one."""

    verb: str
    element: ElementKey
    data: bytes | None
    owner: RouteKey | None

    def undone(self) -> "Operation":
        """Return what takes this one back."""
        return self._replace(verb=DELETE if self.verb == ADD else ADD)


Batch = Sequence[Operation]


class Telling(msgspec.Struct, frozen=True):
    """What the relay is told, all at once: Services as they shall be, keys of those that go."""

    upserts: Mapping[str, Service] = {}
    removes: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.upserts) + len(self.removes)

    def lines(self) -> Iterator[str]:
        """Yield it as comments of nft text: the relay has no tool that reads text."""
        for key, service in self.upserts.items():
            frontends = ", ".join(name for name, _, _ in service.frontends)
            endpoints = ", ".join(name for name, _, _ in service.all or service.local) or "nobody"
            yield f"# relay: set {key}: {frontends} -> {endpoints} ({service.method})"
        for key in sorted(self.removes):
            yield f"# relay: delete {key}"


class Target(msgspec.Struct, frozen=True):
    """The table a transaction is for, and its sets."""

    table: str  # as nft commands name it: "ip kproxy-relay"
    name: str
    schemas: Mapping[str, Schema]

    def text(self, batch: Iterable[Operation]) -> Iterator[str]:
        """Yield operations as nft commands."""
        for (verb, name), run in itertools.groupby(batch, key=lambda one: (one.verb, one.element[0])):
            schema = self.schemas[name]
            while part := list(itertools.islice(run, _A_LINE)):
                elements = ", ".join(
                    schema.element_text(one.element[1], one.data if verb == ADD else None, one.element[2]) for one in part
                )
                yield f"{verb} element {self.table} {name} {{ {elements} }}"


class RelayTransaction(msgspec.Struct, frozen=True):
    """What to send, and what will be committed then. ``str()`` is text for ``nft -f``, all phases in order."""

    target: Target
    outcome: Outcome
    fill: Telling = Telling()
    prepare: Sequence[str] = ()
    batches: Sequence[Batch] = ()
    closing: Sequence[str] = ()
    routing: bool = False  # taken packets have to be brought to this node
    later: Batch = ()
    relieve: Telling = Telling()  # with ``later``
    limits: Mapping[RouteKey, str] = {}

    @property
    def operations(self) -> int:
        """Return how many operations it holds, of the kernel and of the relay."""
        return self.kernel_operations + len(self.fill) + len(self.relieve)

    @property
    def kernel_operations(self) -> int:
        """Return how many operations of the kernel it holds: none after a restart that changes nothing."""
        elements = sum(map(len, self.batches)) + len(self.later)
        return elements + len(self.prepare) + len(self.closing) + self.routing

    def lines(self) -> Iterator[str]:
        """Yield the whole as nft commands and comments."""
        yield from self.fill.lines()
        yield from self.prepare
        for batch in self.batches:
            yield from self.target.text(batch)
        if self.routing:
            yield "# policy routing: what is taken ends on this node"
        yield from self.closing
        yield from self.target.text(self.later)
        yield from self.relieve.lines()

    def __str__(self) -> str:
        """Return the printed form."""
        return "".join(f"{line}\n" for line in self.lines())

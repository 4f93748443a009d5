# SPDX-License-Identifier: Apache-2.0
"""A change to the table as a value: its phases, and their printed form.

1. ``prepare``: chains that something is going to point to (text).
2. ``batches``: elements, each batch one kernel transaction: endpoints, slots, and the frontends' shapes last.
3. ``closing``: rules that must not be in force before the elements are (text).
4. ``later``: what a packet in flight may still reach: surplus slots, endpoints and chains that left.
"""

import bisect
import copy
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from kproxy.dataplanes.nftables.committed import ElementKey, Outcome
from kproxy.dataplanes.nftables.layout import WORDS
from kproxy.kernel.nft_elements import Schema
from kproxy.table.route import RouteKey
from kproxy.table.terms import Family

ADD: Final = "add"
DELETE: Final = "delete"


class Row(NamedTuple):
    """One element of a run. ``data``: register bytes of a map's value; ``end``: last key of an interval."""

    key: bytes
    data: bytes | None
    end: bytes | None


class Run:
    """Elements of one set that are all added or all deleted.

    Keys, data and ends are columns of bytes, each as wide as in the first row: a load of half a million elements takes ten
    megabytes so, as single objects it would take eighty.
    """

    def __init__(self, verb: str, name: str) -> None:
        self.verb = verb
        self.name = name
        self.keys = bytearray()
        self.data = bytearray()
        self.ends = bytearray()
        self.width = 0  # of a key
        self._size = 0
        self._owners: list[RouteKey | None] = []
        self._starts: list[int] = []  # the first row of each owner

    def __len__(self) -> int:
        return self._size

    def extend(self, keys: Sequence[bytes], data: Sequence[bytes], ends: Sequence[bytes], owner: RouteKey | None) -> None:
        """Append rows of one owner; ``data`` and ``ends`` may be empty, in all rows of a run alike."""
        if not self._owners or self._owners[-1] is not owner:
            self._owners.append(owner)
            self._starts.append(self._size)
        self.width = self.width or len(keys[0])
        self._size += len(keys)
        self.keys += b"".join(keys)
        self.data += b"".join(data)
        self.ends += b"".join(ends)

    @property
    def data_width(self) -> int:
        """How many bytes a map's value has; 0 in a set."""
        return len(self.data) // self._size

    def row(self, index: int) -> Row:
        """Return one element."""
        return Row(*(_cell(column, index, self._size) for column in (self.keys, self.data, self.ends)))  # type: ignore[arg-type]

    def rows(self) -> Iterator[Row]:
        """Yield every element."""
        return map(self.row, range(self._size))

    def owner(self, index: int) -> RouteKey | None:
        """Return the route an element is for; None: for several, or for none."""
        return self._owners[bisect.bisect_right(self._starts, index) - 1]

    def reversed(self) -> "Run":
        """Return the run that takes this one back."""
        other = copy.copy(self)
        other.verb = DELETE if self.verb == ADD else ADD
        return other

    def text(self, schema: Schema, table: str) -> Iterator[str]:
        """Yield the run as nft commands."""
        rows = self.rows()
        while part := list(itertools.islice(rows, 500)):
            elements = ", ".join(
                schema.element_text(row.key, row.data if self.verb == ADD else None, row.end) for row in part
            )
            yield f"{self.verb} element {table} {self.name} {{ {elements} }}"


def _cell(column: bytearray, index: int, size: int) -> bytes | None:
    width = len(column) // size
    return bytes(column[index * width : (index + 1) * width]) if width else None


class Batch:
    """Runs that the kernel takes or refuses as one. Elements of one set and verb share a run."""

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self.runs = list(runs)
        self._open: dict[tuple[str, str], Run] = {}

    def add(self, name: str, key: bytes, data: bytes | None, end: bytes | None, owner: RouteKey | None) -> None:
        """Append an addition."""
        self._append(ADD, name, key, data, end, owner)

    def add_many(self, name: str, keys: list[bytes], data: list[bytes], owner: RouteKey) -> None:
        """Append additions to a map, for one route."""
        self._run(ADD, name).extend(keys, data, (), owner)

    def delete(self, name: str, key: bytes, data: bytes | None, end: bytes | None, owner: RouteKey | None) -> None:
        """Append a deletion. ``data`` is what the element holds: undoing puts it back."""
        self._append(DELETE, name, key, data, end, owner)

    def _append(
        self, verb: str, name: str, key: bytes, data: bytes | None, end: bytes | None, owner: RouteKey | None
    ) -> None:
        self._run(verb, name).extend((key,), () if data is None else (data,), () if end is None else (end,), owner)

    def _run(self, verb: str, name: str) -> Run:
        run = self._open.get((verb, name))
        if run is None:
            run = self._open[verb, name] = Run(verb, name)
            self.runs.append(run)
        return run

    @property
    def operations(self) -> int:
        """Return how many elements it touches."""
        return sum(map(len, self.runs))

    def locate(self, index: int) -> tuple[Run, int] | None:
        """Return the run, and the place in it, of the operation with this index."""
        for run in self.runs:
            if index < len(run):
                return run, index
            index -= len(run)
        return None

    def undone(self) -> "Batch":
        """Return the batch that takes this one back."""
        return Batch(run.reversed() for run in reversed(self.runs))


class Stage:
    """The operations of one group of routes, sorted into the order in which the kernel must learn them.

    ``size`` counts elements as they are planned.
    """

    def __init__(self) -> None:
        self.endpoints = Batch()
        self.slots_out = Batch()
        self.slots = Batch()
        self.elements_out = Batch()
        self.elements = Batch()
        self.dispatch_out = Batch()
        self.dispatch = Batch()
        self.size = 0

    def put(self, element: ElementKey, data: bytes | None, owner: RouteKey | None, *, dispatch: bool = False) -> None:
        """Add an element; with ``dispatch`` after all others."""
        name, key, end = element
        (self.dispatch if dispatch else self.elements).add(name, key, data, end, owner)

    def take(self, element: ElementKey, data: bytes | None, owner: RouteKey | None, *, dispatch: bool = False) -> None:
        """Delete an element, before others of its set are added."""
        name, key, end = element
        (self.dispatch_out if dispatch else self.elements_out).delete(name, key, data, end, owner)

    def batch(self) -> Batch:
        """Return everything in order."""
        parts = (
            *(self.endpoints, self.slots_out, self.slots),
            *(self.elements_out, self.elements, self.dispatch_out, self.dispatch),
        )
        return Batch([run for part in parts for run in part.runs])


class Target(msgspec.Struct, frozen=True):
    """The table a transaction is for, and its sets."""

    family: Family
    name: str
    schemas: dict[str, Schema]

    @property
    def table(self) -> str:
        """Return the table as nft commands name it."""
        return f"{WORDS[self.family].ip} {self.name}"

    def text(self, batch: Batch) -> Iterator[str]:
        """Yield a batch as nft commands."""
        for run in batch.runs:
            yield from run.text(self.schemas[run.name], self.table)


class NftTransaction(msgspec.Struct, frozen=True):
    """What to send, and what will be committed then. ``str()`` is text for ``nft -f``, all phases in order."""

    target: Target
    outcome: Outcome
    prepare: Sequence[str] = ()
    batches: Sequence[Batch] = ()
    closing: Sequence[str] = ()
    later: Batch = msgspec.field(default_factory=Batch)
    limits: dict[RouteKey, str] = {}

    @property
    def operations(self) -> int:
        """Return how many kernel operations it holds."""
        elements = sum(batch.operations for batch in self.batches) + self.later.operations
        return elements + len(self.prepare) + len(self.closing)

    def lines(self) -> Iterator[str]:
        """Yield the whole as nft commands."""
        yield from self.prepare
        for batch in self.batches:
            yield from self.target.text(batch)
        yield from self.closing
        yield from self.target.text(self.later)

    def __str__(self) -> str:
        """Return the printed form."""
        return "".join(f"{line}\n" for line in self.lines())

# SPDX-License-Identifier: Apache-2.0
"""Counters: new connections of frontends and endpoints, refused packets.

Frontends are counted on their set-id elements, endpoints on their id elements, so neither notices a slot that moves. A large
map is never dumped, which is quadratic: endpoints are read by key, a part each time, and the others' last values stand in.
When an element goes while what it counts stays (its set was numbered anew), its last count is kept and added from then on.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from kproxy import _core
from kproxy.dataplanes.contract import Counters, Traffic
from kproxy.dataplanes.nftables import layout
from kproxy.dataplanes.nftables.commit import NUMBERS
from kproxy.dataplanes.nftables.committed import Committed
from kproxy.dataplanes.nftables.elements import Codec, Key, number, read_number
from kproxy.dataplanes.nftables.frontends import kind_of
from kproxy.dataplanes.nftables.layout import Kind, Reason, Scope
from kproxy.dataplanes.nftables.transaction import DELETE, Batch
from kproxy.table.errors import KernelError
from kproxy.table.route import RouteKey
from kproxy.table.terms import Family

ENDPOINTS_A_TIME: Final = 20_000
_NOTHING: Final = Traffic()


class EndpointTraffic(Mapping[tuple[RouteKey, str], Traffic]):
    """Traffic of every endpoint, worked out when asked: with 250,000 of them a copy a scrape would be the larger cost."""

    def __init__(self, committed: Committed, counts: Mapping[int, int], kept: Mapping[tuple[RouteKey, str], int]) -> None:
        self._committed, self._counts, self._kept = committed, counts, kept

    def __getitem__(self, name: tuple[RouteKey, str]) -> Traffic:
        record = self._committed.records[name[0]]
        ids = [identifier for scope in Scope if (identifier := record.slots(scope).ids.get(name[1]))]
        if not ids:
            raise KeyError(name)
        total = self._kept.get(name, 0) + sum(self._counts.get(identifier, 0) for identifier in ids)
        return Traffic(total) if total else _NOTHING

    def __iter__(self) -> Iterator[tuple[RouteKey, str]]:
        for key, record in list(self._committed.records.items()):
            for name in record.all.ids:
                yield key, name
            for name in record.local.ids:
                if name not in record.all.ids:
                    yield key, name

    def __len__(self) -> int:
        return sum(
            len(record.all.ids) + sum(name not in record.all.ids for name in record.local.ids)
            for record in self._committed.records.values()
        )


class Counting:
    """Reads the counters of one family's table."""

    def __init__(self, family: Family, socket: "_core.NftSocket") -> None:
        self._family = family
        self._number = NUMBERS[family]
        self._codec = Codec(family)
        self._socket = socket
        self._counts: dict[int, int] = {}  # endpoint id -> connections, where there were any
        self._kept: dict[tuple[RouteKey, str], int] = {}  # counts of ids that endpoints no longer have
        self._turn = 0

    def read(self, committed: Committed) -> Counters:
        """Read everything but the endpoints of other turns. Raises KernelError."""
        if committed.facts is None:  # nothing is known to be in the kernel
            return Counters({}, {}, {})
        sets = {kind: self._packets(committed.table, kind.sets) for kind in Kind}
        self._read_endpoints(committed)
        refusals = self._packets(committed.table, layout.REFUSALS)
        frontends = {
            (key, str(frontend)): Traffic(
                sets[kind_of(frontend)].get(self._codec.frontend(frontend), 0) + self._kept.get((key, str(frontend)), 0)
            )
            for key, record in committed.records.items()
            for frontend in record.route.frontends
        }
        return Counters(
            frontends,
            EndpointTraffic(committed, self._counts, self._kept),
            {str(reason): refusals.get(number(reason.code), 0) for reason in Reason},
        )

    def keep(self, committed: Committed, batch: Batch) -> None:
        """Before a batch deletes endpoint ids, keep the counts of endpoints that stay under another id."""
        staying: dict[Key, tuple[RouteKey, str]] = {}
        for run in batch.runs:
            if run.verb == DELETE and run.name == layout.ENDPOINTS:
                for key, data, owner in zip(run.keys, run.data, run.owners, strict=True):
                    record = committed.records.get(owner) if owner else None
                    if owner and record:
                        name = self._codec.endpoint_text(data)
                        if name in record.all.ids or name in record.local.ids:
                            staying[key] = (owner, name)
        for (key, place), count in zip(staying.items(), self._get(committed.table, list(staying)), strict=True):
            if count:
                self._kept[place] = self._kept.get(place, 0) + count
                self._counts.pop(read_number(key), None)

    def _packets(self, table: str, name: str) -> dict[Key, int]:
        try:
            return {element[0]: element[3] or 0 for element in self._socket.dump(self._number, table, name)}
        except _core.NetlinkError as error:
            raise KernelError(f"the counters of {name} in table {table} cannot be read: {error.strerror}") from error

    def _get(self, table: str, keys: list[Key]) -> list[int]:
        try:
            elements = self._socket.get(self._number, table, layout.ENDPOINTS, keys) if keys else []
        except _core.NetlinkError as error:
            raise KernelError(f"the counters of endpoints in table {table} cannot be read: {error.strerror}") from error
        return [element[3] or 0 if element else 0 for element in elements]

    def _read_endpoints(self, committed: Committed) -> None:
        """Read the next part of the endpoints; a part ends with a route."""
        routes = list(committed.records.values())
        start = self._turn if self._turn < len(routes) else 0
        ids: list[int] = []
        stop = start
        while stop < len(routes) and len(ids) < ENDPOINTS_A_TIME:
            ids += routes[stop].all.ids.values()
            ids += routes[stop].local.ids.values()
            stop += 1
        self._turn = stop
        for identifier, count in zip(ids, self._get(committed.table, [number(each) for each in ids]), strict=True):
            if count:
                self._counts[identifier] = count
        if start == 0 and len(self._counts) > 2 * len(ids) > 0 and stop == len(routes):
            alive = set(ids)
            self._counts = {identifier: count for identifier, count in self._counts.items() if identifier in alive}
        if len(self._kept) > len(routes):
            self._kept = {place: count for place, count in self._kept.items() if place[0] in committed.records}

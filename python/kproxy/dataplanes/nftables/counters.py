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
from kproxy.dataplanes.nftables.committed import Committed
from kproxy.dataplanes.nftables.frontends import kind_of
from kproxy.dataplanes.nftables.layout import Kind, Options, Reason, Scope
from kproxy.dataplanes.nftables.transaction import DELETE, Batch
from kproxy.kernel.nfnl import NUMBERS
from kproxy.kernel.nft_elements import Codec, Key, number, read_number
from kproxy.table.errors import KernelError
from kproxy.table.route import RouteKey
from kproxy.table.terms import Family

ENDPOINTS_A_TIME: Final = 20_000
_NOTHING: Final = Traffic()


class EndpointTraffic(Mapping[tuple[RouteKey, str], Traffic]):
    """Traffic of every endpoint, worked out when asked: with 250,000 of them a copy a scrape would be the larger cost.

    ``counts`` are connections by endpoint id, ``kept`` those of ids that are gone, ``carried`` packets and bytes by the
    element of ``traffic``; None: they are not counted.
    """

    def __init__(
        self,
        committed: Committed,
        counts: Mapping[int, int],
        kept: Mapping[tuple[RouteKey, str], int],
        carried: Mapping[Key, tuple[int, int]] | None,
        codec: Codec,
    ) -> None:
        self._committed, self._counts, self._kept = committed, counts, kept
        self._carried, self._codec = carried, codec

    def __getitem__(self, name: tuple[RouteKey, str]) -> Traffic:
        record = self._committed.records[name[0]]
        ids = [identifier for scope in Scope if (identifier := record.slots(scope).ids.get(name[1]))]
        if not ids:
            raise KeyError(name)
        total = self._kept.get(name, 0) + sum(self._counts.get(identifier, 0) for identifier in ids)
        if self._carried is not None:
            return Traffic(total, *self._carried.get(self._codec.traffic(name[0].protocol, name[1]), (0, 0)))
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

    def __init__(self, family: Family, socket: "_core.NftSocket", options: Options) -> None:
        self._number = NUMBERS[family]
        self._codec = Codec(family)
        self._socket = socket
        self._counts: dict[int, int] = {}  # endpoint id -> connections, where there were any
        self._kept: dict[tuple[RouteKey, str], int] = {}  # counts of ids that endpoints no longer have
        self._carried: dict[Key, tuple[int, int]] | None = {} if options.count_bytes else None
        self._many = ENDPOINTS_A_TIME  # counts at which it is worth looking for those of endpoints that are gone
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
            EndpointTraffic(committed, self._counts, self._kept, self._carried, self._codec),
            {str(reason): refusals.get(number(reason.code), 0) for reason in Reason},
        )

    def keep(self, committed: Committed, batch: Batch) -> None:
        """Before a batch deletes endpoint ids, keep the counts of endpoints that stay under another id."""
        staying: dict[Key, tuple[RouteKey, str]] = {}
        for run in batch.runs:
            if run.verb == DELETE and run.name == layout.ENDPOINTS:
                for index, row in enumerate(run.rows()):
                    owner = run.owner(index)
                    record = committed.records.get(owner) if owner else None
                    if owner and record and row.data:
                        name = self._codec.endpoint_text(row.data)
                        if name in record.all.ids or name in record.local.ids:
                            staying[row.key] = (owner, name)
        counts = self._get(committed.table, layout.ENDPOINTS, list(staying))
        for (key, place), (count, _) in zip(staying.items(), counts, strict=True):
            if count:
                self._kept[place] = self._kept.get(place, 0) + count
                self._counts.pop(read_number(key), None)

    def _packets(self, table: str, name: str) -> dict[Key, int]:
        try:
            return {element[0]: element[3] or 0 for element in self._socket.dump(self._number, table, name)}
        except _core.NetlinkError as error:
            raise KernelError(f"the counters of {name} in table {table} cannot be read: {error.strerror}") from error

    def _get(self, table: str, name: str, keys: list[Key]) -> list[tuple[int, int]]:
        try:
            elements = self._socket.get(self._number, table, name, keys) if keys else []
        except _core.NetlinkError as error:
            raise KernelError(f"the counters of {name} in table {table} cannot be read: {error.strerror}") from error
        return [(element[3] or 0, element[4] or 0) if element else (0, 0) for element in elements]

    def _read_endpoints(self, committed: Committed) -> None:
        """Read the next part of the endpoints; a part ends with a route."""
        routes = list(committed.records.items())
        start = self._turn if self._turn < len(routes) else 0
        ids: list[int] = []
        carriers: dict[Key, None] = {}
        stop = start
        while stop < len(routes) and len(ids) < ENDPOINTS_A_TIME:
            key, record = routes[stop]
            for scope in Scope:
                ids += record.slots(scope).ids.values()
                if self._carried is not None:
                    carriers.update((self._codec.traffic(key.protocol, name), None) for name in record.slots(scope).ids)
            stop += 1
        self._turn = stop
        counts = self._get(committed.table, layout.ENDPOINTS, [number(each) for each in ids])
        self._counts.update((identifier, count) for identifier, (count, _) in zip(ids, counts, strict=True) if count)
        if self._carried is not None:
            carried = self._get(committed.table, layout.TRAFFIC, list(carriers))
            self._carried.update((name, both) for name, both in zip(carriers, carried, strict=True) if both[0])
        self._forget(committed)

    def _forget(self, committed: Committed) -> None:
        """Drop counts of what is gone, when they have become many."""
        if len(self._counts) > self._many:
            alive = {
                each for record in committed.records.values() for scope in Scope for each in record.slots(scope).ids.values()
            }
            self._counts = {identifier: count for identifier, count in self._counts.items() if identifier in alive}
            self._many = max(ENDPOINTS_A_TIME, 2 * len(self._counts))
        if len(self._kept) > len(committed.records):
            self._kept = {place: count for place, count in self._kept.items() if place[0] in committed.records}

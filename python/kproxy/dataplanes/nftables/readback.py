# SPDX-License-Identifier: Apache-2.0
"""Reads from the kernel what of ours it holds.

Elements come by netlink dumps. Rules are not parsed: ``about`` holds a digest of each chain as it was written, and a
fingerprint of all rules as the kernel showed them then. If it shows others now, somebody has edited them, and all are
written anew; that is one transaction of some milliseconds.
"""

import errno
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

from kproxy import _core
from kproxy.dataplanes.nftables import layout
from kproxy.dataplanes.nftables.committed import Committed, ElementKey, Found
from kproxy.dataplanes.nftables.elements import read_slot, slot
from kproxy.dataplanes.nftables.layout import LOCAL_SET, WORDS, Kind, Scope
from kproxy.dataplanes.nftables.shapes import Balancer
from kproxy.kernel.nfnl import NUMBERS
from kproxy.kernel.nft import Nft
from kproxy.kernel.nft_elements import Codec, Schema, number, read_number
from kproxy.kernel.nft_rules import digest, read_rules
from kproxy.table.errors import KernelError
from kproxy.table.terms import Family

_POINTER: Final = re.compile(r"(\S+) : goto ([^\s,}]+)")
_PRINTED_CODES: Final = {"none": 0, "root": 0xFFFFFFFF}
DUMPED: Final = 30_000  # so many slots are dumped, more are read by key
READ_AT_ONCE: Final = 20_000
Place = TypeVar("Place", bound=tuple[int, ...])
_OWN: Final = frozenset({layout.SLOTS, layout.ENDPOINTS, layout.ABOUT, layout.REFUSALS})


class Reader:
    """Reads one family's table, whichever of our two names it has."""

    def __init__(self, family: Family, schemas: Mapping[str, Schema], socket: "_core.NftSocket", nft: Nft) -> None:
        self.family = family
        self._number = NUMBERS[family]
        self._codec = Codec(family)
        self._schemas = dict(schemas)
        self._socket = socket
        self._nft = nft

    def read(self) -> Committed:
        """Return what is committed: nothing if the table is missing, all anew if it is another's. Raises KernelError."""
        present = [name for name in layout.TABLES if self._socket.has_table(self._number, name)]
        ours = next((name for name in present if self._version(name) == layout.VERSION), None)
        if ours is None:
            free = [name for name in layout.TABLES if name not in present]
            return Committed(table=free[0] if free else layout.TABLE, obsolete=tuple(present))
        try:
            found = Found(self._elements(ours))
            committed = Committed(table=ours, obsolete=tuple(name for name in present if name != ours))
            self._structure(ours, committed)
            self._slots(ours, found, committed)
        except KeyError:  # a set of ours is missing: no table of this layout, whatever it says
            return Committed(table=layout.SPARE_TABLE if ours == layout.TABLE else layout.TABLE, obsolete=tuple(present))
        committed.take(found)
        return committed

    def fingerprint(self, table: str) -> int:
        """Return the digest of all rules. Raises KernelError."""
        return read_rules(self._number, table).digest

    def note_fingerprint(self, table: str, now: int) -> None:
        """Write down what our rules look like. Raises KernelError."""
        key = number(layout.ABOUT_FINGERPRINT)
        held = {element[0]: element[2] for element in self._dump(table, layout.ABOUT)}.get(key)
        if held != number(now):
            batch = _core.ElementBatch(self._number, table)
            if held is not None:
                batch.delete(layout.ABOUT, key)
            batch.add(layout.ABOUT, key, number(now))
            try:
                self._socket.send(batch)
            except _core.NetlinkError as error:
                raise KernelError(f"the fingerprint of table {table} cannot be noted: {error.strerror}") from error

    def _version(self, table: str) -> int | None:
        try:
            about = {element[0]: element[2] for element in self._dump(table, layout.ABOUT)}
        except KeyError:
            return None
        held = about.get(number(layout.ABOUT_VERSION))
        return read_number(held) if held else None

    def _dump(self, table: str, name: str) -> "list[_core._Element]":
        try:
            return self._socket.dump(self._number, table, name)
        except _core.NetlinkError as error:
            if error.errno == errno.ENOENT:
                raise KeyError(name) from error
            raise KernelError(f"set {name} of table {table} cannot be read: {error.strerror}") from error

    def _elements(self, table: str) -> dict[ElementKey, bytes | None]:
        return {
            (name, key, end): data
            for name, schema in self._schemas.items()
            if not (name in _OWN or schema.verdict or schema.dynamic_size)
            for key, end, data, *_ in self._dump(table, name)
        }

    def _slots(self, table: str, found: Found, committed: Committed) -> None:
        """Read slots and endpoints: small tables whole, large ones by key, where a dump would be quadratic.

        By key nothing is seen of an endpoint id that no slot holds; it stays, harmless, since ids are never used again.
        """
        counts = _counts(found, {code: balancer for balancer, code in committed.codes.items()})
        if sum(counts.values()) <= DUMPED or not committed.chains:
            for key, _, data, *_ in self._dump(table, layout.SLOTS):
                found.hold(*read_slot(key), read_number(data or bytes(4)))
            for key, _, data, *_ in self._dump(table, layout.ENDPOINTS):
                found.endpoints[read_number(key)] = self._codec.endpoint_text(data or b"")
            return
        wanted = [(set_id, index) for set_id, count in counts.items() for index in range(count)]
        surplus = [(set_id, counts.get(set_id, 0)) for each in counts for set_id in (each, each ^ LOCAL_SET)]
        for place, data in self._get(table, layout.SLOTS, wanted, slot):
            found.hold(*place, read_number(data))
        while surplus:  # what a kill between two phases has left stands right behind the slots in use
            held = list(self._get(table, layout.SLOTS, sorted(set(surplus)), slot))
            for place, data in held:
                found.hold(*place, read_number(data))
            surplus = [(set_id, index + 1) for (set_id, index), _ in held]
        ids = [(identifier,) for held_ids in found.slots.values() for identifier in set(held_ids) if identifier]
        for (identifier,), data in self._get(table, layout.ENDPOINTS, ids, number):
            found.endpoints[identifier] = self._codec.endpoint_text(data)

    def _get(
        self, table: str, name: str, places: Sequence[Place], key: Callable[..., bytes]
    ) -> Iterator[tuple[Place, bytes]]:
        for start in range(0, len(places), READ_AT_ONCE):
            part = places[start : start + READ_AT_ONCE]
            try:
                elements = self._socket.get(self._number, table, name, [key(*place) for place in part])
            except _core.NetlinkError as error:
                raise KernelError(f"map {name} of table {table} cannot be read: {error.strerror}") from error
            for place, element in zip(part, elements, strict=True):
                if element and element[2]:
                    yield place, element[2]

    def _structure(self, table: str, committed: Committed) -> None:
        """Read chains and pointers, if they are as they were written; else leave them unknown, to be written anew."""
        rules = read_rules(self._number, table)
        about = {
            read_number(element[0]): read_number(element[2] or b"\0\0\0\0") for element in self._dump(table, layout.ABOUT)
        }
        if about.get(layout.ABOUT_FINGERPRINT) != rules.digest:
            return
        chains = {name: about.get(digest((name,))) for name in rules.chains}
        for kind in Kind:
            for name in (kind.policies, *(kind.balancers(scope) for scope in Scope)):
                for code, target in self._pointers(table, name):
                    if target in chains:
                        committed.verdicts[name, code] = target
        committed.chains = {name: held for name, held in chains.items() if held is not None}
        committed.codes = {
            balancer: code
            for (name, code), target in committed.verdicts.items()
            for kind in Kind
            for scope in Scope
            if name == kind.balancers(scope)
            if (balancer := Balancer.parse(target.removeprefix(f"{kind}-{scope}-"))).plain_code is None
        }

    def _pointers(self, table: str, name: str) -> list[tuple[int, str]]:
        listing = self._nft.listing(f"map {WORDS[self.family].ip} {table} {name}")
        found = []
        for code, target in _POINTER.findall(listing):
            high, colon, low = code.partition(":")
            found.append((int(high, 16) << 16 | int(low, 16) if colon else _PRINTED_CODES.get(code, 0), target))
        return found


def _counts(found: Found, special: Mapping[int, Balancer]) -> dict[int, int]:
    """Return how many slots each set id is picked from."""
    counts: dict[int, int] = {}
    for kind in Kind:
        for name, bit, mask in ((kind.shapes, 0, 0xFFFF), (kind.locals, LOCAL_SET, 0xFFFFFFFF)):
            for (where, key, _), data in found.elements.items():
                set_id = found.elements.get((kind.sets, key, None)) if where == name else None
                if set_id and data:
                    code = read_number(data) & mask
                    counts[read_number(set_id) | bit] = special[code].slots if code in special else code
    return counts

# SPDX-License-Identifier: Apache-2.0
"""Reads from the kernel what of ours it holds.

Elements come by netlink dumps. Rules are not parsed: ``about`` holds a digest of each chain as it was written, and a
fingerprint of all of them as ``nft`` printed them then. If it prints them otherwise now, somebody has edited them (or nft is
another), and all are written anew; that is one transaction of some milliseconds.
"""

import errno
import re
import zlib
from array import array
from collections.abc import Mapping
from typing import Final

from kproxy import _core
from kproxy.dataplanes.nftables import layout
from kproxy.dataplanes.nftables.commit import NUMBERS
from kproxy.dataplanes.nftables.committed import Committed, Found
from kproxy.dataplanes.nftables.elements import Codec, Schema, number, read_number, read_slot
from kproxy.dataplanes.nftables.layout import WORDS, Kind, Scope
from kproxy.dataplanes.nftables.shapes import Balancer
from kproxy.dataplanes.nftables.structure import digest
from kproxy.kernel.nft import Nft
from kproxy.table.errors import KernelError
from kproxy.table.terms import Family

_CHAIN: Final = re.compile(r"^\tchain (\S+) \{", re.MULTILINE)
_POINTER: Final = re.compile(r"(\S+) : goto ([^\s,}]+)")
_PRINTED_CODES: Final = {"none": 0, "root": 0xFFFFFFFF}
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
        present = [name for name in (layout.TABLE, layout.SPARE_TABLE) if self._socket.has_table(self._number, name)]
        ours = next((name for name in present if self._version(name) == layout.VERSION), None)
        if ours is None:
            free = [name for name in (layout.TABLE, layout.SPARE_TABLE) if name not in present]
            return Committed(table=free[0] if free else layout.TABLE, obsolete=tuple(present))
        try:
            found = self._elements(ours)
        except KeyError:  # a set of ours is missing: no table of this layout, whatever it says
            return Committed(table=layout.SPARE_TABLE if ours == layout.TABLE else layout.TABLE, obsolete=tuple(present))
        committed = Committed(found, table=ours, obsolete=tuple(name for name in present if name != ours))
        self._structure(ours, committed)
        return committed

    def fingerprint(self, table: str) -> int:
        """Return the digest of all rules as nft prints them."""
        return _fingerprint(self._nft.listing(f"table {WORDS[self.family].ip} {table}", terse=True))

    def note_fingerprint(self, table: str, now: int) -> None:
        """Write down how our rules are printed. Raises KernelError."""
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

    def _elements(self, table: str) -> Found:
        found = Found()
        for name, schema in self._schemas.items():
            if name in _OWN or schema.verdict or schema.dynamic_size:
                continue
            for key, end, data, *_ in self._dump(table, name):
                found.elements[name, key, end] = data
        slots: dict[int, array[int]] = {}
        for key, _, data, *_ in self._dump(table, layout.SLOTS):
            set_id, index = read_slot(key)
            held = slots.setdefault(set_id, array("I"))
            if len(held) <= index:
                held.extend([0] * (index + 1 - len(held)))
            held[index] = read_number(data or b"\0\0\0\0")
        found.slots.update(slots)
        for key, _, data, *_ in self._dump(table, layout.ENDPOINTS):
            found.endpoints[read_number(key)] = self._codec.endpoint_text(data or b"")
        return found

    def _structure(self, table: str, committed: Committed) -> None:
        """Read chains and pointers, if they are as they were written; else leave them unknown, to be written anew."""
        listing = self._nft.listing(f"table {WORDS[self.family].ip} {table}", terse=True)
        about = {
            read_number(element[0]): read_number(element[2] or b"\0\0\0\0") for element in self._dump(table, layout.ABOUT)
        }
        if about.get(layout.ABOUT_FINGERPRINT) != _fingerprint(listing):
            return
        chains = {name: about.get(digest((name,))) for name in _CHAIN.findall(listing)}
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


def _fingerprint(listing: str) -> int:
    return zlib.crc32(re.sub(r"\s+", " ", listing).encode())

# SPDX-License-Identifier: Apache-2.0
"""Reads from the kernel what of ours it holds.

Rules are not parsed: ``about`` holds a digest of the chains as they were written, and a fingerprint of all rules as the
kernel showed them then. If it shows others now, somebody has edited them, and all are written anew.
"""

import errno
from collections.abc import Mapping
from typing import Final

from kproxy import _core
from kproxy.dataplanes.userspace import layout
from kproxy.dataplanes.userspace.committed import Committed
from kproxy.dataplanes.userspace.judging import is_code
from kproxy.kernel.nfnl import NUMBERS, refused
from kproxy.kernel.nft_elements import Schema, number, read_number
from kproxy.kernel.nft_rules import read_rules
from kproxy.table.errors import KernelError
from kproxy.table.terms import Family

_OWN: Final = frozenset({layout.ABOUT, layout.REFUSALS, layout.POLICIES})


class Reader:
    """Reads one family's table."""

    def __init__(self, family: Family, table: str, schemas: Mapping[str, Schema], socket: "_core.NftSocket") -> None:
        self._number = NUMBERS[family]
        self._table = table
        self._schemas = schemas
        self._socket = socket

    def exists(self) -> bool:
        """Tell whether there is a table of ours. Raises KernelError."""
        try:
            return self._socket.has_table(self._number, self._table)
        except _core.NetlinkError as error:
            raise refused(error) from error

    def read(self) -> Committed:
        """Return what is committed: nothing if there is no table. Raises KernelError."""
        committed = Committed()
        if not self.exists():
            return committed
        about = self._about()
        if about.get(layout.ABOUT_VERSION) != layout.VERSION:
            committed.is_obsolete = True
            return committed
        try:
            committed.elements = {
                (name, key, end): data
                for name in self._schemas
                if name not in _OWN
                for key, end, data, *_ in self._dump(name)
            }
            codes = frozenset(read_number(key) for key, *_ in self._dump(layout.POLICIES))
        except KeyError:  # a set of ours is missing: the whole is written anew
            committed.elements = {}
            committed.is_obsolete = True
            return committed
        if about.get(layout.ABOUT_FINGERPRINT) == self.fingerprint() and all(map(is_code, codes)):
            committed.codes = codes
            committed.structure = about.get(layout.ABOUT_STRUCTURE)
        return committed

    def fingerprint(self) -> int:
        """Return the digest of all rules. Raises KernelError."""
        return read_rules(self._number, self._table).digest

    def note_fingerprint(self, now: int) -> None:
        """Write down what our rules look like. Raises KernelError."""
        held = self._about().get(layout.ABOUT_FINGERPRINT)
        if held == now:
            return
        batch = _core.ElementBatch(self._number, self._table)
        key = number(layout.ABOUT_FINGERPRINT)
        if held is not None:
            batch.delete(layout.ABOUT, key)
        batch.add(layout.ABOUT, key, number(now))
        try:
            self._socket.send(batch)
        except _core.NetlinkError as error:
            raise KernelError(f"the fingerprint of table {self._table} cannot be noted: {error.strerror}") from error

    def refusals(self) -> dict[int, int]:
        """Return how many packets were refused, by reason code; none while there is no table. Raises KernelError."""
        try:
            return {read_number(key): packets or 0 for key, _, _, packets, *_ in self._dump(layout.REFUSALS)}
        except KeyError:
            return {}

    def _about(self) -> dict[int, int]:
        try:
            return {read_number(key): read_number(data) for key, _, data, *_ in self._dump(layout.ABOUT) if data}
        except KeyError:
            return {}

    def _dump(self, name: str) -> "list[_core._Element]":
        try:
            return self._socket.dump(self._number, self._table, name)
        except _core.NetlinkError as error:
            if error.errno == errno.ENOENT:
                raise KeyError(name) from error
            raise KernelError(f"set {name} of table {self._table} cannot be read: {error.strerror}") from error

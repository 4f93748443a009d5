# SPDX-License-Identifier: Apache-2.0
"""Reads from the kernel what of ours it holds.

Elements and virtual servers come by netlink dumps. Rules are not parsed: ``about`` holds a digest of their text, and a
fingerprint of them as the kernel showed them then. If it shows others now, somebody has edited them, and all are written
anew.
"""

import errno

from kproxy import _core
from kproxy.dataplanes.ipvs import layout
from kproxy.dataplanes.ipvs.commit import ServerDoor
from kproxy.dataplanes.ipvs.committed import Committed
from kproxy.dataplanes.ipvs.elements import OWN, schemas
from kproxy.dataplanes.ipvs.frontends import Pool
from kproxy.dataplanes.ipvs.layout import CLIENTS, TABLE, Kind, Options
from kproxy.dataplanes.ipvs.settings import HostSettings
from kproxy.kernel.ipvs_values import Held, ServerKey
from kproxy.kernel.nfnl import NUMBERS
from kproxy.kernel.nft_elements import number, read_number
from kproxy.kernel.nft_rules import read_rules
from kproxy.table.addresses import join_port
from kproxy.table.errors import KernelError
from kproxy.table.terms import Family


class Reader:
    """Reads one family."""

    def __init__(self, family: Family, options: Options, socket: "_core.NftSocket", settings: HostSettings) -> None:
        self.family = family
        self._options = options
        self._settings = settings
        self._number = NUMBERS[family]
        self._socket = socket

    def has_table(self) -> bool:
        """Tell whether our table is there. Raises KernelError."""
        try:
            return self._socket.has_table(self._number, TABLE)
        except _core.NetlinkError as error:
            raise KernelError(f"table {TABLE} cannot be looked for: {error.strerror}") from error

    def read(self, door: ServerDoor, claimed: frozenset[ServerKey]) -> Committed:
        """Return what the kernel holds; ``claimed`` virtual servers are ours in any case. Raises KernelError."""
        committed = Committed(claimed)
        committed.pools = {key: pool_of(held) for key, held in door.dump(self.family).items()}
        if self.has_table():
            try:
                self._table(committed)
            except KeyError:  # a set is missing: this is no table of ours, whatever it is called
                committed.has_table = False
        if not committed.has_table:
            committed.elements, committed.rules = {}, 0
        committed.is_ready = committed.has_table and self._settings.are_right(door)
        self._numbers(committed)
        return committed

    def _table(self, committed: Committed) -> None:
        for name in schemas(self.family):
            if name not in OWN:
                committed.elements.update(((name, key, end), data) for key, end, data, *_ in self._dump(name))
        about = self._about()
        self._dump(layout.REFUSALS)
        committed.has_table = about.get(layout.ABOUT_VERSION) == layout.VERSION
        if committed.has_table and about.get(layout.ABOUT_FINGERPRINT) == self.fingerprint():
            committed.rules = about.get(layout.ABOUT_RULES, 0)

    def _numbers(self, committed: Committed) -> None:
        """Give frontends the numbers they have; those of virtual servers that are leaving are not given again."""
        marks = self._options.marks
        for kind in Kind:
            for client in CLIENTS:
                for (name, key, _), data in committed.elements.items():
                    mark = marks.unpack(read_number(data)) if name == kind.marks(client) and data else None
                    if mark is not None:
                        committed.numbers[kind, key] = mark.number
        leaving = [mark.number for key in committed.pools if key.mark and (mark := marks.unpack(key.mark)) is not None]
        if leaving:
            committed.numbers[Kind.SERVICE, b""] = max(leaving)

    def fingerprint(self) -> int:
        """Return the digest of all rules as the kernel shows them. Raises KernelError."""
        return read_rules(self._number, TABLE).digest

    def note(self, rules: int, fingerprint: int) -> None:
        """Write down what our rules look like, so that a restart knows them. Raises KernelError."""
        about = self._about()
        batch = _core.ElementBatch(self._number, TABLE)
        for name, value in ((layout.ABOUT_RULES, rules), (layout.ABOUT_FINGERPRINT, fingerprint)):
            if about.get(name) != value:
                if name in about:
                    batch.delete(layout.ABOUT, number(name))
                batch.add(layout.ABOUT, number(name), number(value))
        try:
            if len(batch):
                self._socket.send(batch)
        except _core.NetlinkError as error:
            raise KernelError(f"the fingerprint of table {TABLE} cannot be noted: {error.strerror}") from error

    def _about(self) -> dict[int, int]:
        return {read_number(key): read_number(data or bytes(4)) for key, _, data, *_ in self._dump(layout.ABOUT)}

    def _dump(self, name: str) -> "list[_core._Element]":
        try:
            return self._socket.dump(self._number, TABLE, name)
        except _core.NetlinkError as error:
            if error.errno == errno.ENOENT:
                raise KeyError(name) from error
            raise KernelError(f"set {name} of table {TABLE} cannot be read: {error.strerror}") from error


def pool_of(held: Held) -> Pool:
    """Return a virtual server as the kernel holds it, without its counts."""
    reals = {join_port(each.server.address, each.server.port): each.server for each in held.reals}
    return Pool(held.server, reals)

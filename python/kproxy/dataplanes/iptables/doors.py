# SPDX-License-Identifier: Apache-2.0
"""What the two kinds of iptables tell without a process: what rules have counted, and that somebody changed them.

iptables over nf_tables tells both by netlink. Legacy iptables hands out whole tables and tells of no change, so it is asked:
its outline every time, which costs nothing, and all of its rules now and then, for as small a part of the time as bearable.
"""

import time
from collections.abc import Iterable
from typing import Final, Protocol

from kproxy._core import NetlinkError, NftSocket
from kproxy.dataplanes.iptables.committed import Counted
from kproxy.dataplanes.iptables.jumps import jump
from kproxy.dataplanes.iptables.layout import JUMPS, PREFIX, TABLES, Chain
from kproxy.kernel.nfnl import NUMBERS, refused
from kproxy.kernel.nft_watch import Watch
from kproxy.kernel.xtables import Kind, Xtables
from kproxy.kernel.xtables_legacy import LegacyTables

FEW: Final = 64  # chains that are read one by one
SHARE: Final = 0.005  # of all time goes into looking at legacy tables
SOONEST: Final = 0.5  # seconds between two looks


class Door(Protocol):
    """One kind's way to be looked at."""

    def counted(self, chains: Iterable[Chain] | None = None) -> Counted:
        """Return what rules of ours have counted: those of some chains, or all. Raises KernelError."""

    def changed(self) -> bool:
        """Tell whether others have changed something of ours since the last call. Cheap. Raises KernelError."""

    def ended(self, process: int) -> None:
        """Take note that a process of ours has changed the rules and ended."""

    def reading(self) -> None:
        """Take what is there now for known: it is about to be read."""

    def written(self) -> None:
        """Take what is there now for ours: it has just been written."""

    def close(self) -> None:
        """Let go of sockets."""


def door_of(xtables: Xtables) -> Door:
    """Return the door of a kind of iptables."""
    return _Nft(xtables) if xtables.kind is Kind.NFT else _Legacy(xtables)


class _Nft:
    """Looks through nf_tables' netlink."""

    def __init__(self, xtables: Xtables) -> None:
        self._xtables = xtables
        self._family = NUMBERS[xtables.family]
        self._socket = NftSocket()
        Watch.own(self._socket.portid)
        self._watch = Watch(self._family)

    def counted(self, chains: Iterable[Chain] | None = None) -> Counted:
        """Return what rules have counted."""
        wanted = None if chains is None else list(chains)
        found: dict[Chain, list[tuple[int, int]]] = {}
        requests: list[tuple[str, str | None]] = [(table, None) for table in TABLES]
        if wanted is not None and len(wanted) <= FEW:
            requests = list(wanted)
        try:
            for table, name in requests:
                for chain, packets, octets in self._socket.counts(self._family, table, name):
                    if chain.startswith(PREFIX):
                        found.setdefault((table, chain), []).append((packets, octets))
        except NetlinkError as error:
            raise refused(error) from error
        return {chain: tuple(counts) for chain, counts in found.items()}

    def changed(self) -> bool:
        """Tell whether others have changed our chains, or taken our jumps out of theirs."""
        news = self._watch.news(TABLES)
        if any(chain.startswith(PREFIX) or not chain for _, chain, _ in news):
            return True
        built_in = {(table, chain) for table, chain, what in news if what.startswith("delete")}
        return any(self._has_lost(where, ours) for where, ours in JUMPS if where in built_in)

    def _has_lost(self, built_in: Chain, ours: Chain) -> bool:
        return jump(ours) not in self._xtables.rules(*built_in)

    def ended(self, process: int) -> None:
        """Leave out what our process did."""
        Watch.ended(self._family, process)

    def reading(self) -> None:
        """Forget what was heard until now."""
        self._watch.news(TABLES)

    def written(self) -> None:
        """Do nothing: what we write is left out by itself."""

    def close(self) -> None:
        """Let go of the sockets."""
        self._watch.close()
        del self._socket


class _Legacy:
    """Looks at whole tables."""

    def __init__(self, xtables: Xtables) -> None:
        self._xtables = xtables
        self._tables = LegacyTables(xtables.family)
        self._outlines: dict[str, bytes] = {}
        self._fingerprints: dict[str, int] = {}
        self._next = 0.0

    def counted(self, chains: Iterable[Chain] | None = None) -> Counted:
        """Return what rules have counted."""
        wanted = None if chains is None else set(chains)
        found: dict[Chain, tuple[tuple[int, int], ...]] = {}
        for table in self._existing():
            if wanted is None or any(chain[0] == table for chain in wanted):
                counts = self._tables.entries(table).counts
                found.update(((table, name), tuple(each)) for name, each in counts.items() if name.startswith(PREFIX))
        return found

    def changed(self) -> bool:
        """Tell whether the tables are others than when they were last looked at."""
        if self._outline() != self._outlines:
            self.reading()
            return True
        started = time.monotonic()
        if started < self._next:
            return False
        now = self._fingerprint()
        is_changed = bool(self._fingerprints) and now != self._fingerprints
        self._fingerprints = now
        self._next = started + max(SOONEST, (time.monotonic() - started) / SHARE)
        return is_changed

    def ended(self, process: int) -> None:
        """Nobody is told of a legacy table's author."""

    def reading(self) -> None:
        """Take the tables as they are for known."""
        self._outlines, self._fingerprints = self._outline(), self._fingerprint()

    def written(self) -> None:
        """Take the tables as they are for ours; their rules will be looked at when it is time."""
        self._outlines, self._fingerprints = self._outline(), {}

    def _existing(self) -> list[str]:
        names = self._xtables.legacy_tables().split()
        return [table for table in TABLES if table in names]

    def _outline(self) -> dict[str, bytes]:
        return {table: self._tables.outline(table) for table in self._existing()}

    def _fingerprint(self) -> dict[str, int]:
        return {table: self._tables.entries(table).fingerprint for table in self._existing()}

    def close(self) -> None:
        """Let go of the socket."""
        self._tables.close()

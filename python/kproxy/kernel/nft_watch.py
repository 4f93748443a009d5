# SPDX-License-Identifier: Apache-2.0
"""Notices when somebody else changes our table.

The kernel tells every change with the port of its author. Ports of our own sockets and of the ``nft`` processes we start are
left out, those of the other family's dataplane in this process as well.
"""

import weakref
from collections.abc import Iterable
from typing import Final

from kproxy import _core

_LOST: Final = "*"  # notifications were lost: anything may have changed


class Watch:
    """A subscription to changes of one family's table by others."""

    _all: Final["weakref.WeakSet[Watch]"] = weakref.WeakSet()
    _ports: Final[set[int]] = set()

    def __init__(self, family: int) -> None:
        self.family = family
        self.monitor = _core.NftMonitor(sorted(self._ports))
        self._all.add(self)

    @classmethod
    def own(cls, port: int) -> None:
        """Take a socket's port for ours, for as long as the process lives."""
        cls._ports.add(port)
        for watch in cls._all:
            watch.monitor.ignore(port)

    @classmethod
    def ended(cls, family: int, process: int) -> None:
        """Take for ours what a process of ours, which has ended, has done; its number may be somebody else's next.

        Only watches of its family are told: the others look at no table of that family, and heeding makes a watch judge what
        it has queued, which may be the doing of its own family's process that runs in another thread and has not ended yet.
        """
        for watch in cls._all:
            if watch.family == family:
                watch.monitor.ignore(process)
                watch.monitor.heed(process)

    def noticed(self, table: str) -> bool:
        """Tell whether others have changed the table since the last call."""
        return any(name == _LOST or (family == self.family and name == table) for family, name, _ in self.monitor.poll())

    def news(self, tables: Iterable[str]) -> list[tuple[str, str, str]]:
        """Return what others have changed in these tables since the last call: table, chain and what was done.

        No chain is named where the table itself came or went, or news were lost.
        """
        wanted = {*tables, _LOST}
        changes = self.monitor.poll_chains()
        return [each[1:] for each in changes if each[1] == _LOST or (each[0] == self.family and each[1] in wanted)]

    def close(self) -> None:
        """Stop listening."""
        self._all.discard(self)
        del self.monitor

    @property
    def culprit(self) -> str | None:
        """Who was behind the latest change, where the kernel told: ``nft (process 4711)``."""
        return self.monitor.culprit

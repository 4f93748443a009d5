# SPDX-License-Identifier: Apache-2.0
"""Notices when somebody else changes our virtual servers, or what leads packets to them.

Nobody is told of changes to IPVS, to policy routing or to sysctls. Virtual servers, without their real ones, are one small
dump, and the rest is a handful of reads; all are looked at as often as costs a tenth of the time at most, so that what
somebody flushed is missed within about ten times as long as looking takes. Real servers that somebody edits are found by the
full comparison.
"""

from collections.abc import Callable
from typing import Final

from kproxy.dataplanes.ipvs.commit import ServerDoor
from kproxy.dataplanes.ipvs.committed import Committed
from kproxy.dataplanes.ipvs.settings import HostSettings
from kproxy.table.terms import Family

SHARE: Final = 0.1


class Canary:
    """Looks at one family's virtual servers now and then."""

    def __init__(self, family: Family, door: ServerDoor, settings: HostSettings, clock: Callable[[], float]) -> None:
        self._family = family
        self._door = door
        self._settings = settings
        self._clock = clock
        self._next = 0.0
        self._told: Committed | None = None  # what has been told to be not as committed, until it is read anew

    def noticed(self, committed: Committed) -> bool:
        """Tell, once, whether something is gone or another than it was committed as. Raises KernelError."""
        began = self._clock()
        if began < self._next or committed.routes is None or committed is self._told:
            return False
        held = self._door.servers(self._family)
        is_set = self._settings.are_right(self._door)
        ended = self._clock()
        self._next = ended + (ended - began) / SHARE
        differs = not is_set or any(
            key not in held or held[key].server != committed.pools[key].server
            for served in committed.serves.values()
            for servers in served.values()
            for key in servers
        )
        self._told = committed if differs else None
        return differs

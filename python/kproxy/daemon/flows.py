# SPDX-License-Identifier: Apache-2.0
"""Stale UDP flows, deleted off the sync path: in a thread of their own, after syncs that touched UDP, and once at start.

A clean-up waits until the kernel holds the newest table, because a flow that is cut earlier is at once made anew to where it
was. What changes while one runs is taken together; between two there is a pause of nine times as long as one took, a second
at least, so that a storm of changes beside a million flows costs a tenth of one processor at most.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from kproxy.daemon.observer import Sync
from kproxy.routing.stale import Cleanup, cleanup
from kproxy.table.addresses import family_of
from kproxy.table.clock import Clock
from kproxy.table.errors import KernelError
from kproxy.table.routing_table import Changes, RoutingTable
from kproxy.table.terms import Family

log: Final = logging.getLogger(__name__)
LEAST_PAUSE: Final = 1.0
REST_SHARE: Final = 9.0
RETRY: Final = 30.0


class Door(Protocol):
    """The kernel's connection tracking."""

    def cut(self, family: Family, stale: Cleanup) -> int:
        """Delete the stale flows of one family; return how many. Blocks. Raises KernelError."""


class FlowCleaner:
    """Cleans one family. ``settled``: does the kernel hold the newest table? ``cleaned`` hears count and seconds."""

    def __init__(
        self,
        family: Family,
        door: Door,
        *,
        clock: Clock,
        settled: Callable[[], bool],
        cleaned: Callable[[Family, int, float], None],
    ) -> None:
        self._family = family
        self._door = door
        self._clock = clock
        self._settled = settled
        self._cleaned = cleaned
        self._before: RoutingTable | None = None  # as of the last clean-up
        self._newest: RoutingTable | None = None
        self._services: set[str] = set()
        self._wake = asyncio.Event()

    def resolved(self, changes: Changes) -> None:
        """Note which Services differ."""
        self._newest = changes.after
        self._services.update(changes.services)
        self._wake.set()

    def synced(self, sync: Sync) -> None:
        """Note that the kernel may hold the newest table now."""
        if sync.duty.family is self._family:
            self._wake.set()

    async def run(self) -> None:
        """Clean whenever there is something to clean, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(0)  # let the sync that woke us be noted
            pause = await self.step()
            if pause:
                await asyncio.sleep(pause)

    async def step(self) -> float:
        """Clean what is due; return the seconds to rest before the next one."""
        newest = self._newest
        if newest is None or not self._settled():
            return 0.0
        services, self._services = self._services, set()
        first = self._before is None
        if not services and not first:
            return 0.0
        stale = self._own(cleanup(self._before, newest, None if first else services))
        if not stale:
            self._before = newest
            return 0.0
        began = self._clock.monotonic()
        try:
            count = await asyncio.to_thread(self._door.cut, self._family, stale)
        except KernelError as error:
            log.warning("%s: stale UDP flows cannot be cleaned up, tried again in %.0f s: %s", self._family, RETRY, error)
            self._services |= services
            self._wake.set()
            return RETRY
        seconds = self._clock.monotonic() - began
        self._before = newest
        self._cleaned(self._family, count, seconds)
        if count:
            log.info("%s: %d stale UDP flows deleted", self._family, count)
        return max(LEAST_PAUSE, REST_SHARE * seconds)

    def _own(self, stale: Cleanup) -> Cleanup:
        """Keep what is of this family."""
        return Cleanup(
            {where: kept for where, kept in stale.serving.items() if family_of(where[0]) is self._family},
            frozenset(where for where in stale.gone if family_of(where[0]) is self._family),
        )

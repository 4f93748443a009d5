# SPDX-License-Identifier: Apache-2.0
"""The feed and its lanes, running: the first change goes at once, later ones as often as minSyncPeriod lets.

Every lane (mode and family) runs by itself: a kernel that refuses one family does not hold up the other. A live change of
mode, or a take-over, is one more lane for a while.
"""

import asyncio
import math
from collections.abc import Iterable

from kproxy.daemon.feed import Feed, Gate, Routing
from kproxy.daemon.lane import Lane, Timing
from kproxy.daemon.observer import Observer
from kproxy.daemon.tasks import first_ended
from kproxy.dataplanes.contract import Dataplane
from kproxy.objects.events import Event
from kproxy.table.clock import Clock


class Loop:
    """Carries what the sources tell to a list of dataplanes."""

    def __init__(
        self,
        router: Routing,
        dataplanes: Iterable[Dataplane],
        *,
        clock: Clock,
        gate: Gate,
        observer: Observer,
        timing: Timing | None = None,
    ) -> None:
        self._clock = clock
        self._observer = observer
        self.feed = Feed(router, clock=clock, gate=gate, resolved=observer.resolved)
        self.lanes = [Lane(dataplane, clock=clock, observer=observer, timing=timing) for dataplane in dataplanes]
        self._wakes = {id(lane): asyncio.Event() for lane in self.lanes}
        for lane in self.lanes:
            self.feed.follow(lane.offer, self._wakes[id(lane)].set)

    def emit(self, event: Event) -> None:
        """Take an event from a source."""
        self.feed.emit(event)

    def retime(self, timing: Timing) -> None:
        """Put other periods in force."""
        for lane in self.lanes:
            lane.timing = timing
            self._wakes[id(lane)].set()

    @property
    def settled(self) -> bool:
        """Tell whether every kernel holds the newest table, refused routes aside."""
        return all(lane.settled for lane in self.lanes) and math.isinf(self.feed.due())

    def due(self, lane: Lane) -> float:
        """Return the time at which a lane has something to do."""
        return min(lane.due(), max(self.feed.due(), lane.free_at))

    async def step(self, lane: Lane) -> None:
        """Do what is due for a lane now."""
        if self._clock.monotonic() >= max(self.feed.due(), lane.free_at):
            await self.feed.resolve()
        await lane.step()

    async def run(self) -> None:
        """Carry changes until cancelled. Raises ConfigError when the node is not as the configuration needs it."""
        await first_ended(*(self._drive(lane) for lane in self.lanes))

    async def _drive(self, lane: Lane) -> None:
        wake = self._wakes[id(lane)]
        while True:
            wake.clear()
            pause = self.due(lane) - self._clock.monotonic()
            if pause > 0:
                try:
                    async with asyncio.timeout(None if math.isinf(pause) else pause):
                        await wake.wait()
                except TimeoutError:
                    pass
                continue
            await self.step(lane)

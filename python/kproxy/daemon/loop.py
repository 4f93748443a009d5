# SPDX-License-Identifier: Apache-2.0
"""The feed and its lanes, running: the first change goes at once, later ones as often as minSyncPeriod lets.

Every lane (mode and family) runs by itself: a kernel that refuses one family does not hold up the other. A live change of
mode is one more loop for a while.
"""

import asyncio
import math
from collections.abc import Iterable

from kproxy.daemon.feed import Feed
from kproxy.daemon.lane import Lane, Timing
from kproxy.daemon.observer import Observer
from kproxy.daemon.tasks import Crew
from kproxy.dataplanes.contract import Dataplane
from kproxy.objects.events import Event
from kproxy.table.clock import Clock


class Loop:
    """Carries what a feed makes of the sources' events to a list of dataplanes."""

    def __init__(
        self,
        feed: Feed,
        dataplanes: Iterable[Dataplane],
        *,
        clock: Clock,
        observer: Observer,
        timing: Timing | None = None,
    ) -> None:
        self.feed = feed
        self.lanes: list[Lane] = []
        self.timing = timing or Timing()
        self._clock = clock
        self._observer = observer
        self._wakes: dict[Lane, asyncio.Event] = {}
        self._drives: dict[Lane, asyncio.Task[None]] | None = None  # None: not running
        self._crew = Crew()
        for dataplane in dataplanes:
            self.add(dataplane)

    def add(self, dataplane: Dataplane) -> Lane:
        """Carry to one more dataplane."""
        lane = Lane(dataplane, clock=self._clock, observer=self._observer, timing=self.timing)
        wake = self._wakes[lane] = asyncio.Event()
        self.lanes.append(lane)
        self.feed.follow(lane.offer, wake.set)
        if self._drives is not None:
            self._drives[lane] = self._crew.start(self._drive(lane))
        return lane

    async def drop(self, lane: Lane) -> None:
        """Carry nothing more to a lane; what is under way ends first."""
        self.lanes.remove(lane)
        wake = self._wakes.pop(lane)
        self.feed.unfollow(lane.offer, wake.set)
        await lane.rest()
        if self._drives is not None:
            wake.set()
            await asyncio.wait([self._drives.pop(lane)])

    def emit(self, event: Event) -> None:
        """Take an event from a source."""
        self.feed.emit(event)

    def resume(self) -> None:
        """Have lanes that rest work again."""
        for lane, wake in self._wakes.items():
            lane.resume()
            wake.set()

    def retime(self, timing: Timing) -> None:
        """Put other periods in force."""
        self.timing = timing
        for lane, wake in self._wakes.items():
            lane.timing = timing
            wake.set()

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
        self._drives = {lane: self._crew.start(self._drive(lane)) for lane in self.lanes}
        await self._crew.run()

    async def _drive(self, lane: Lane) -> None:
        wake = self._wakes[lane]
        while lane in self._wakes:
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

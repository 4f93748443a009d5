# SPDX-License-Identifier: Apache-2.0
"""One mode at work: its settings, the dataplanes that serve it, by part, and the loop that carries to them.

There is one, but for the time of a switch: then the next one works beside it until it may take its place.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from kproxy.daemon import settings as periods
from kproxy.daemon.feed import Feed
from kproxy.daemon.lane import Lane
from kproxy.daemon.loop import Loop
from kproxy.daemon.modes import Part, parts_of
from kproxy.daemon.observer import Observer
from kproxy.dataplanes.contract import Dataplane, Duty
from kproxy.routing.router import Router
from kproxy.routing.settings import Settings
from kproxy.table.clock import Clock

PAUSE: Final = 0.05  # between two looks at whether every table is in force

Parts: TypeAlias = Mapping[Part, Sequence[Dataplane]]


class Regime:
    """A mode with all it needs. The feed's router is the one given."""

    def __init__(
        self, settings: Settings, router: Router, feed: Feed, parts: Parts, *, clock: Clock, observer: Observer
    ) -> None:
        self.settings = settings
        self.router = router
        self.parts = dict(parts)
        dataplanes = [dataplane for part in parts.values() for dataplane in part]
        self.loop = Loop(feed, dataplanes, clock=clock, observer=observer, timing=periods.timing(settings))

    @property
    def lanes(self) -> Sequence[Lane]:
        """The lanes of all parts."""
        return self.loop.lanes

    @property
    def duties(self) -> tuple[Duty, ...]:
        """What its dataplanes are there for."""
        return tuple(lane.duty for lane in self.loop.lanes)

    def lanes_of(self, part: Part) -> list[Lane]:
        """Return the lanes of one part."""
        return [lane for lane in self.loop.lanes if lane.dataplane in self.parts[part]]

    def take(self, part: Part, dataplanes: Sequence[Dataplane]) -> None:
        """Carry to a part that somebody else has carried to before."""
        self.parts[part] = dataplanes
        for dataplane in dataplanes:
            self.loop.add(dataplane)

    def serves(self, settings: Settings) -> bool:
        """Tell whether it can serve with these settings: same mode, same parts."""
        return self.settings.mode is settings.mode and set(self.parts) == set(parts_of(settings))

    async def reconfigure(self, settings: Settings) -> None:
        """Put other settings in force that it ``serves``."""
        self.settings = settings
        self.loop.retime(periods.timing(settings))
        await self.loop.feed.reconfigure(lambda: self.router.reconfigure(settings))

    async def in_force(self) -> None:
        """Wait until every dataplane has a table in force."""
        while not all(lane.in_force for lane in self.lanes):  # noqa: ASYNC110 - it may take minutes, and nobody is in a hurry
            await asyncio.sleep(PAUSE)

    async def verified(self) -> None:
        """Wait until every dataplane has a table in force and the kernel was seen to hold it."""
        for lane in tuple(self.lanes):
            while lane in self.lanes and not (lane.in_force and await lane.verified()):  # noqa: ASYNC110 - the kernel is asked
                await asyncio.sleep(PAUSE)

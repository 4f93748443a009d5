# SPDX-License-Identifier: Apache-2.0
"""What becomes of dataplanes nobody wants any more: they retire, and when no connection needs them they are removed."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from kproxy.daemon.lane import Lane
from kproxy.daemon.modes import Part
from kproxy.dataplanes.contract import Dataplane
from kproxy.table.errors import KernelError

log: Final = logging.getLogger(__name__)
PATIENCE: Final = 0.5  # seconds between two questions
IN_FLIGHT: Final = 0.05  # seconds a packet may still be on its way through rules that nothing points to any more


class Leaving:
    """A part on its way out. Its lanes rest: nobody else calls their dataplanes, but for whoever asks them something."""

    def __init__(self, part: Part, lanes: Sequence[Lane]) -> None:
        self.part = part
        self.lanes = lanes
        self.is_gone = False
        self._wanted_back = asyncio.Event()

    async def run(self) -> None:
        """Retire, remove and close, unless it is wanted back meanwhile."""
        if await self._until(lambda dataplane: dataplane.retire()):
            await self._wait(IN_FLIGHT)
            if await self._until(_remove):
                self.is_gone = True
                self.close()
                log.info("%s has left: nothing depends on it any more", self.part)

    async def _until(self, work: Callable[[Dataplane], bool]) -> bool:
        """Do something with every dataplane, again with those that are not done; tell whether all are."""
        waiting = list(self.lanes)
        while True:
            waiting = [lane for lane in waiting if not await self._done(lane, work)]
            if not waiting or self._wanted_back.is_set():
                return not self._wanted_back.is_set()
            await self._wait(PATIENCE)

    async def _done(self, lane: Lane, work: Callable[[Dataplane], bool]) -> bool:
        try:
            return await lane.ask(work)
        except KernelError as error:
            log.warning("%s cannot leave, tried again: %s", lane.duty, error)
            return False

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wanted_back.wait()
        except TimeoutError:
            pass

    def want_back(self) -> None:
        """Let ``run`` end as soon as it may."""
        self._wanted_back.set()

    def close(self) -> None:
        """Let go of the dataplanes."""
        for lane in self.lanes:
            lane.dataplane.close()


def _remove(dataplane: Dataplane) -> bool:
    dataplane.remove()
    return True

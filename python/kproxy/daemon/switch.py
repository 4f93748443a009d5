# SPDX-License-Identifier: Apache-2.0
"""From one mode to another without a refused or a broken connection.

The next mode's dataplanes are opened and probed, and a second loop brings them to the table that the next mode wants, from
the same events; both rule sets then stand beside each other, and whichever takes a packet first, the other leaves it alone.
Once the next mode's tables are in force and were seen in the kernel, the old lanes stop; their dataplanes take no new
connections, and are removed when no established one needs them. A mode may be wanted back at any moment of this.

A process that is killed on the way leaves both; the next one finds what is not its own mode's, see ``takeover``.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from kproxy.daemon.lane import Lane
from kproxy.daemon.leaving import Leaving
from kproxy.daemon.modes import OPENERS, Part, parts_of
from kproxy.daemon.observer import Observer
from kproxy.daemon.regime import Regime
from kproxy.daemon.tasks import Crew, end, in_thread
from kproxy.dataplanes.contract import Dataplane, Relay, Relaying
from kproxy.objects.events import Event
from kproxy.routing.router import Router
from kproxy.routing.settings import Settings
from kproxy.table.clock import Clock
from kproxy.table.errors import KernelError

log: Final = logging.getLogger(__name__)


class Switch:
    """The mode in force (``now``), the one to come, and what is left of those that went.

    ``opener`` opens a part; ``serves`` is told of the next mode, before the old one's lanes stop.
    """

    def __init__(
        self,
        first: Regime,
        opener: Callable[[Part, Settings], Sequence[Dataplane]],
        *,
        clock: Clock,
        observer: Observer,
        serves: Callable[[Regime], Awaitable[None]],
    ) -> None:
        self.now = first
        self.coming: Regime | None = None
        self._open = opener
        self._clock = clock
        self._observer = observer
        self._serves = serves
        self._leaving: dict[Part, tuple[Leaving, asyncio.Task[None]]] = {}
        self._crossing: asyncio.Task[None] | None = None
        self._runs: dict[Regime, asyncio.Task[None]] = {}
        self._crew = Crew()
        self._turn = asyncio.Lock()

    def emit(self, event: Event) -> None:
        """Take an event from a source."""
        for regime in self._working:
            regime.loop.emit(event)

    @property
    def _working(self) -> tuple[Regime, ...]:
        return (self.now, self.coming) if self.coming else (self.now,)

    @property
    def lanes(self) -> list[Lane]:
        """All lanes at work, those in force first."""
        return [lane for regime in self._working for lane in regime.lanes]

    @property
    def leaving(self) -> tuple[Part, ...]:
        """The parts that established connections still need."""
        return tuple(self._leaving)

    async def run(self) -> None:
        """Carry changes until cancelled. Raises what a loop raises."""
        self._runs[self.now] = self._crew.start(self.now.loop.run())
        await self._crew.run()

    async def want(self, settings: Settings) -> None:
        """Put other settings in force: at once where the mode is the same, else a switch begins.

        Raises KernelError, and leaves all as it was, where the wanted mode cannot serve here.
        """
        async with self._turn:
            if self.coming and not self.coming.serves(settings):
                await self._withdraw(self.coming)
            if self.coming:
                await self.coming.reconfigure(settings)
            elif self.now.serves(settings):
                await self.now.reconfigure(settings)
            else:
                await self._begin(settings)

    async def _begin(self, settings: Settings) -> None:
        """Let the next mode come. Raises KernelError before anything has changed."""
        wanted = parts_of(settings)
        known = self.now.parts.keys() | self._leaving.keys()
        fresh = await in_thread(self._probed, [part for part in wanted if part not in known], settings)
        for part in wanted:
            if part in self._leaving:
                fresh[part] = await self._recalled(part) or await in_thread(self._open, part, settings)
        now, router = self.now, Router(settings)
        feed = await now.loop.feed.fork(router, lambda: router.learn(now.router))
        coming = self.coming = Regime(settings, router, feed, fresh, clock=self._clock, observer=self._observer)
        for part in (part for part in wanted if part in now.parts):
            for lane in now.lanes_of(part):
                await now.loop.drop(lane)
            coming.take(part, now.parts[part])
        self._runs[coming] = self._crew.start(coming.loop.run())
        self._crossing = self._crew.start(self._cross(coming))
        log.info("mode %s comes beside mode %s, which serves until all is in force", settings.mode, now.settings.mode)

    def _probed(self, parts: Sequence[Part], settings: Settings) -> dict[Part, Sequence[Dataplane]]:
        """Open parts and see whether they can serve here."""
        opened: dict[Part, Sequence[Dataplane]] = {}
        try:
            for part in parts:
                opened[part] = self._open(part, settings)
                for dataplane in opened[part]:
                    dataplane.probe()
        except BaseException:
            for dataplanes in opened.values():
                _close(dataplanes)
            raise
        return opened

    async def _recalled(self, part: Part) -> Sequence[Dataplane]:
        """Want a part back that is leaving. Nothing: it has gone meanwhile."""
        leaving, task = self._leaving.pop(part)
        leaving.want_back()
        await asyncio.wait([task])
        return () if leaving.is_gone else [lane.dataplane for lane in leaving.lanes]

    async def _cross(self, coming: Regime) -> None:
        """Put the next mode in the old one's place once it may be."""
        await coming.verified()
        async with self._turn:
            await self._serves(coming)
            old, self.now, self.coming, self._crossing = self.now, coming, None, None
            await self._dismiss(old)

    async def _withdraw(self, coming: Regime) -> None:
        """Let the next mode go again: something else is wanted."""
        if self._crossing:
            await end(self._crossing)
        self.coming, self._crossing = None, None
        log.info("mode %s is not wanted any more, %s stays", coming.settings.mode, self.now.settings.mode)
        await self._dismiss(coming)

    async def _dismiss(self, regime: Regime) -> None:
        """Stop a regime. Of its parts the mode in force takes back what is its own, the others leave."""
        for part, dataplanes in regime.parts.items():
            lanes = regime.lanes_of(part)
            for lane in lanes:
                await regime.loop.drop(lane)
            if part not in self.now.parts:
                self._leave(part, lanes)
            elif lanes:
                self.now.take(part, dataplanes)
        await end(self._runs.pop(regime))

    def _leave(self, part: Part, lanes: Sequence[Lane]) -> None:
        leaving = Leaving(part, lanes)
        self._leaving[part] = leaving, self._crew.start(self._see_off(leaving))

    async def _see_off(self, leaving: Leaving) -> None:
        await leaving.run()
        if leaving.is_gone:
            self._leaving.pop(leaving.part, None)

    @property
    def parts(self) -> dict[Part, Sequence[Dataplane]]:
        """All parts that are open, those that leave among them."""
        parts: dict[Part, Sequence[Dataplane]] = {}
        for leaving, _ in self._leaving.values():
            parts[leaving.part] = [lane.dataplane for lane in leaving.lanes]
        for regime in self._working:
            parts |= regime.parts
        return parts

    def relay_of(self, part: Part) -> Relay | None:
        """Return the relay of an open part, if it is one that has one."""
        return next((each.relay for each in self.parts.get(part, ()) if isinstance(each, Relaying)), None)

    @property
    def relays(self) -> list[Relay]:
        """The relays of all open parts."""
        return [relay for relay in map(self.relay_of, self.parts) if relay]

    async def rest(self) -> None:
        """Write nothing more by ourselves: another process is about to."""
        async with self._turn:
            for lane in self.lanes:
                await lane.rest()

    def resume(self) -> None:
        """Write again: the other process has gone."""
        for regime in self._working:
            regime.loop.resume()

    async def yield_to(self, parts: Collection[Part]) -> None:
        """See off, while nothing else runs, what the process that relieves this one does not serve."""
        left = [leaving for leaving, _ in self._leaving.values() if leaving.part not in parts]
        for regime in self._working:
            for part in regime.parts.keys() - set(parts):
                left.append(Leaving(part, regime.lanes_of(part)))
                del regime.parts[part]
        self._leaving.clear()
        await asyncio.gather(*(leaving.run() for leaving in left))

    async def in_force(self) -> None:
        """Wait until the mode in force has a table in every kernel."""
        await self.now.in_force()

    async def verified(self) -> None:
        """Wait until the tables of the mode in force were seen in the kernel, whichever mode that is then."""
        regime = None
        while regime is not self.now:
            regime = self.now
            await regime.verified()

    async def others(self) -> dict[Part, Sequence[Dataplane]]:
        """Open parts that nobody wants and an earlier process has left in the kernel: it was killed, or had another mode."""
        async with self._turn:
            return await in_thread(self._left_behind, [part for part in OPENERS if part not in self._known])

    def _left_behind(self, parts: Sequence[Part]) -> dict[Part, Sequence[Dataplane]]:
        found = {}
        for part in parts:
            dataplanes = self._open(part, self.now.settings)
            if _is_found(dataplanes):
                found[part] = dataplanes
            else:
                _close(dataplanes)
        return found

    async def see_off(self, others: Mapping[Part, Sequence[Dataplane]]) -> None:
        """Let ``others`` leave, but for those that are wanted by now."""
        async with self._turn:
            for part, dataplanes in others.items():
                if part in self._known:
                    _close(dataplanes)
                else:
                    log.info("rules of %s from an earlier kproxy are here; ours are in force and verified: they go", part)
                    lanes = [Lane(dataplane, clock=self._clock, observer=self._observer) for dataplane in dataplanes]
                    self._leave(part, lanes)

    @property
    def _known(self) -> set[Part]:
        return {part for regime in self._working for part in regime.parts} | self._leaving.keys()

    def close(self) -> None:
        """Let go of all dataplanes; what they have put into the kernel stays."""
        parts = [dataplanes for regime in self._working for dataplanes in regime.parts.values()]
        _close({id(dataplane): dataplane for part in parts for dataplane in part}.values())
        for leaving, _ in self._leaving.values():
            leaving.close()


def _close(dataplanes: Iterable[Dataplane]) -> None:
    for dataplane in dataplanes:
        dataplane.close()


def _is_found(dataplanes: Sequence[Dataplane]) -> bool:
    try:
        return any(dataplane.found() for dataplane in dataplanes)
    except KernelError as error:
        log.warning("whether an earlier kproxy has left rules here cannot be told: %s", error)
        return False

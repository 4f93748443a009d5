# SPDX-License-Identifier: Apache-2.0
"""What a scrape of /metrics costs: the kernel's counters are read between two syncs, and never too often."""

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from typing import Final

from kproxy.daemon.lane import Lane
from kproxy.dataplanes.contract import Dataplane, Duty, Lock, Relaying
from kproxy.observe.metrics import Metrics
from kproxy.observe.relayed import RelayCollector
from kproxy.observe.status import size_of
from kproxy.observe.traffic import Cap, TrafficCollector
from kproxy.routing.no_local_endpoints import without_local_endpoints
from kproxy.table.clock import Clock
from kproxy.table.errors import KernelError

log: Final = logging.getLogger(__name__)
PATIENCE: Final = 2.0  # seconds a scrape waits for a sync to end
READING_SHARE: Final = 0.05  # of the time at most goes into reading counters; scrapes in between see the last reading


class Scraper:
    """Exposes all series; counts what is only worth counting when somebody asks. ``lanes``: those that serve now."""

    def __init__(self, lanes: Callable[[], Sequence[Lane]], metrics: Metrics, cap: Cap, *, clock: Clock) -> None:
        self._lanes = lanes
        self._metrics = metrics
        self._clock = clock
        self._fresh_until = 0.0
        self._collector = TrafficCollector(cap)
        self._relayed = RelayCollector()
        self._turn = asyncio.Lock()
        self._locks: dict[Duty, Lock] = {}
        metrics.registry.register(self._collector)
        metrics.registry.register(self._relayed)

    def cap(self, cap: Cap) -> None:
        """Put another cap in force."""
        self._collector.cap = cap

    async def serve(self, lanes: Sequence[Lane]) -> None:
        """Keep what lanes that are not among these have counted, read for the last time, and ask them no more."""
        async with self._turn:
            self._fresh_until = 0.0
            await self._read()
            self._collector.serve([lane.duty for lane in lanes])

    async def expose(self) -> bytes:
        """Return all series as text."""
        async with self._turn:
            await self._read()
            return await asyncio.to_thread(self._expose)

    async def _read(self) -> None:
        began = self._clock.monotonic()
        if began < self._fresh_until:
            return
        for lane in self._lanes():
            if lane.table is None:
                continue
            try:
                await lane.ask(functools.partial(self._take, lane.duty), patience=PATIENCE)
            except TimeoutError:
                log.debug("%s: the kernel is being written, the last counters are told once more", lane.duty)
            except KernelError as error:
                log.warning("%s: the counters cannot be read: %s", lane.duty, error)
        relays = {id(one.relay): one.relay for lane in self._lanes() if isinstance(one := lane.dataplane, Relaying)}
        self._relayed.take([await asyncio.to_thread(relay.report) for relay in relays.values()])
        ended = self._clock.monotonic()
        self._fresh_until = ended + (ended - began) / READING_SHARE

    def _take(self, duty: Duty, dataplane: Dataplane) -> None:
        counters = dataplane.counters()
        self._collector.take(duty, counters)
        known, self._locks[duty] = self._locks.get(duty, Lock()), counters.lock
        self._metrics.lock_wait.labels(duty.family).inc(max(0.0, counters.lock.waited - known.waited))
        self._metrics.lock_timeouts.labels(duty.family).inc(max(0, counters.lock.timeouts - known.timeouts))

    def _expose(self) -> bytes:
        for lane in self._lanes():
            family, table = lane.dataplane.family, lane.table
            if table is None:
                continue
            self._metrics.in_force.labels(family).set(size_of(table, family)[0])
            for role, count in without_local_endpoints(table.routes(family)).items():
                self._metrics.no_local_endpoints.labels(role, family).set(count)
        return self._metrics.expose()

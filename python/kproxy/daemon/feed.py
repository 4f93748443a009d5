# SPDX-License-Identifier: Apache-2.0
"""Events in, wanted table out. Resolving waits until a lane can use the result, so a burst is resolved once."""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from kproxy.daemon.tasks import in_thread
from kproxy.objects.events import Event, Synced
from kproxy.routing.diff import changes_from_nothing
from kproxy.table.clock import Clock
from kproxy.table.routing_table import Changes, RoutingTable

log: Final = logging.getLogger(__name__)
INLINE: Final = 64  # so many events are resolved on the event loop; more in a thread, for health and API to stay alive


class Gate(Protocol):
    """What must be known before the first commit."""

    def note(self, event: Event) -> None:
        """Learn from an event."""

    def opens_at(self) -> float:
        """Return the time at which it opens if nothing more is learnt."""

    def missing(self) -> tuple[str, ...]:
        """Name what is waited for."""

    def check(self) -> None:
        """Raise ConfigError if it opened without what cannot be done without."""


class Routing(Protocol):
    """The part of the router that the feed uses."""

    @property
    def table(self) -> RoutingTable:
        """The table that all events so far lead to."""

    def apply(self, events: Sequence[Event]) -> Changes | None:
        """Take in events."""


class Feed:
    """Buffers events until ``resolve`` makes Changes of them and hands these to everybody who ``follow``s."""

    def __init__(self, router: Routing, *, clock: Clock, gate: Gate, resolved: Callable[[Changes, float], None]) -> None:
        self.router = router
        self._clock = clock
        self._gate = gate
        self._resolved = resolved
        self._events: list[Event] = []
        self._received = math.inf  # when the oldest of them was
        self._followers: list[Callable[[Changes], None]] = []
        self._wakers: list[Callable[[], None]] = []
        self._turn = asyncio.Lock()
        self._open = False
        self._is_forked = False  # and has made no Changes yet
        self._is_told = False  # that there is a table

    def follow(self, offer: Callable[[Changes], None], wake: Callable[[], None]) -> None:
        """Have all Changes from now on offered, first the table that there is, and be woken when there may be some."""
        if self._is_told:
            offer(changes_from_nothing(self.router.table))
        self._followers.append(offer)
        self._wakers.append(wake)

    def unfollow(self, offer: Callable[[Changes], None], wake: Callable[[], None]) -> None:
        """Offer no more."""
        self._followers.remove(offer)
        self._wakers.remove(wake)

    async def fork(self, router: Routing, learn: Callable[[], None]) -> "Feed":
        """Return a feed for another router, whose first Changes are due and told to nobody but its followers (see ``tell``).

        ``learn`` has that router learn what ours knows: in a thread, alone with ours. The events that ours does not know yet
        are the fork's as well; whoever asked for it hands it all that follow.
        """
        async with self._turn:
            await in_thread(learn)
            other = Feed(router, clock=self._clock, gate=self._gate, resolved=_told_to_nobody)
            other._events, other._received = list(self._events), self._received
            other._open = other._is_forked = self._open
            return other

    def emit(self, event: Event) -> None:
        """Take an event. Cheap; to be called on the event loop."""
        if not self._open:
            self._gate.note(event)
        if not isinstance(event, Synced):
            self._received = min(self._received, getattr(event, "received", 0.0) or self._clock.monotonic())
        self._events.append(event)
        self._wake()

    async def reconfigure(self, work: Callable[[], Changes | None]) -> None:
        """Hand on Changes that come from other settings; ``work`` asks the router for them, in a thread, alone with it."""
        async with self._turn:
            started = self._clock.monotonic()
            changes = await in_thread(work)
            if changes is not None:
                self._hand_on(changes, self._clock.monotonic() - started)

    def due(self) -> float:
        """Return the time from which on events can be resolved; infinity: there are none."""
        if not self._events and not self._is_forked:
            return math.inf
        return -math.inf if self._open else self._gate.opens_at()

    def tell(self, resolved: Callable[[Changes, float], None]) -> None:
        """Tell somebody else of all Changes from now on, first of the table that there is."""
        self._resolved = resolved
        if self._is_told:
            resolved(changes_from_nothing(self.router.table), 0.0)

    @property
    def missing(self) -> tuple[str, ...]:
        """Name what the first table waits for."""
        return () if self._open else self._gate.missing()

    async def resolve(self) -> None:
        """Make Changes of what has come, if it is time. Raises ConfigError where the gate misses something for good."""
        async with self._turn:
            if self.due() > self._clock.monotonic():
                return
            first = not self._open
            if first:
                self._gate.check()
                for what in self._gate.missing():
                    log.warning("%s are still unknown: going on without, they count as soon as they are known", what)
                self._open = True
            started = self._clock.monotonic()
            events, self._events = self._events, []
            received, self._received = self._received, math.inf
            forked, self._is_forked = self._is_forked, False
            if forked or len(events) > INLINE:
                changes = await in_thread(self.router.apply, events)
            else:
                changes = self.router.apply(events)
            if changes is None:
                self._open = self._open and not first
                return
            ended = self._clock.monotonic()
            if not math.isinf(received):
                times = msgspec.structs.replace(changes.times, received=changes.times.received or received, resolved=ended)
                changes = msgspec.structs.replace(changes, times=times)
            self._hand_on(changes, ended - started)

    def _hand_on(self, changes: Changes, seconds: float) -> None:
        self._is_told = True
        self._resolved(changes, seconds)
        for offer in self._followers:
            offer(changes)
        self._wake()

    def _wake(self) -> None:
        for wake in self._wakers:
            wake()


def _told_to_nobody(changes: Changes, seconds: float) -> None:
    """Ignore it."""

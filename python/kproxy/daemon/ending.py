# SPDX-License-Identifier: Apache-2.0
"""When the process may end, and what it owes to those who are still connected through it.

Rules stay in the kernel, so a mode without a relay ends at once. Connections through a relay end with the process: after a
signal it goes on serving, new clients too, until no connection is left, the time for leaving is over, or another process has
relieved it; then it takes no new clients, and the others have that time. A second signal ends it at once.
"""

import asyncio
import logging
from typing import Final

from kproxy.daemon.modes import Part
from kproxy.daemon.signals import ended
from kproxy.daemon.succession import NAME, Succession
from kproxy.daemon.switch import Switch
from kproxy.daemon.tasks import in_thread
from kproxy.table.clock import Clock

log: Final = logging.getLogger(__name__)
LOOK: Final = 0.5  # seconds between two looks at whether connections are left


class Ending:
    """Waits for the end. ``relieved_by``: the parts that the process serves which has relieved this one."""

    def __init__(self, switch: Switch, *, clock: Clock, name: str = NAME) -> None:
        self.relieved_by: frozenset[Part] | None = None
        self._switch = switch
        self._clock = clock
        self._succession = Succession(switch, name)
        self._is_signalled = False

    @property
    def _patience(self) -> float:
        return self._switch.now.settings.relay.leave_timeout.seconds

    def _connections(self) -> int:
        return sum(relay.connections() for relay in self._switch.relays)

    async def wait(self) -> None:
        """Wait until the process shall end, and may."""
        signal, relieved = asyncio.ensure_future(ended()), asyncio.ensure_future(self._succession.until_relieved())
        try:
            await asyncio.wait([signal, relieved], return_when=asyncio.FIRST_COMPLETED)
            if signal.done():
                self._is_signalled = True
                await self._hold(signal.result().name, relieved)
            if relieved.done():
                self.relieved_by = relieved.result()
        finally:
            for task in (signal, relieved):
                task.cancel()
            await asyncio.gather(signal, relieved, return_exceptions=True)

    async def _hold(self, signal: str, relieved: "asyncio.Task[frozenset[Part]]") -> None:
        """Go on for those who are connected, until somebody else does."""
        until = self._clock.monotonic() + self._patience
        if count := self._connections():
            log.info(
                "%s: kproxy ends when its %d connections have, or another kproxy has relieved it, or in %.0f s; a second "
                "signal ends it at once",
                signal,
                count,
                self._patience,
            )
        while self._connections() and self._clock.monotonic() < until and not relieved.done():
            await asyncio.wait([relieved], timeout=LOOK)
        if not relieved.done():
            log.info("%s: kproxy ends, its rules stay in force", signal)

    async def finish(self) -> None:
        """Let go of what the next process does not serve, and wait for the last connections; nothing else runs any more."""
        if self.relieved_by is None:
            return
        further = asyncio.ensure_future(ended()) if not self._is_signalled else None  # so that the first one changes nothing
        log.info("another kproxy serves this node; this one ends with its %d connections", self._connections())
        until = self._clock.monotonic() + self._patience
        for part in self._switch.parts.keys() & self.relieved_by:
            if relay := self._switch.relay_of(part):
                await in_thread(relay.drain, self._patience)
        await self._switch.yield_to(self.relieved_by)
        while self._connections() and self._clock.monotonic() < until:  # noqa: ASYNC110 - relays tell nobody
            await asyncio.sleep(LOOK)
        if further:
            further.cancel()

    def close(self) -> None:
        """Tell the next process that this one has ended."""
        self._succession.close()

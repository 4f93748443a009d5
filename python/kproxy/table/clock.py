# SPDX-License-Identifier: Apache-2.0
"""Time as a value one can fake. Only sources, the loop and observe ever ask for it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def monotonic(self) -> float:
        """Return seconds that only ever grow."""

    def wall(self) -> float:
        """Return seconds since the epoch."""


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        """Return seconds that only ever grow."""
        return time.monotonic()

    def wall(self) -> float:
        """Return seconds since the epoch."""
        return time.time()


class FakeClock:
    """A clock that moves only when told to."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def monotonic(self) -> float:
        """Return the fake time."""
        return self.now

    def wall(self) -> float:
        """Return the fake time."""
        return self.now

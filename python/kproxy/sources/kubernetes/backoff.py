# SPDX-License-Identifier: Apache-2.0
"""How long to wait after a failure: longer each time, never in step with the other nodes."""

import random
from collections.abc import Callable


class Backoff:
    """Doubles from ``first`` to ``longest`` seconds; half of each pause is chance.

    A whole cluster of nodes loses its API server at one moment, so the jitter matters from the first pause on.
    """

    def __init__(self, first: float, longest: float, *, chance: Callable[[], float] = random.random) -> None:
        self._first = first
        self._longest = longest
        self._chance = chance
        self.failures = 0

    def pause(self, at_least: float = 0.0) -> float:
        """Count a failure and return the seconds to wait; ``at_least`` is what the server asked for, within reason."""
        pause = min(self._longest, self._first * 2.0 ** min(self.failures, 30))
        self.failures += 1
        pause *= (1 + self._chance()) / 2
        return max(pause, min(at_least, 10 * self._longest) * (1 + self._chance() / 10))

    def reset(self) -> None:
        """Note a success."""
        self.failures = 0

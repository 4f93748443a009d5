# SPDX-License-Identifier: Apache-2.0
"""Stop-watches."""

import statistics
import time
from collections.abc import Callable


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def alternating(rounds: int, *works: Callable[[], float]) -> list[float]:
    """Run several measurements in turn, ``rounds`` times, and return the median of each."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for times, work in zip(taken, works, strict=True):
            times.append(work())
    return [statistics.median(times) for times in taken]

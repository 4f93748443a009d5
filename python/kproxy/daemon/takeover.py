# SPDX-License-Identifier: Apache-2.0
"""Taking a node over from kube-proxy: ours in and verified, then its rules out. No connection meets a gap.

Both rule sets may stand beside each other: whichever translates a packet first, the other then leaves it alone.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from kproxy.daemon.lane import Lane
from kproxy.dataplanes import upstream
from kproxy.observe.events import Action, Reason, Recorder, Weight
from kproxy.table.errors import KernelError

log: Final = logging.getLogger(__name__)
PATIENCE: Final = 1.0  # seconds between looks at whether ours is in


async def take_over(lanes: Sequence[Lane], events: Recorder) -> None:
    """Wait until every lane's table is in force; if kube-proxy has left something here, verify ours and remove its."""
    for lane in lanes:
        await _until(lambda lane=lane: lane.settled)  # type: ignore[misc]
    try:
        found = await asyncio.to_thread(upstream.found)
    except KernelError as error:
        log.warning("whether kube-proxy has left rules here cannot be told: %s", error)
        return
    if not found:
        return
    for lane in lanes:
        while not await lane.verified():  # noqa: ASYNC110 - it is the kernel that is asked
            await asyncio.sleep(PATIENCE)
    log.info("kube-proxy's rules are here; ours are in force and verified, so theirs go: %s", "; ".join(found))
    removal = await asyncio.to_thread(upstream.remove)
    for words in removal.done:
        log.info("removed: %s", words)
    for words in removal.kept:
        log.warning("left alone: %s", words)
    for failure in removal.errors:
        log.error("kube-proxy's rules could not all be removed: %s; run kproxy cleanup once it is mended", failure)
    weight = Weight.WARNING if removal.errors else Weight.NORMAL
    words = "; ".join([*removal.done, *map(str, removal.errors)])
    events.tell(weight, Reason.TAKEN_OVER, Action.START, f"kube-proxy's rules were taken over: {words}")


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - minutes may pass, and nobody is in a hurry
        await asyncio.sleep(PATIENCE)

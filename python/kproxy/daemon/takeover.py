# SPDX-License-Identifier: Apache-2.0
"""Taking a node over, from kube-proxy or from an earlier kproxy in another mode: ours in and verified, then theirs out.

No connection meets a gap. Both rule sets may stand beside each other: whichever translates a packet first, the other then
leaves it alone. Connections that kube-proxy's IPVS has established keep its virtual servers until they end.
"""

import asyncio
import functools
import logging
import time
from typing import Final

from kproxy.daemon.switch import Switch
from kproxy.dataplanes import upstream
from kproxy.dataplanes.ipvs.layout import Options
from kproxy.observe.events import Action, Reason, Recorder, Weight
from kproxy.table.errors import KernelError

log: Final = logging.getLogger(__name__)
PATIENCE: Final = Options().drain  # seconds established connections have to end in, as when our own mode ipvs leaves
_PAUSE: Final = 5.0  # seconds between two looks at them


async def take_over(switch: Switch, events: Recorder) -> None:
    """Once our tables are in force: if others serve here too, verify ours and let theirs go."""
    await switch.in_force()
    others = await switch.others()
    found = await _found()
    if not others and not found:
        return
    await switch.verified()
    await switch.see_off(others)
    if found:
        await _remove(found, events)


async def _found() -> list[str]:
    try:
        return await asyncio.to_thread(upstream.found)
    except KernelError as error:
        log.warning("whether kube-proxy has left rules here cannot be told: %s", error)
        return []


async def _remove(found: list[str], events: Recorder) -> None:
    log.info("kube-proxy's rules are here; ours are in force and verified, so theirs go: %s", "; ".join(found))
    removal = await asyncio.to_thread(functools.partial(upstream.remove, spare=True))
    _tell(removal, events)
    if removal.connections:
        await _ended()
        _tell(await asyncio.to_thread(upstream.remove), events)


async def _ended() -> None:
    """Wait until no connection needs kube-proxy's virtual servers, or patience has ended."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        await asyncio.sleep(_PAUSE)
        try:
            if not await asyncio.to_thread(upstream.connections):
                return
        except KernelError as error:
            log.warning("how many connections kube-proxy's IPVS still carries cannot be told, asked again: %s", error)


def _tell(removal: upstream.Removal, events: Recorder) -> None:
    for words in removal.done:
        log.info("removed: %s", words)
    for words in removal.kept:
        log.warning("left alone: %s", words)
    for failure in removal.errors:
        log.error("kube-proxy's rules could not all be removed: %s; run kproxy cleanup once it is mended", failure)
    weight = Weight.WARNING if removal.errors else Weight.NORMAL
    words = "; ".join([*removal.done, *map(str, removal.errors)])
    events.tell(weight, Reason.TAKEN_OVER, Action.START, f"kube-proxy's rules were taken over: {words}")

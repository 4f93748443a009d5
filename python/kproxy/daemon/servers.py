# SPDX-License-Identifier: Apache-2.0
"""The health and metrics servers: bound, tried again where the address is taken, or fatal if that was asked for."""

import asyncio
import logging
from typing import Final

import msgspec

from kproxy.config.addresses import split_port
from kproxy.observe.events import Action, Reason, Recorder, Weight
from kproxy.observe.http import Handler, Server
from kproxy.table.errors import KproxyError

log: Final = logging.getLogger(__name__)
RETRY: Final = 1.0


class Place(msgspec.Struct, frozen=True):
    """A server: what it is, where it listens (``address:port``; empty: nowhere), why an Event is sent if it cannot."""

    name: str
    address: str
    reason: Reason
    setting: str
    hard_fail: bool = False


async def serve(place: Place, handler: Handler, events: Recorder) -> None:
    """Serve until cancelled. Raises KproxyError when the address cannot be bound and that shall be fatal."""
    if not place.address:
        await asyncio.Event().wait()
    host, port = split_port(place.address)
    server = Server(handler)
    known = ""
    try:
        while True:
            try:
                await server.listen(host, int(port))
            except OSError as error:
                words = f"the {place.name} server cannot listen on {place.address}: {error.strerror}"
                if words != known:
                    log.warning("%s; free it or set %s, it is tried again every %.0f s", words, place.setting, RETRY)
                    known = words
                if place.hard_fail:
                    events.tell(Weight.WARNING, place.reason, Action.START, words)
                    await asyncio.sleep(1.0)  # for the Event to leave
                    raise KproxyError(f"{words}: free the address, or set {place.setting}") from error
                await asyncio.sleep(RETRY)
            else:
                log.info("the %s server listens on %s", place.name, place.address)
                await asyncio.Event().wait()
    finally:
        await server.close()

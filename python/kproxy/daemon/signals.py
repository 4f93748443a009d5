# SPDX-License-Identifier: Apache-2.0
"""SIGTERM and SIGINT end the process; what it has put into the kernel stays."""

import asyncio
import signal
from typing import Final

ENDING: Final = (signal.SIGTERM, signal.SIGINT)


async def ended() -> signal.Signals:
    """Wait for one of them and return it; a second one ends the process at once."""
    loop = asyncio.get_running_loop()
    received: asyncio.Future[signal.Signals] = loop.create_future()

    def take(which: signal.Signals) -> None:
        for each in ENDING:
            loop.remove_signal_handler(each)
        if not received.done():
            received.set_result(which)

    for each in ENDING:
        loop.add_signal_handler(each, take, each)
    try:
        return await received
    finally:
        for each in ENDING:
            loop.remove_signal_handler(each)

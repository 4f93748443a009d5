# SPDX-License-Identifier: Apache-2.0
"""Running several things until one of them ends."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def first_ended(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all of them; when the first ends, cancel the others, wait for these, and raise what it raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in ended:
        task.result()

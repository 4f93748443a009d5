# SPDX-License-Identifier: Apache-2.0
"""The configuration file, followed: told by inotify on its directory, and looked at every few seconds besides.

The directory is watched and not the file, because a mounted ConfigMap changes by a swap of symbolic links beside it, which
a watch on the file never sees.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from kproxy.kernel.inotify import Inotify, Mask
from kproxy.table.errors import KernelError

PERIOD: Final = 5.0  # seconds between looks at what inotify cannot see
SETTLE: Final = 0.1  # seconds a writer gets to finish
WATCHED: Final = Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.CREATE | Mask.DELETE | Mask.ONLYDIR


def _content(path: Path) -> str | None:
    """Return the text; None: there is no file. What is not text is returned as such, for the reader to complain about."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


async def contents(path: Path) -> AsyncIterator[str | None]:
    """Yield the file's text now and whenever it is another one than before; None: the file is gone.

    A file that is being replaced may be missing for a moment: that counts only if it still is a moment later.
    """
    known = _content(path)
    yield known
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()
    with contextlib.closing(Inotify()) as door:
        loop.add_reader(door.fileno(), changed.set)
        try:
            while True:
                with contextlib.suppress(OSError, KernelError):  # the look every few seconds remains
                    door.add(path.parent, WATCHED)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PERIOD):
                        await changed.wait()
                await asyncio.sleep(SETTLE)
                changed.clear()
                door.read()
                text = _content(path)
                if text is None:
                    await asyncio.sleep(10 * SETTLE)
                    text = _content(path)
                if text != known:
                    known = text
                    yield text
        finally:
            loop.remove_reader(door.fileno())

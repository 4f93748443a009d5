# SPDX-License-Identifier: Apache-2.0
"""A server on a thread of its own, for callers that block: the official client, a shell script, a bench."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from kproxy.lab.apiserver.server import ApiServer

P = ParamSpec("P")
T = TypeVar("T")


class Background:
    """A running server. Everything but ``url`` goes through ``call``, which runs on the server's own thread."""

    def __init__(self, server: ApiServer, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self._loop = loop

    @property
    def url(self) -> str:
        """Return where the server answers."""
        return self.server.url

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function of the server on its thread and return what it returns."""
        result: Future[T] = Future()

        def run() -> None:
            try:
                result.set_result(function(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 - it is the caller's, and is raised there
                result.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return result.result(timeout=60)


@contextmanager
def in_background(server: ApiServer) -> Iterator[Background]:
    """Run a server while the block lasts."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="lab-apiserver", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(timeout=10)
        yield Background(server, loop)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()

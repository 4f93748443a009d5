# SPDX-License-Identifier: Apache-2.0
"""A source at work against a lab API server, and what it has told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable

from kproxy.lab.apiserver import ApiServer
from kproxy.objects.decode import kind_of
from kproxy.objects.events import Broken, Delete, Event, Kind, Object, Synced, Upsert
from kproxy.sources.kubernetes.reflector import Timing
from kproxy.sources.kubernetes.source import KubernetesSource
from kproxy.sources.kubernetes.transport import Transport, connect
from kproxy.sources.watches import Watch, watches_of

IMPATIENT = Timing(
    silence=0.6, listing=0.6, first_pause=0.02, longest_pause=0.2, page=3
)  # the lab's server sends a bookmark every 0.2 s
PATIENCE = 10.0  # seconds after which a test has failed


class Following:
    """Everything that was told; a condition can be waited for."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.objects: dict[tuple[Kind, str], Object] = {}
        self.synced: set[Kind] = set()
        self.broken: dict[tuple[Kind | None, str], str] = {}
        self._news = asyncio.Event()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        self.events.append(event)
        match event:
            case Upsert():
                key = (kind_of(event.object), event.object.metadata.key)
                self.objects[key] = event.object
                self.broken.pop(key, None)
            case Delete():
                self.objects.pop((event.kind, event.key), None)
                self.broken.pop((event.kind, event.key), None)
            case Synced():
                self.synced.add(event.kind)
            case Broken():
                self.broken[event.kind, event.key] = event.mend
        self._news.set()

    def keys(self, kind: Kind) -> list[str]:
        """Return the known objects of a kind."""
        return sorted(key for which, key in self.objects if which is kind)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something has become true."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def until_synced(self) -> None:
        """Wait until every kind is synced."""
        await self.until(lambda: len(self.synced) == len(Kind))

    async def until_keys(self, kind: Kind, *keys: str) -> None:
        """Wait until exactly these objects are known."""
        await self.until(lambda: self.keys(kind) == sorted(keys))


@contextlib.asynccontextmanager
async def following(
    server: ApiServer,
    *,
    transport: Transport | None = None,
    timing: Timing = IMPATIENT,
    watches: Iterable[Watch] | None = None,
) -> AsyncIterator[Following]:
    """Run a source against the server."""
    told = Following()
    transport = transport or connect(master=server.url, environment={})
    source = KubernetesSource(transport, watches or watches_of("here"), timing=timing)
    task = asyncio.create_task(source.run(told))
    try:
        yield told
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await transport.close()

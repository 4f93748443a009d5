# SPDX-License-Identifier: Apache-2.0
"""WATCH: what is, then what changes, one JSON object a line.

What is sent follows k8s.io/apiserver ``pkg/storage/cacher/cacher.go`` (``Watch``) and ``cache_watcher.go``
(``convertToWatchEvent``, ``nextBookmarkTime``); how it is sent, ``pkg/endpoints/handlers/watch.go`` (``HandleHTTP``).
A watcher reads the shared history at its own position, so a burst of changes costs one write however long it is; one that
falls behind the window is cut off and has to resume, as upstream does it.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from kproxy.lab.apiserver.faults import Faults
from kproxy.lab.apiserver.listing import require, scope
from kproxy.lab.apiserver.options import ListOptions, watch_version
from kproxy.lab.apiserver.resources import Resource
from kproxy.lab.apiserver.status import ApiError
from kproxy.lab.apiserver.store import Change, Collection, Store, Stored

INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"
MIN_REQUEST_TIMEOUT: Final = 1800.0  # --min-request-timeout; a watch without time-out lasts one to two of these
BEFORE_DEADLINE: Final = 2.0  # the last bookmark comes this many seconds before the time-out
CHUNK: Final = 500  # initial events a write


class Watch:
    """One watch in progress. Iterate over ``stream()`` for the lines to write."""

    def __init__(
        self,
        store: Store,
        resource: Resource,
        namespace: str,
        options: ListOptions,
        faults: Faults,
        *,
        bookmark_period: float,
        render: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """``render`` turns an encoded object into what the client wants to see instead."""
        self._store = store
        self._collection: Collection = store.of(resource)
        self._resource = resource
        self._prefix = f"{namespace}/" if resource.namespaced and namespace else ""
        self._namespace = namespace
        self._options = options
        self._faults = faults
        self._period = bookmark_period
        self._render = render
        self._asked = watch_version(options, resource)
        timeout = float(options.timeout or MIN_REQUEST_TIMEOUT * (1 + random.random()))  # noqa: S311 - jitter
        self._deadline = time.monotonic() + timeout
        self._began = 0  # the version that the initial events show
        self._position = 0
        self._news = asyncio.Event()
        self._head = resource.head

    async def stream(self, patience: float) -> AsyncIterator[bytes]:
        """Yield chunks of whole lines until the time-out. ``patience``: seconds to wait for a version from the future."""
        try:
            initial = await self._start(patience)
        except ApiError as error:
            # once the request itself is sound, errors travel inside the stream (cacher.go, newErrWatcher)
            yield _line(b"ERROR", msgspec.json.encode(error.status))
            return
        for first in range(0, len(initial), CHUNK):
            yield b"".join(self._event(b"ADDED", item) for item in initial[first : first + CHUNK])
        if self._options.initial_events and self._bookmarks:
            yield self._bookmark(self._began, initial_events_end=True)
        async for chunk in self._follow():
            yield chunk

    def finish(self) -> None:
        """Let the stream end, as it would at its time-out."""
        self._deadline = 0.0
        self._news.set()

    @property
    def _bookmarks(self) -> bool:
        return self._options.bookmarks and self._faults.bookmarks

    async def _start(self, patience: float) -> list[Stored]:
        """Take the position to follow from, and the objects to tell first."""
        options = self._options
        if options.initial_events or (options.initial_events is None and not self._asked):
            await require(self._store, self._asked, patience)
            self._began, self._position = self._store.version, self._collection.end
            snapshot = scope(self._collection.snapshot(self._began), self._resource, self._namespace)
            return [item for item in snapshot if self._selects(item)]
        self._position = self._collection.position(self._asked or self._store.version)
        return []

    async def _follow(self) -> AsyncIterator[bytes]:
        self._collection.watchers.add(self._news)
        beat = self._next_beat()
        try:
            while (now := time.monotonic()) < self._deadline:
                self._news.clear()
                changes = self._collection.changes(self._position)
                if changes is None:
                    return
                if changes:
                    self._position = self._collection.end
                    if chunk := b"".join(line for change in changes if (line := self._tell(change))):
                        yield chunk
                    continue
                if now >= beat:
                    beat = self._next_beat()
                    if self._bookmarks:
                        yield self._bookmark(self._store.version)
                    continue
                try:
                    async with asyncio.timeout(min(beat, self._deadline) - now):
                        await self._news.wait()
                except TimeoutError:
                    pass
        finally:
            self._collection.watchers.discard(self._news)

    def _next_beat(self) -> float:
        """Return when the next bookmark is due: a period from now, but once shortly before the deadline."""
        now = time.monotonic()
        before_deadline = self._deadline - BEFORE_DEADLINE
        return min(now + self._period, before_deadline) if before_deadline > now else self._deadline

    def _selects(self, item: Stored | None) -> bool:
        return (
            item is not None
            and item.key.startswith(self._prefix)
            and self._options.selector.matches(item.labels, item.fields)
        )

    def _tell(self, change: Change) -> bytes:
        """Turn a change into what this watcher sees of it: entering and leaving the selection is ADDED and DELETED."""
        if change.version <= self._asked:
            return b""  # the watch was asked to begin in the future, which only now is being made
        now, was = self._selects(change.after), self._selects(change.before)
        if now and change.after is not None:
            return self._event(b"MODIFIED" if was else b"ADDED", change.after)
        if was and change.before is not None:
            return self._event(b"DELETED", change.before.stamped(change.version))
        return b""

    def _event(self, kind: bytes, item: Stored) -> bytes:
        body = self._head + item.body
        return _line(kind, self._render(body) if self._render else body)

    def _bookmark(self, version: int, *, initial_events_end: bool = False) -> bytes:
        annotations = f'"annotations":{{"{INITIAL_EVENTS_END}":"true"}},' if initial_events_end else ""
        body = f'"metadata":{{"resourceVersion":"{version}",{annotations}"creationTimestamp":null}}'
        return _line(b"BOOKMARK", self._head + body.encode() + self._resource.zero + b"}")


def _line(kind: bytes, body: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (kind, body)

# SPDX-License-Identifier: Apache-2.0
"""Follows one kind on an API server, whatever happens to the server.

::

            ┌──────────────── list ◀──────────── expired (410), or answers that make no sense
            ▼                  ▲
      streaming list ──────────┤ the server does not know streaming lists, or the field selector
            │                  ▼
            │             paged list
            ▼                  │
          watch ◀──────────────┘
            │ ▲ resumes at the last resourceVersion: ended, torn, stalled, unauthorized, unreachable
            └─┘

A list never clears: ``Inventory`` tells only what differs. The protocol is that of the Kubernetes API concepts page
("Efficient detection of changes", "Streaming lists", "Retrieving large results sets in chunks").
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from kproxy.objects.events import Emit
from kproxy.sources.kubernetes.backoff import Backoff
from kproxy.sources.kubernetes.connection import Connection
from kproxy.sources.kubernetes.inventory import Inventory
from kproxy.sources.kubernetes.observer import Nobody, Observer
from kproxy.sources.kubernetes.wire import ListMeta, open_bookmark, open_event, open_list, open_status
from kproxy.sources.watches import Watch
from kproxy.table.clock import Clock
from kproxy.table.errors import Expired, SourceError, Stalled, Unauthorized

log = logging.getLogger(__name__)

REFUSALS: Final = frozenset({400, 403, 404, 405, 422})  # how servers of all ages say that they know no streaming lists
PASSING: Final = frozenset({0, 401, 403, 429, 503})  # says nothing about the resourceVersion we asked for


class Timing(msgspec.Struct, frozen=True):
    """Seconds, but for ``page``.

    A watch is asked to last between ``shortest`` and ``longest``. Servers send a bookmark a minute, so once one was seen,
    ``silence`` without a byte means that nobody is there. Before that, or without bookmarks, only a watch that outlives its
    time by ``grace`` is known to be dead. ``listing`` is the longest silence within a streaming list.
    """

    shortest: float = 300.0
    longest: float = 600.0
    silence: float = 150.0
    grace: float = 30.0
    listing: float = 30.0
    fruitful: float = 1.0  # a watch that ends sooner, and empty, counts as a failure
    first_pause: float = 0.2  # after a failure; doubled up to
    longest_pause: float = 30.0
    absent: float = 600.0  # between looks for a kind that the server lacks
    page: int = 500  # objects


class Reflector:
    """The state machine of one kind. All state is the resourceVersion to go on from; ``""``: list first."""

    def __init__(
        self,
        watch: Watch,
        connection: Connection,
        *,
        clock: Clock,
        observer: Observer | None = None,
        timing: Timing | None = None,
        backoff: Backoff | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._watch = watch
        self._connection = connection
        self._clock = clock
        self._observer = observer or Nobody()
        self._timing = timing or Timing()
        self._backoff = backoff or Backoff(self._timing.first_pause, self._timing.longest_pause)
        self._sleep = sleep
        self._version = ""
        self._by_field = True  # whether the server selects by field, or we do
        self._unfinished = 0  # streaming lists in a row that came to nothing
        self._senseless = 0  # answers in a row that may be the resourceVersion's fault
        self._bookmarked = False
        self._trouble = False

    async def run(self, emit: Emit) -> None:
        """Tell what is, then what changes, until cancelled."""
        inventory = Inventory(self._watch, emit)
        while True:
            pause = await self.turn(inventory)
            if pause:
                await self._sleep(pause)

    async def turn(self, inventory: Inventory) -> float:
        """List or watch once, until it ends or fails. Return the seconds to wait before the next turn."""
        try:
            if self._version:
                await self._resume(inventory)
            else:
                await self._list(inventory)
        except SourceError as error:
            return self._fail(inventory, error)
        return 0.0

    async def _list(self, inventory: Inventory) -> None:
        """List in the best way that the server knows. A streaming list goes on as a watch."""
        streamed, self._by_field = self._unfinished < 2, bool(self._watch.selector.fields)
        while True:
            try:
                if streamed:
                    await self._list_in_stream(inventory)
                else:
                    await self._list_in_pages(inventory)
            except SourceError as error:
                if self._version:
                    raise  # the list was complete; it is the watch after it that failed
                if self._by_field and error.status == 400 and _blames_fields(error):
                    log.info(
                        "%s: the API server cannot select by %s; we do", self._watch.kind, self._watch.selector.field_text
                    )
                    self._by_field = False
                elif streamed and error.status in REFUSALS:
                    log.debug("%s: the API server has no streaming lists (%s)", self._watch.kind, error)
                    streamed = False
                elif self._by_field and error.status == 400:
                    self._by_field = False
                else:
                    raise
            else:
                return

    async def _list_in_stream(self, inventory: Inventory) -> None:
        query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        await self._follow(inventory, query)
        if not self._version:
            raise SourceError(f"the API server ended the streaming list of {self._watch.path} before it was complete")
        self._succeed(inventory)

    async def _list_in_pages(self, inventory: Inventory) -> None:
        began = self._clock.monotonic()
        query = {**self._selectors(), "limit": str(self._timing.page)}
        inventory.begin()
        while True:
            try:
                meta = self._take_page(inventory, await self._connection.read(self._watch.path, query))
            except Expired:
                if "continue" not in query:
                    raise
                # The server has forgotten the list we are in the middle of: take it in one piece, as it is now.
                inventory.begin()
                query = self._selectors()
                continue
            if not meta.rest:
                break
            query["continue"] = meta.rest
        if not meta.resource_version:
            raise SourceError(f"the API server's list of {self._watch.path} has no resourceVersion; is it one?", status=200)
        inventory.finish(self._clock.monotonic())
        self._listed(meta.resource_version, began, streamed=False)

    def _take_page(self, inventory: Inventory, body: bytes) -> ListMeta:
        """Take one page. A function of its own, so that the next page never finds this one still in memory."""
        received = self._clock.monotonic()
        self._observer.received(self._watch.kind, len(body))
        page = open_list(body)
        for raw in page.items or ():
            inventory.upsert(raw, received)
        return page.metadata

    async def _resume(self, inventory: Inventory) -> None:
        """Watch from the last resourceVersion to the end."""
        version, began = self._version, self._clock.monotonic()
        await self._follow(inventory, {"resourceVersion": version})
        if self._version == version and self._clock.monotonic() - began < self._timing.fruitful:
            raise SourceError(f"the API server ends watches of {self._watch.path} as soon as they begin; see its log")
        self._succeed(inventory)

    async def _follow(self, inventory: Inventory, query: dict[str, str]) -> None:
        lasts = random.uniform(self._timing.shortest, self._timing.longest)  # noqa: S311 - spreads load
        query |= self._selectors()
        query |= {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(max(1, round(lasts)))}
        self._bookmarked = False
        async with self._connection.stream(self._watch.path, query) as lines:
            began = self._clock.monotonic()
            if not self._version:
                self._unfinished += 1
                inventory.begin()
            try:
                while batch := await lines.batch(self._patience(lasts)):
                    received = self._clock.monotonic()
                    self._observer.received(self._watch.kind, sum(map(len, batch)))
                    for line in batch:
                        self._take(inventory, line, began, received)
            finally:
                lasted = self._clock.monotonic() - began
                self._observer.watched(self._watch.kind, lasted)
                if self._version and lasted >= self._timing.fruitful:
                    self._backoff.reset()  # a watch that had nothing to tell and is torn is not one failure more in a row

    def _patience(self, lasts: float) -> float:
        if not self._version:
            return self._timing.listing
        return self._timing.silence if self._bookmarked else lasts + self._timing.grace

    def _take(self, inventory: Inventory, line: bytes, began: float, received: float) -> None:
        """Act on one watch event."""
        event = open_event(line)
        match event.type:
            case "ADDED" | "MODIFIED":
                version = inventory.upsert(event.object, received)
            case "DELETED":
                version = inventory.delete(event.object, received)
            case "BOOKMARK":
                bookmark = open_bookmark(event.object)
                version = bookmark.metadata.resource_version
                self._bookmarked = True
                if not self._version and bookmark.ends_initial_events:
                    inventory.finish(received)
                    self._listed(version, began, streamed=True)
                    return
            case "ERROR":
                status = open_status(event.object)
                words = f"the watch of {self._watch.path} failed: {status.words}"
                if status.code == 410 or status.reason in {"Expired", "Gone"}:
                    raise Expired(words, status=410)
                raise SourceError(words, status=status.code or 500, retry_after=status.retry_after)
            case other:
                log.warning("%s: the API server sent an event of unknown type %r; it is ignored", self._watch.kind, other)
                return
        if self._version:  # within a streaming list there is nothing yet to go on from
            self._version = version or self._version
            self._succeed(inventory)

    def _selectors(self) -> dict[str, str]:
        selector = self._watch.selector
        query = {"labelSelector": selector.label_text} if selector.labels else {}
        return query | ({"fieldSelector": selector.field_text} if self._by_field and selector.fields else {})

    def _listed(self, version: str, began: float, *, streamed: bool) -> None:
        self._version = version
        self._unfinished = self._senseless = 0
        self._observer.listed(self._watch.kind, self._clock.monotonic() - began, streamed=streamed)

    def _succeed(self, inventory: Inventory) -> None:
        """Note that the watch works: a list alone proves nothing, its watch may expire at once, again and again."""
        self._backoff.reset()
        self._senseless = 0
        if self._trouble:
            self._trouble = False
            log.info("%s: the API server answers again; %d known", self._watch.kind, len(inventory))

    def _fail(self, inventory: Inventory, error: SourceError) -> float:
        """Decide where to go on after a failure, and when."""
        if not self._version and self._watch.optional and error.status in {403, 404}:
            log.info("%s: %s; done without", self._watch.kind, error)
            inventory.synced()
            return self._timing.absent * random.uniform(1.0, 1.2)  # noqa: S311 - spreads load
        self._observer.restarted(self._watch.kind, _reason(error))
        if error.status not in PASSING:
            self._senseless += 1
        if isinstance(error, Expired) or self._senseless >= 3:
            self._version = ""
        self._trouble = True
        pause = self._backoff.pause(error.retry_after)
        log.warning("%s: %s (again in %.1f s)", self._watch.kind, error, pause)
        return pause


def _blames_fields(error: SourceError) -> bool:
    """Tell whether the server says that it cannot select by the field: core kinds and others word it differently."""
    return "field label" in str(error) or "field selector:" in str(error)


def _reason(error: SourceError) -> str:
    match error:
        case Expired():
            return "expired"
        case Unauthorized():
            return "unauthorized"
        case Stalled():
            return "stalled"
        case _:
            return "refused" if error.status else "unreachable"

# SPDX-License-Identifier: Apache-2.0
"""The API's envelopes: lists, watch events, bookmarks and statuses. Objects inside stay undecoded bytes.

A list or an event is opened without a look at its objects (``msgspec.Raw``), so a bookmark costs nothing and one bad object
spoils nothing around it.
"""

from typing import Final, TypeVar

import msgspec

from kproxy.table.errors import SourceError

INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"
Envelope = TypeVar("Envelope")


class ListMeta(msgspec.Struct, rename={"resource_version": "resourceVersion", "rest": "continue"}):
    """Where a list stands: ``rest`` is the token for the next page, empty on the last one."""

    resource_version: str = ""
    rest: str = ""


class ObjectList(msgspec.Struct):
    """One page of a list."""

    metadata: ListMeta
    items: list[msgspec.Raw] | None = None


class WatchEvent(msgspec.Struct):
    """One line of a watch."""

    type: str
    object: msgspec.Raw


class BookmarkMeta(msgspec.Struct, rename="camel"):
    """The only part of a bookmark that says anything."""

    resource_version: str
    annotations: dict[str, str] | None = None


class Bookmark(msgspec.Struct):
    """The server's word that everything up to a resourceVersion has been told."""

    metadata: BookmarkMeta

    @property
    def ends_initial_events(self) -> bool:
        """Tell whether a streaming list is complete with it."""
        return (self.metadata.annotations or {}).get(INITIAL_EVENTS_END) == "true"


class StatusDetails(msgspec.Struct, rename="camel"):
    """The part of a Status that says when to come back."""

    retry_after_seconds: int | None = None


class Status(msgspec.Struct):
    """What the server says when it does not do as asked."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: StatusDetails | None = None

    @property
    def retry_after(self) -> float:
        """Return the seconds to wait, 0 where the server does not say."""
        return float((self.details.retry_after_seconds if self.details else None) or 0)

    @property
    def words(self) -> str:
        """Return the server's own words, in one line."""
        return " ".join((self.message or self.reason).split())


_LIST: Final = msgspec.json.Decoder(ObjectList)
_EVENT: Final = msgspec.json.Decoder(WatchEvent)
_BOOKMARK: Final = msgspec.json.Decoder(Bookmark)
_STATUS: Final = msgspec.json.Decoder(Status)


def _open(decoder: msgspec.json.Decoder[Envelope], raw: bytes | msgspec.Raw, what: str) -> Envelope:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        start = bytes(raw)[:80].decode(errors="replace")
        raise SourceError(
            f"the API server sent {what} that makes no sense ({error}): {start!r}; is it one?", status=200
        ) from error


def open_list(body: bytes) -> ObjectList:
    """Open a page of a list. Raises SourceError when it is none."""
    return _open(_LIST, body, "a list")


def open_event(line: bytes) -> WatchEvent:
    """Open a line of a watch. Raises SourceError when it is none."""
    return _open(_EVENT, line, "a watch event")


def open_bookmark(raw: msgspec.Raw) -> Bookmark:
    """Open the object of a BOOKMARK event. Raises SourceError when it is none."""
    return _open(_BOOKMARK, raw, "a bookmark")


def open_status(raw: bytes | msgspec.Raw) -> Status:
    """Open a Status; a body of another form (a proxy's HTML page) becomes one with its first words."""
    try:
        return _STATUS.decode(raw)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return Status(message=bytes(raw)[:200].decode(errors="replace"))

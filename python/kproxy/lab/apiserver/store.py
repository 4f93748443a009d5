# SPDX-License-Identifier: Apache-2.0
"""What the server remembers: objects as encoded bytes, one ever growing version, and a window of past changes.

An object is kept as the bytes that go over the wire, together with the labels and fields one may select by: a list of
10,000 Services is a join of bytes. The version stands first in those bytes, so that a deleted object is told with its new
version by cutting, not by encoding anew.

A snapshot at an older version is the present with the later changes undone. It exists as long as the window reaches back
that far, as upstream's watch cache does it (k8s.io/apiserver ``pkg/storage/cacher/watch_cache_history.go``).
"""

import asyncio
import bisect
import itertools
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from kproxy.lab.apiserver.resources import RESOURCES, Resource, field
from kproxy.lab.apiserver.status import expired

SNAPSHOTS_KEPT: Final = 8
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")  # so that equal content is equal bytes


class Identity(msgspec.Struct, rename="camel"):
    """What an object keeps for life; loosely typed, as the lab may hold malformed objects."""

    uid: Any = ""
    creation_timestamp: Any = None


class _Identified(msgspec.Struct):
    metadata: Identity


class Stored(msgspec.Struct, frozen=True):
    """One version of one object. ``body`` is its JSON after ``kind`` and ``apiVersion``, closing brace included."""

    key: str
    version: int
    body: bytes
    labels: dict[str, str]
    fields: dict[str, str]

    @property
    def value(self) -> dict[str, Any]:
        """Return the object, without kind and apiVersion: a fresh copy that the caller may change."""
        decoded: dict[str, Any] = msgspec.json.decode(b"{" + self.body)
        return decoded

    @property
    def identity(self) -> Identity:
        """Return what the object keeps for life, without decoding the rest."""
        return msgspec.json.decode(b"{" + self.body, type=_Identified).metadata

    def stamped(self, version: int) -> "Stored":
        """Return the same object with another resourceVersion."""
        return Stored(self.key, version, _stamp(version) + self.body[len(_stamp(self.version)) :], self.labels, self.fields)


def _stamp(version: int) -> bytes:
    return b'"metadata":{"resourceVersion":"%d",' % version


class Change(msgspec.Struct, frozen=True):
    """One step of history. ``after`` is None for a deletion, ``before`` for a creation."""

    version: int
    after: Stored | None
    before: Stored | None


class Collection:
    """All objects of one kind, their recent history, and who waits for news of them."""

    def __init__(self, resource: Resource, window: int) -> None:
        self.resource = resource
        self.window = window
        self.objects: dict[str, Stored] = {}
        self.floor = 0  # the oldest version that a watch may resume from
        self.last = 0  # the version of the newest change
        self.watchers: set[asyncio.Event] = set()
        self._history: list[Change] = []
        self._first = 0  # how many changes were forgotten before the first one kept
        self._snapshots: OrderedDict[int, tuple[Stored, ...]] = OrderedDict()

    @property
    def end(self) -> int:
        """Return the position after the newest change; positions count from the beginning of time."""
        return self._first + len(self._history)

    def record(self, change: Change) -> None:
        """Append a change and wake everybody who waits."""
        self._history.append(change)
        self.last = change.version
        if len(self._history) > 2 * self.window:
            self.forget(self.window)
        for watcher in self.watchers:
            watcher.set()

    def forget(self, keep: int) -> None:
        """Forget all but the newest ``keep`` changes."""
        gone = len(self._history) - keep
        if gone <= 0:
            return
        del self._history[:gone]
        self._first += gone
        self.floor = max(self.floor, self._history[0].version - 1 if self._history else self.last)

    def position(self, version: int) -> int:
        """Return where the changes after a version begin. Raises ApiError 410 if they are no longer known."""
        if version < self.floor:
            raise expired(f"too old resource version: {version} ({self.floor})")
        return self._first + bisect.bisect_right(self._history, version, key=lambda change: change.version)

    def changes(self, position: int) -> list[Change] | None:
        """Return the changes from a position on. None: some were forgotten meanwhile."""
        return None if position < self._first else self._history[position - self._first :]

    def snapshot(self, version: int) -> tuple[Stored, ...]:
        """Return all objects as they were, sorted by key. Raises ApiError 410 if that is no longer known."""
        if version < self.floor:
            raise expired("The resourceVersion for the provided list is too old.")
        version = min(version, self.last)
        known = self._snapshots.get(version)
        if known is None:
            objects = dict(self.objects)
            for change in self._undo(version):
                if change.before is not None:
                    objects[change.before.key] = change.before
                elif change.after is not None:
                    objects.pop(change.after.key, None)
            known = self._snapshots[version] = tuple(objects[key] for key in sorted(objects))
            if len(self._snapshots) > SNAPSHOTS_KEPT:
                self._snapshots.popitem(last=False)
        return known

    def _undo(self, version: int) -> Iterator[Change]:
        return itertools.takewhile(lambda change: change.version > version, reversed(self._history))


class Store:
    """Every collection under one version."""

    def __init__(self, window: int = 10_000) -> None:
        self.version = 1
        self.collections: Final = {resource.kind: Collection(resource, window) for resource in RESOURCES}

    def of(self, resource: Resource) -> Collection:
        """Return a kind's collection."""
        return self.collections[resource.kind]

    def get(self, resource: Resource, namespace: str, name: str) -> Stored | None:
        """Return an object, None where it is absent."""
        return self.of(resource).objects.get(resource.key(namespace, name))

    def write(self, resource: Resource, value: dict[str, Any]) -> Stored:
        """Store an object under a new version. Content equal to what is stored changes nothing, version included."""
        collection = self.of(resource)
        metadata = value["metadata"]
        key = resource.key(metadata.get("namespace", ""), metadata["name"])
        before = collection.objects.get(key)
        body = _encode(value)
        if before is not None and before.body[len(_stamp(before.version)) :] == body:
            return before
        self.version += 1
        after = Stored(
            key=key,
            version=self.version,
            body=_stamp(self.version) + body,
            labels=labels if isinstance(labels := metadata.get("labels"), dict) else {},
            fields={label: field(value, label) for label in resource.field_labels},
        )
        collection.objects[key] = after
        collection.record(Change(self.version, after, before))
        return after

    def remove(self, resource: Resource, key: str) -> Stored | None:
        """Delete an object; what it last was comes back with the version of the deletion."""
        collection = self.of(resource)
        before = collection.objects.pop(key, None)
        if before is None:
            return None
        self.version += 1
        collection.record(Change(self.version, None, before))
        return before.stamped(self.version)

    async def reach(self, version: int, patience: float) -> bool:
        """Wait until the version is at least this one; False if it is not so after ``patience`` seconds."""
        deadline = time.monotonic() + patience
        while self.version < version:
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(min(0.02, patience))
        return True

    def advance(self) -> int:
        """Let the version grow without any change of a kind we hold, as other kinds do it in a real cluster."""
        self.version += 1
        return self.version

    def compact(self) -> None:
        """Refuse all older versions from now on: whoever resumes from one must list anew. Watches in progress go on."""
        self.version += 1
        for collection in self.collections.values():
            collection.floor = self.version


def _encode(value: dict[str, Any]) -> bytes:
    """Encode all after the version: the rest of the metadata, then the other fields."""
    metadata = {name: item for name, item in value["metadata"].items() if name != "resourceVersion"}
    rest = {name: item for name, item in value.items() if name not in ("kind", "apiVersion", "metadata")}
    encoded = _ENCODER.encode(metadata)[1:]
    return encoded + (b"," + _ENCODER.encode(rest)[1:] if rest else b"}")

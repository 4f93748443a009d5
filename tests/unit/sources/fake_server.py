# SPDX-License-Identifier: Apache-2.0
"""An API server without a network: it implements ``connection.Connection`` and misbehaves when told to.

It has one kind, a history, and a list of faults; each request takes the next fault, if there is one. A watch tells what has
happened and then ends, so that a test goes on turn by turn.
"""

from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any

import msgspec

from kproxy.table.errors import Expired, SourceError, Stalled, Unauthorized


class Fault(Enum):
    """What the next request meets."""

    NONE = "answers as it should"
    UNREACHABLE = "cannot be reached"
    UNAUTHORIZED = "401"
    BUSY = "429 with Retry-After"
    ILL = "500"
    GONE = "410 as status"
    GONE_EVENT = "410 as event"
    ILL_EVENT = "500 as event"
    TORN = "torn after some events"
    STALLED = "silent after some events"
    GARBAGE = "a line that is no JSON after some events"
    UNKNOWN = "an event of unknown type first"
    TWICE = "every event twice"


class FakeServer:
    """Objects, their history and what is wrong with the server."""

    def __init__(self, *, streaming: bool = True, fields: bool = True, exists: bool = True, refusal: int = 422) -> None:
        self.streaming, self.fields, self.exists, self.refusal = streaming, fields, exists, refusal
        self.version = 1
        self.oldest = 0  # the oldest version that a watch may go on from
        self.objects: dict[str, dict[str, Any]] = {}
        self.history: list[tuple[int, str, dict[str, Any]]] = []
        self.deletions: dict[str, list[int]] = {}
        self.faults: deque[tuple[Fault, int]] = deque()
        self.requests: list[dict[str, str]] = []
        self.patience: list[float] = []
        self.bookmarks = True

    def put(self, name: str, **spec: Any) -> None:
        """Create or change a Service; what ``spec`` holds may make no sense."""
        self.version += 1
        event = "MODIFIED" if name in self.objects else "ADDED"
        metadata = {"name": name, "namespace": "shop", "resourceVersion": str(self.version)}
        self.objects[name] = {"kind": "Service", "apiVersion": "v1", "metadata": metadata, "spec": spec}
        self.history.append((self.version, event, self.objects[name]))

    def delete(self, name: str) -> None:
        """Delete a Service, if it exists."""
        item = self.objects.pop(name, None)
        if item is None:
            return
        self.version += 1
        gone = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}}
        self.history.append((self.version, "DELETED", gone))
        self.deletions.setdefault(f"shop/{name}", []).append(self.version)

    def compact(self) -> None:
        """Forget history."""
        self.version += 1
        self.oldest = self.version
        self.history.clear()

    async def read(self, path: str, query: Mapping[str, str]) -> bytes:
        """Answer a list."""
        assert "watch" not in query
        self._admit(path, query)
        names = sorted(self.objects)
        start = int(query.get("continue", "0"))
        limit = int(query.get("limit", len(names) + 1))
        items = [{key: value for key, value in self.objects[name].items() if key in {"metadata", "spec"}} for name in names]
        rest = str(start + limit) if start + limit < len(names) else ""
        meta = {"resourceVersion": str(self.version), "continue": rest}
        return msgspec.json.encode({"kind": "ServiceList", "metadata": meta, "items": items[start : start + limit]})

    @asynccontextmanager
    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator["FakeLines"]:
        """Answer a watch, with or without initial events."""
        assert query["watch"] == "1"
        initial = query.get("sendInitialEvents") == "true"
        if initial:
            self._know(path, query)
            if not self.streaming:
                raise SourceError(f"{self.refusal}: sendInitialEvents is forbidden for watch", status=self.refusal)
        fault, after = self._admit(path, query)
        lines: list[bytes] = []
        if initial:
            lines = [_event("ADDED", self.objects[name]) for name in sorted(self.objects)]
            lines.append(_bookmark(self.version, ends=True))
        else:
            version = int(query["resourceVersion"])
            if version < self.oldest:
                lines = [_status(410, "Expired")]
            else:
                lines = [_event(kind, item) for at, kind, item in self.history if at > version]
                if self.bookmarks:
                    lines.append(_bookmark(self.version))
        match fault:
            case Fault.GONE_EVENT:
                lines = [*lines[:after], _status(410, "Expired")]
            case Fault.ILL_EVENT:
                lines = [*lines[:after], _status(500, "InternalError")]
            case Fault.GARBAGE:
                lines = [*lines[:after], b'{"type":"ADDED","object":{"kind']
            case Fault.UNKNOWN:
                lines = [b'{"type":"RENAMED","object":{}}', *lines]
            case Fault.TWICE:
                lines = [line for line in lines for _ in range(2)]
            case Fault.TORN | Fault.STALLED:
                lines = lines[:after]
        yield FakeLines(self, lines, fault)

    def _know(self, path: str, query: Mapping[str, str]) -> None:
        assert path == "/api/v1/services"
        if not self.exists:
            raise SourceError("404 the server could not find the requested resource", status=404)
        if "fieldSelector" in query and not self.fields:
            raise SourceError("400 field label not supported: spec.clusterIP", status=400)

    def _admit(self, path: str, query: Mapping[str, str]) -> tuple[Fault, int]:
        self.requests.append(dict(query))
        fault, after = self.faults.popleft() if self.faults else (Fault.NONE, 0)
        match fault:
            case Fault.UNREACHABLE:
                raise SourceError("nobody is there")
            case Fault.UNAUTHORIZED:
                raise Unauthorized("who are you", status=401)
            case Fault.BUSY:
                raise SourceError("too many requests", status=429, retry_after=7)
            case Fault.ILL:
                raise SourceError("internal error", status=500)
            case Fault.GONE:
                raise Expired("too old", status=410)
        self._know(path, query)
        return fault, after


class FakeLines:
    """A watch's answer: one line a batch, then the end or a fault."""

    def __init__(self, server: FakeServer, lines: list[bytes], fault: Fault) -> None:
        self._server = server
        self._lines = deque(lines)
        self._fault = fault

    async def batch(self, patience: float) -> list[bytes]:
        """Return the next line."""
        self._server.patience.append(patience)
        if self._lines:
            return [self._lines.popleft()]
        if self._fault is Fault.TORN:
            raise SourceError("the connection is torn")
        if self._fault is Fault.STALLED:
            raise Stalled("nothing came")
        return []


def _event(kind: str, item: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"type": kind, "object": item})


def _status(code: int, reason: str) -> bytes:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason}
    return msgspec.json.encode({"type": "ERROR", "object": status})


def _bookmark(version: int, *, ends: bool = False) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": str(version), "creationTimestamp": None}
    if ends:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    return _event("BOOKMARK", {"kind": "Service", "apiVersion": "v1", "metadata": metadata, "spec": {}})

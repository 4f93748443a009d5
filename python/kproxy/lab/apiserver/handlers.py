# SPDX-License-Identifier: Apache-2.0
"""HTTP: from a request to the part that answers it, and back to bytes."""

import asyncio
import gzip
from collections import deque
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web

from kproxy.lab.apiserver.authentication import Authentication
from kproxy.lab.apiserver.faults import Faults
from kproxy.lab.apiserver.listing import list_body
from kproxy.lab.apiserver.options import boolean, read_options
from kproxy.lab.apiserver.reading import JSON, read_object
from kproxy.lab.apiserver.resources import Resource
from kproxy.lab.apiserver.status import (
    ApiError,
    method_not_allowed,
    no_such_path,
    not_acceptable,
    not_found,
    too_large_body,
)
from kproxy.lab.apiserver.store import Store, Stored
from kproxy.lab.apiserver.table import as_table, wants_table
from kproxy.lab.apiserver.target import Target, parse_target
from kproxy.lab.apiserver.watching import Watch
from kproxy.lab.apiserver.writing import Writer

GZIP_FROM: Final = 128 * 1024  # responsewriters/writers.go, defaultGzipThresholdBytes
HEALTH: Final = ("/healthz", "/livez", "/readyz")
BODY_LIMIT: Final = 3 * 1024 * 1024  # --max-resource-write-bytes


class Seen(msgspec.Struct, frozen=True):
    """A request as it came. ``verb`` is the API's word; empty for what is no resource."""

    verb: str
    plural: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]


class Handlers:
    """One server's answers."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        faults: Faults,
        authentication: Authentication,
        *,
        patience: float,
        bookmark_period: float,
    ) -> None:
        self.documents: Mapping[str, Any] = {}
        self.seen: deque[Seen] = deque(maxlen=1000)
        self.store, self.writer, self.faults, self._authentication = store, writer, faults, authentication
        self._patience, self._period = patience, bookmark_period
        self._watches: dict[Watch, web.Request] = {}

    def application(self, extra: Iterable[web.RouteDef] = ()) -> web.Application:
        """Return a fresh application, with routes that go before ours; it can be run once only."""
        application = web.Application(client_max_size=BODY_LIMIT)
        application.router.add_routes(extra)
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    @property
    def watches(self) -> int:
        """Return how many watches are open."""
        return len(self._watches)

    def end_watches(self) -> None:
        """End all watches in good order."""
        for watch in tuple(self._watches):
            watch.finish()

    def cut_watches(self) -> None:
        """Break the connections of all watches."""
        for request in tuple(self._watches.values()):
            if request.transport is not None:
                request.transport.abort()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        target = parse_target(request.path)
        watch = boolean(request.query.get("watch"))
        verb = target.verb(request.method, watch=watch) if target else ""
        plural = target.resource.plural if target else ""
        self.seen.append(
            Seen(
                verb,
                plural,
                request.method,
                request.path,
                dict(request.query),
                {k.lower(): v for k, v in request.headers.items()},
            )
        )
        try:
            await self.faults.before(verb, plural)
            certificate = request.transport.get_extra_info("peercert") if request.transport else None
            if request.path not in HEALTH:
                self._authentication.check(request.headers.get("Authorization"), certificate)
            if target is None:
                return self._document(request)
            _negotiate(request.headers.get("Accept", ""))
            return await self._answer(request, target, verb)
        except web.HTTPRequestEntityTooLarge:
            return _error(too_large_body(BODY_LIMIT))
        except ApiError as error:
            return _error(error)

    def _document(self, request: web.Request) -> web.Response:
        path = request.path.rstrip("/") or "/"
        if path in HEALTH or path.startswith(tuple(f"{health}/" for health in HEALTH)):
            return web.Response(text="ok")
        if path not in self.documents:
            raise no_such_path()
        return json_answer(msgspec.json.encode(self.documents[path]))

    async def _answer(self, request: web.Request, target: Target, verb: str) -> web.StreamResponse:
        match verb:
            case "list":
                return await self._list(request, target)
            case "watch":
                return await self._watch(request, target)
            case "get":
                return self._get(request, target)
            case "create" if not target.name:
                return self._object(
                    target.resource, self.writer.create(target, await _body(request), dry_run=_dry(request)), 201
                )
            case "update" if target.name:
                stored, created = self.writer.replace(target, await _body(request), dry_run=_dry(request))
                return self._object(target.resource, stored, 201 if created else 200)
            case "patch" if target.name:
                kind = request.headers.get("Content-Type", "").partition(";")[0].strip()
                manager = request.query.get("fieldManager", "")
                stored, created = self.writer.patch(
                    target, kind, await request.read(), manager=manager, dry_run=_dry(request)
                )
                return self._object(target.resource, stored, 201 if created else 200)
            case "delete" if target.name:
                options = await _body(request) if request.can_read_body else {}
                wanted = options.get("preconditions")
                preconditions = wanted if isinstance(wanted, dict) else {}
                return self._object(target.resource, self.writer.delete(target, preconditions, dry_run=_dry(request)), 200)
            case "delete":
                return await self._delete_collection(request, target)
        raise method_not_allowed(target.resource, verb)

    def _get(self, request: web.Request, target: Target) -> web.Response:
        stored = self.store.get(target.resource, target.namespace, target.name)
        if stored is None:
            raise not_found(target.resource, target.name)
        if _tabular(request):
            return json_answer(as_table(target.resource, target.resource.head + stored.body))
        return self._object(target.resource, stored, 200)

    @staticmethod
    def _object(resource: Resource, value: Stored | Mapping[str, Any], code: int) -> web.Response:
        body = resource.head + value.body if isinstance(value, Stored) else msgspec.json.encode(value)
        return json_answer(body + b"\n", code)

    async def _list(self, request: web.Request, target: Target) -> web.StreamResponse:
        options = read_options(request.query, target.resource, streaming=self.faults.streaming_lists)
        body = await list_body(self.store, target.resource, target.namespace, options, self._patience)
        if _tabular(request):
            body = as_table(target.resource, body)
        if self.faults.take("garble"):
            body = body[: len(body) // 2] + b"\x00garbled\x00"
        if self.faults.take("tear_list"):
            return await _torn(request, body)
        if len(body) > GZIP_FROM and "gzip" in request.headers.get("Accept-Encoding", ""):
            packed = await asyncio.to_thread(gzip.compress, body, 1)
            return json_answer(packed, headers={"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})
        return json_answer(body)

    async def _delete_collection(self, request: web.Request, target: Target) -> web.Response:
        options = read_options(request.query, target.resource)
        collection = self.store.of(target.resource)
        prefix = target.resource.key(target.namespace, "") if target.namespace else ""
        chosen = [
            item
            for item in collection.objects.values()
            if item.key.startswith(prefix) and options.selector.matches(item.labels, item.fields)
        ]
        gone = [self.writer.remove(target.resource, item.key) for item in chosen]
        items = [item.value for item in gone if item is not None]
        head = {"kind": f"{target.resource.kind}List", "apiVersion": target.resource.api_version}
        return json_answer(
            msgspec.json.encode({**head, "metadata": {"resourceVersion": str(self.store.version)}, "items": items})
        )

    async def _watch(self, request: web.Request, target: Target) -> web.StreamResponse:
        options = read_options(request.query, target.resource, streaming=self.faults.streaming_lists)
        render = partial(as_table, target.resource) if _tabular(request) else None
        watch = Watch(
            self.store, target.resource, target.namespace, options, self.faults, bookmark_period=self._period, render=render
        )
        response = web.StreamResponse(headers={"Content-Type": JSON, "Cache-Control": "no-cache, private"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        self._watches[watch] = request
        try:
            async for chunk in watch.stream(self._patience):
                await self.faults.flow()
                if self.faults.take("tear"):
                    await response.write(_half(chunk))
                    if request.transport is not None:
                        request.transport.close()
                    break
                if self.faults.take("half_line"):
                    await response.write(_half(chunk))
                    break
                await response.write(chunk)
            else:
                await self.faults.flow()
        except ConnectionResetError:
            pass  # the client has gone
        finally:
            del self._watches[watch]
        return response


def json_answer(body: bytes, code: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with JSON that is already encoded."""
    return web.Response(
        body=body, status=code, headers={"Content-Type": JSON, "Cache-Control": "no-cache, private", **(headers or {})}
    )


def _error(error: ApiError) -> web.Response:
    return json_answer(msgspec.json.encode(error.status), error.code, error.headers)


async def _torn(request: web.Request, body: bytes) -> web.StreamResponse:
    """Announce a whole body, send half of it and hang up."""
    response = web.StreamResponse(headers={"Content-Type": JSON, "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


def _half(chunk: bytes) -> bytes:
    """Return half of the chunk's first line."""
    return chunk[: max(1, chunk.find(b"\n") // 2)]


def _tabular(request: web.Request) -> bool:
    return wants_table(request.headers.get("Accept", ""))


def _dry(request: web.Request) -> bool:
    return request.query.get("dryRun") == "All"


def _negotiate(accept: str) -> None:
    """Refuse a client that does not take JSON (negotiation/negotiate.go). Raises ApiError 406."""
    ranges = [item.partition(";")[0].strip() for item in accept.split(",") if item.strip()]
    if ranges and not any(item in (JSON, "application/*", "*/*", "*") for item in ranges):
        raise not_acceptable((JSON,))


async def _body(request: web.Request) -> dict[str, Any]:
    return read_object(await request.read(), request.content_type if "Content-Type" in request.headers else JSON)

# SPDX-License-Identifier: Apache-2.0
"""An HTTP/1.1 responder for health checks and metrics: GET and HEAD, keep-alive, no body read, no framework.

Health-check node ports may be hundreds of listeners, each asked every second by several load balancers; a framework would
cost more memory than the rest of the process. Answers are written in one piece, so no delayed ACK ever holds one up.
"""

import asyncio
import contextlib
import http
import logging
import os
import socket
import struct
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import msgspec

log: Final = logging.getLogger(__name__)

HEAD_LIMIT: Final = 16 * 1024  # bytes of request line and headers
IDLE: Final = 75.0  # seconds a kept-alive connection may be silent
PATIENCE: Final = 10.0  # seconds from the first byte of a request to its last, and for an answer to be taken
BACKLOG: Final = 128
CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: process, user, group

LOCAL_SOCKET: Final = "kproxy"  # the abstract name a daemon answers its own commands by, once a network namespace
TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"


class Request(msgspec.Struct, frozen=True):
    """What was asked. ``query`` keeps the last value of each name; header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}


class Response(msgspec.Struct, frozen=True):
    """What is answered."""

    body: bytes = b""
    status: int = 200
    content_type: str = TEXT
    headers: Mapping[str, str] = {}


Handler: TypeAlias = Callable[[Request], Response | Awaitable[Response]]
NOT_FOUND: Final = Response(b"404 page not found\n", 404)


def router(routes: Mapping[str, Handler]) -> Handler:
    """Answer by exact path; 404 for any other. A path that ends in ``/`` takes all below it."""

    def answer(request: Request) -> Response | Awaitable[Response]:
        handler = routes.get(request.path)
        if handler is None:
            handler = next((routes[path] for path in routes if path.endswith("/") and request.path.startswith(path)), None)
        return handler(request) if handler else NOT_FOUND

    return answer


def parse(head: bytes) -> Request:
    """Read a request's line and headers. Raises ValueError for what is not HTTP/1."""
    line, *rest = head.decode("latin-1").split("\r\n")
    method, target, version = line.split(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(f"{version!r} is not spoken here")
    split = urllib.parse.urlsplit(target)
    headers = {"connection": "close"} if version == "HTTP/1.0" else {}
    for item in filter(None, rest):
        name, colon, value = item.partition(":")
        if not colon:
            raise ValueError(f"{item!r} is no header")
        headers[name.strip().lower()] = value.strip()
    query = dict(urllib.parse.parse_qsl(split.query, keep_blank_values=True))
    return Request(method, urllib.parse.unquote(split.path), query, headers)


def render(response: Response, *, close: bool, body: bool = True) -> bytes:
    """Write an answer in one piece. ``body`` is false for HEAD."""
    phrase = http.HTTPStatus(response.status).phrase
    lines = [
        f"HTTP/1.1 {response.status} {phrase}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        "X-Content-Type-Options: nosniff",
        *(f"{name}: {value}" for name, value in response.headers.items()),
    ]
    if close:
        lines.append("Connection: close")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return head + response.body if body else head


class Server:
    """Answers on one bound socket."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def listen(self, address: str, port: int) -> None:
        """Bind and serve. ``address`` is an IP; ``::`` serves IPv6 only. Raises OSError naming the address."""
        bound = bind(address, port)
        self._server = await asyncio.start_server(self._serve, sock=bound, limit=HEAD_LIMIT, backlog=BACKLOG)

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None  # noqa: S101 - asked for after listen only
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def listen_locally(self, name: str) -> None:
        """Serve on an abstract socket of this network namespace, to root and to our own user only. Raises OSError.

        No file is left behind, and several nodes on one machine (namespaces) do not meet.
        """
        self._server = await asyncio.start_unix_server(self._serve_trusted, path=f"\0{name}", limit=HEAD_LIMIT)

    async def close(self) -> None:
        """Stop; connections that wait for a next request end at once."""
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._open):
                writer.close()
            self._server = None

    async def _serve_trusted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer: socket.socket = writer.get_extra_info("socket")
        _, user, _ = CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
        if user in (0, os.geteuid()):
            await self._serve(reader, writer)
        else:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client's affair: gone, silent, or not speaking HTTP
        finally:
            self._open.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request. Return whether the connection stays."""
        async with asyncio.timeout(IDLE):
            first = await reader.readexactly(1)
        async with asyncio.timeout(PATIENCE):
            head = first + await reader.readuntil(b"\r\n\r\n")
        try:
            request = parse(head[:-4])
        except ValueError as error:
            request, response = Request("GET", ""), Response(f"{error}\n".encode(), 400)
            close = True
        else:
            has_body = "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"
            close = has_body or request.headers.get("connection", "").lower() == "close"
            response = await self._answer(request)
        writer.write(render(response, close=close, body=request.method != "HEAD"))
        async with asyncio.timeout(PATIENCE):
            await writer.drain()
        return not close

    async def _answer(self, request: Request) -> Response:
        try:
            answer = self._handler(request)
            return answer if isinstance(answer, Response) else await answer
        except Exception as error:  # a fault in one page must not take the connection or the others
            log.exception("the answer to %s failed", request.path)
            return Response(f"internal fault: {error!r}\n".encode(), 500)


def bind(address: str, port: int) -> socket.socket:
    """Open a listening socket's address. IPv6 sockets serve IPv6 alone, so both wildcards fit beside each other."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((address, port))
    except OSError:
        bound.close()
        raise
    return bound

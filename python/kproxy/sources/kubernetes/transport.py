# SPDX-License-Identifier: Apache-2.0
"""HTTP to one API server: a pool of connections that looks after credentials, TLS, proxies and silence.

A 401 is answered by getting new credentials and asking once more; every other trouble is raised as a SourceError for the
caller to wait out. Answers are asked for uncompressed: gzip would cost both ends more than the network in between.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from yarl import URL

from kproxy import __version__
from kproxy.sources.kubernetes.access import Access
from kproxy.sources.kubernetes.credentials import credentials_of
from kproxy.sources.kubernetes.observer import Nobody, Observer
from kproxy.sources.kubernetes.proxies import proxy_of
from kproxy.sources.kubernetes.reach import reach
from kproxy.sources.kubernetes.tls import Tls
from kproxy.sources.kubernetes.troubles import refusal, sentences
from kproxy.table.clock import Clock, SystemClock
from kproxy.table.errors import SourceError

CONNECT: Final = 10.0  # seconds until a connection is made
ANSWER: Final = 30.0  # seconds until an answer begins, and between two of its bytes where it has an end
MERGE_PATCH: Final = "application/merge-patch+json"
BUFFER: Final = 1 << 18  # bytes read ahead of a watch
REFUSAL: Final = 1 << 16  # bytes of a refusal that are read


class Transport:
    """Requests to one API server. Implements ``connection.Connection``. One event loop only."""

    def __init__(
        self,
        access: Access,
        *,
        clock: Clock | None = None,
        observer: Observer | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.server = access.cluster.server
        self._origin = access.origin
        self._clock = clock or SystemClock()
        self._observer = observer or Nobody()
        self._credentials = credentials_of(access, clock=self._clock)
        self._tls = Tls(access)
        self._server_name = access.cluster.tls_server_name or None
        self._proxy = proxy_of(self.server, access.cluster.proxy_url, environment) or None
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": f"kproxy/{__version__}"}
        user = access.user
        self._headers |= {"Impersonate-User": user.act_as} if user.act_as else {}
        self._headers |= {"Impersonate-Uid": user.act_as_uid} if user.act_as_uid else {}
        self._groups = user.act_as_groups
        self._session: aiohttp.ClientSession | None = None

    async def read(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """Return the whole body of a GET. Raises SourceError."""
        return await self._whole("GET", path, query=query)

    async def post(self, path: str, body: bytes) -> bytes:
        """Create an object from JSON; return the server's copy. Raises SourceError."""
        return await self._whole("POST", path, body=body)

    async def patch(self, path: str, body: bytes, content_type: str = MERGE_PATCH) -> bytes:
        """Patch an object; return the server's copy. Raises SourceError."""
        return await self._whole("PATCH", path, body=body, content_type=content_type)

    @asynccontextmanager
    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator["LineReader"]:
        """Open a GET whose answer comes line by line. Raises SourceError."""
        async with self._answer("GET", path, query=query) as response:
            yield LineReader(response.content, self.server, self._origin)

    async def close(self) -> None:
        """Close all connections."""
        if self._session:
            await self._session.close()
            self._session = None

    async def _whole(self, method: str, path: str, **request: Any) -> bytes:  # noqa: ANN401 - passed on
        async with self._answer(method, path, **request) as response:
            with sentences(self.server, self._origin):
                blocks: list[bytes] = []
                while True:
                    async with asyncio.timeout(ANSWER):
                        block = await response.content.readany()
                    if not block:
                        return b"".join(blocks)
                    blocks.append(block)

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask, with one more try after a 401, and yield the answer's head if it is a success."""
        headers = {"Content-Type": content_type} if body is not None else {}
        url = URL(self.server + path, encoded=True).with_query(query or {})
        response = await self._ask(method, url, headers, body)
        try:
            if response.status == 401:
                response.close()
                self._credentials.refused()
                response = await self._ask(method, url, headers, body)
            if not 200 <= response.status < 300:
                with sentences(self.server, self._origin):
                    async with asyncio.timeout(ANSWER):
                        words = await response.content.read(REFUSAL)
                raise refusal(method, path, response.status, response.headers, words)
            yield response
        finally:
            response.close()  # a watch that we end must not wait for the server

    async def _ask(self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None) -> aiohttp.ClientResponse:
        authorization = await self._credentials.authorization()
        every = [*self._headers.items(), *headers.items(), *(("Impersonate-Group", group) for group in self._groups)]
        if authorization:
            every.append(("Authorization", authorization))
        began = self._clock.monotonic()
        code = "<error>"
        try:
            with sentences(self.server, self._origin):
                async with asyncio.timeout(ANSWER):
                    response = await self._pool().request(
                        method,
                        url,
                        headers=every,
                        data=body,
                        allow_redirects=False,
                        proxy=self._proxy,
                        ssl=self._tls.context(self._credentials.certificate()) if url.scheme == "https" else True,
                        server_hostname=self._server_name,
                    )
            code = str(response.status)
        finally:
            self._observer.requested(method, code, self._clock.monotonic() - began)
        return response

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, socket_factory=_watchful_socket),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT),
                read_bufsize=BUFFER,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


class LineReader:
    """Splits an endless answer into lines. Implements ``connection.Lines``."""

    def __init__(self, content: aiohttp.StreamReader, server: str, origin: str) -> None:
        self._content = content
        self._server = server
        self._origin = origin
        self._pieces: list[bytes] = []  # of a line that has not ended yet

    async def batch(self, patience: float) -> list[bytes]:
        """Return the next whole lines; none: the server has ended the answer."""
        while True:
            with sentences(self._server, self._origin):
                async with asyncio.timeout(patience):
                    chunk = await self._content.readany()
            if not chunk:
                if self._pieces:
                    raise SourceError(f"{self._server} ended its answer in the middle of a line")
                return []
            head, newline, tail = chunk.rpartition(b"\n")
            if not newline:
                self._pieces.append(chunk)
                continue
            whole = b"".join((*self._pieces, head))
            self._pieces = [tail] if tail else []
            if lines := [line for line in whole.split(b"\n") if line]:
                return lines


def connect(
    kubeconfig: str = "",
    master: str = "",
    *,
    clock: Clock | None = None,
    observer: Observer | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Transport:
    """Find the API server and the way in. Nothing is sent yet. Raises ConfigError with the mend."""
    access = reach(kubeconfig, master, environment)
    return Transport(access, clock=clock, observer=observer, environment=environment)


def _watchful_socket(info: tuple[Any, Any, int, str, Any]) -> socket.socket:
    """Make a socket that notices within a minute that the other machine is gone, even while nothing is to be sent."""
    family, kind, protocol, _, _ = info
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)  # milliseconds
    return made

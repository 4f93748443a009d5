# SPDX-License-Identifier: Apache-2.0
"""HTTP from a host of the lab: to the API server, to a daemon's health and metrics."""

from types import TracebackType
from typing import Any, Self

import aiohttp

from kproxy.lab.host import Host
from kproxy.table.errors import SourceError


class Client:
    """An HTTP client whose sockets live inside a host."""

    def __init__(self, host: Host, base: str) -> None:
        connector = aiohttp.TCPConnector(
            socket_factory=lambda info: host.socket(info[0], info[1]), resolver=aiohttp.ThreadedResolver()
        )
        self._session = aiohttp.ClientSession(base, connector=connector, timeout=aiohttp.ClientTimeout(total=10))

    async def __aenter__(self) -> Self:
        """Use it for a while."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def text(self, path: str) -> tuple[int, str]:
        """GET a path: status and body."""
        async with self._session.get(path) as answer:
            return answer.status, await answer.text()

    async def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """GET a JSON document. Raises SourceError for any status but 200."""
        return await self._json("GET", path, None, "application/json")

    async def create(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        """POST an object."""
        return await self._json("POST", path, body, "application/json")

    async def replace(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        """PUT an object."""
        return await self._json("PUT", path, body, "application/json")

    async def patch(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        """PATCH an object by JSON merge patch."""
        return await self._json("PATCH", path, body, "application/merge-patch+json")

    async def delete(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """DELETE an object."""
        return await self._json("DELETE", path, None, "application/json")

    async def _json(self, method: str, path: str, body: object, kind: str) -> Any:  # noqa: ANN401 - JSON
        payload = None if body is None else aiohttp.JsonPayload(body, content_type=kind)
        async with self._session.request(method, path, data=payload) as answer:
            if answer.status >= 300:
                raise SourceError(f"{method} {path}: {answer.status} {(await answer.text())[:300]}")
            return await answer.json(content_type=None)

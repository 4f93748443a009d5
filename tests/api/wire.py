# SPDX-License-Identifier: Apache-2.0
"""The wire as tests see it: objects to send, answers and watch lines to read."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

SERVICES = "/api/v1/services"
SHOP_SERVICES = "/api/v1/namespaces/default/services"
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
NODES = "/api/v1/nodes"
INITIAL_EVENTS_END = "k8s.io/initial-events-end"
STREAMING = {
    "watch": "1",
    "sendInitialEvents": "true",
    "resourceVersionMatch": "NotOlderThan",
    "allowWatchBookmarks": "true",
}
JsonObject = dict[str, Any]


def service(name: str, namespace: str = "default", *, labels: dict[str, str] | None = None, **spec: Any) -> JsonObject:
    """Return a Service with one port."""
    metadata = {"name": name, "namespace": namespace, **({"labels": labels} if labels else {})}
    return {"kind": "Service", "apiVersion": "v1", "metadata": metadata, "spec": {"ports": [{"port": 80}], **spec}}


def endpoint_slice(name: str, *addresses: str, namespace: str = "default", of: str = "web") -> JsonObject:
    """Return a slice of ready endpoints."""
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": of}},
        "addressType": "IPv4",
        "ports": [{"port": 8080}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
    }


def node(name: str, **labels: str) -> JsonObject:
    """Return a Node."""
    return {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name, "labels": labels}, "spec": {}, "status": {}}


async def get(http: aiohttp.ClientSession, path: str, **query: str) -> tuple[int, JsonObject]:
    """GET and return status and body."""
    async with http.get(path, params={name: value for name, value in query.items() if value is not None}) as answer:
        return answer.status, await answer.json()


def names(body: JsonObject) -> list[str]:
    """Return the names in a list."""
    return [item["metadata"]["name"] for item in body["items"]]


class WatchLines:
    """A watch being read line by line."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def next(self, seconds: float = 5.0) -> JsonObject:
        """Return the next event, bookmarks included. Raises EOFError at the end of the stream."""
        line = await asyncio.wait_for(self.answer.content.readline(), seconds)
        if not line:
            raise EOFError
        event: JsonObject = json.loads(line)
        return event

    async def change(self) -> tuple[str, str]:
        """Return the next event that is no bookmark as its type and the object's name."""
        while True:
            event = await self.next()
            if event["type"] != "BOOKMARK":
                return event["type"], event["object"]["metadata"]["name"]

    async def until_end(self) -> list[JsonObject]:
        """Return all that comes until the stream ends."""
        return [json.loads(line) async for line in self.answer.content]


@asynccontextmanager
async def watching(http: aiohttp.ClientSession, path: str, **query: str) -> AsyncIterator[WatchLines]:
    """Watch a path; ``watch=1`` is added."""
    async with http.get(path, params={"watch": "1", **query}) as answer:
        assert answer.status == 200, await answer.text()
        yield WatchLines(answer)

# SPDX-License-Identifier: Apache-2.0
"""A list is taken in pieces and not kept: neither its JSON nor its objects are ever in memory as a whole."""

# ruff: noqa: ARG002 - the protocol has parameters that this server does not look at

import gc
import tracemalloc
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from kproxy.objects.events import Event
from kproxy.sources.kubernetes.inventory import Inventory
from kproxy.sources.kubernetes.reflector import Reflector, Timing
from kproxy.sources.watches import ENDPOINT_SLICES
from kproxy.table.clock import FakeClock
from kproxy.table.errors import SourceError

SLICES, PAGE = 200, 20


def sliced(number: int) -> dict[str, Any]:
    """Return a slice of 100 endpoints, some 30 kB as JSON."""
    endpoints = [
        {
            "addresses": [f"10.{number}.{index}.1"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": f"node-{number}-{index}",
            "zone": "zone-a",
            "targetRef": {"kind": "Pod", "namespace": "shop", "name": f"web-{number}-{index}", "uid": "0" * 36},
        }
        for index in range(100)
    ]
    metadata = {"name": f"web-{number}", "namespace": "shop", "resourceVersion": str(number + 1)}
    return {"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 8080}]}


SIZE = len(msgspec.json.encode(sliced(1)))


class Generator:
    """A connection that makes its answers up as they are asked for."""

    def __init__(self, *, streaming: bool) -> None:
        self.streaming = streaming
        self.line = 0

    async def read(self, path: str, query: Mapping[str, str]) -> bytes:
        """Answer a page."""
        start = int(query.get("continue", "0"))
        rest = str(start + PAGE) if start + PAGE < SLICES else ""
        items = b",".join(msgspec.json.encode(sliced(number)) for number in range(start, start + PAGE))
        return b'{"metadata":{"resourceVersion":"9","continue":"%b"},"items":[%b]}' % (rest.encode(), items)

    @asynccontextmanager
    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator["Generator"]:
        """Answer a streaming list."""
        if not self.streaming:
            raise SourceError("no streaming lists", status=422)
        yield self

    async def batch(self, patience: float) -> list[bytes]:
        """Return one event, the bookmark after the last, and then the end."""
        self.line += 1
        if self.line <= SLICES:
            return [b'{"type":"ADDED","object":%b}' % msgspec.json.encode(sliced(self.line - 1))]
        if self.line > SLICES + 1:
            return []
        metadata = b'{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}'
        return [b'{"type":"BOOKMARK","object":{"metadata":%b}}' % metadata]


@pytest.mark.parametrize(("streaming", "pieces"), [(True, 12), (False, 3 * PAGE)])
async def test_a_list_never_is_in_memory_as_a_whole(streaming: bool, pieces: int) -> None:
    """Of 200 slices at most a few, or three pages' worth, are held at any moment, and nothing but names in the end."""
    told = 0

    def emit(_: Event) -> None:
        nonlocal told
        told += 1

    inventory = Inventory(ENDPOINT_SLICES, emit)
    reflector = Reflector(ENDPOINT_SLICES, Generator(streaming=streaming), clock=FakeClock(), timing=Timing(page=PAGE))
    gc.collect()
    tracemalloc.start()
    try:
        await reflector.turn(inventory)
        gc.collect()
        rest, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert told == SLICES + 1
    assert peak < pieces * SIZE < SLICES * SIZE / 2
    assert rest < 3 * SIZE

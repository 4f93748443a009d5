# SPDX-License-Identifier: Apache-2.0
"""Lines out of chunks, sentences out of refusals, and what is not loaded without need."""

import asyncio
import itertools
import subprocess
import sys
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.sources.kubernetes.transport import LineReader
from kproxy.sources.kubernetes.troubles import refusal
from kproxy.table.errors import Expired, SourceError, Stalled, Unauthorized


class Chunks:
    """An answer's content that comes in given chunks; then it ends, or nothing more comes."""

    def __init__(self, chunks: list[bytes], *, ends: bool = True) -> None:
        self._chunks = deque(chunks)
        self._ends = ends

    async def readany(self) -> bytes:
        """Return the next chunk."""
        if not self._chunks and not self._ends:
            await asyncio.Event().wait()
        return self._chunks.popleft() if self._chunks else b""


def reader(chunks: list[bytes], *, ends: bool = True) -> LineReader:
    """Return a reader of such an answer."""
    content: Any = Chunks(chunks, ends=ends)
    return LineReader(content, "https://api", "test")


LINES = st.lists(st.binary(min_size=1, max_size=30).map(lambda line: line.replace(b"\n", b"_")), max_size=20)


@given(LINES, st.lists(st.integers(0, 600), max_size=20))
def test_lines_are_the_same_however_they_are_cut(lines: list[bytes], cuts: list[int]) -> None:
    """Chunks end anywhere: within a line, at its end, or after many."""
    whole = b"".join(line + b"\n" for line in lines)
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    chunks = [whole[start:end] for start, end in itertools.pairwise(places)]

    async def read() -> list[bytes]:
        source, found = reader(chunks), []
        while batch := await source.batch(1):
            found += batch
        return found

    assert asyncio.run(read()) == lines


async def test_an_answer_that_ends_in_the_middle_of_a_line_is_no_good_end() -> None:
    """What was cut off must be asked for again."""
    source = reader([b"one\ntw", b"o"])
    assert await source.batch(1) == [b"one"]
    with pytest.raises(SourceError, match="in the middle of a line"):
        await source.batch(1)


async def test_empty_lines_neither_count_nor_end_anything() -> None:
    """Some proxies send them to keep a connection alive."""
    source = reader([b"\n", b"\n\none\n\n", b"two\n"])
    assert await source.batch(1) == [b"one"]
    assert await source.batch(1) == [b"two"]
    assert await source.batch(1) == []


async def test_silence_is_a_stall() -> None:
    """Patience is counted from the last byte."""
    source = reader([b"one\n"], ends=False)
    await source.batch(0.01)
    with pytest.raises(Stalled, match="has said nothing for too long"):
        await source.batch(0.01)


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "words", "wait"),
    [
        (401, b'{"message":"Unauthorized"}', {}, Unauthorized, "401 Unauthorized: the API server does not know us", 0),
        (403, b'{"message":"no"}', {}, Unauthorized, "403 no: grant it, as ClusterRole system:node-proxier does", 0),
        (410, b'{"message":"old","reason":"Expired"}', {}, Expired, "410 old", 0),
        (429, b'{"message":"slow","details":{"retryAfterSeconds":3}}', {"Retry-After": "2"}, SourceError, "429 slow", 3),
        (503, b"<html>\nbusy", {"Retry-After": "9"}, SourceError, "503 <html>", 9),
        (500, b"", {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, SourceError, "500", 0),
        (302, b"", {"Location": "/login"}, SourceError, "sends us to /login", 0),
        (422, b'{"code":"x"}', {}, SourceError, "422", 0),
    ],
)
def test_a_refusal_is_one_sentence(
    status: int, body: bytes, headers: dict[str, str], kind: type[SourceError], words: str, wait: float
) -> None:
    """With the request, the status, the server's words and, where there is one, the mend."""
    error = refusal("GET", "/api/v1/services", status, headers, body)
    assert type(error) is kind
    assert str(error).startswith(f"GET /api/v1/services: {status}")
    assert words in str(error)
    assert "\n" not in str(error)
    assert (error.status, error.retry_after) == (status, wait)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("kproxy.sources.kubernetes.transport", ("kubernetes", "pyroute2")),
        ("kproxy.sources.directory", ("aiohttp", "kubernetes", "pyroute2")),
        ("kproxy.sources.host", ("aiohttp", "kubernetes", "pyroute2", "yaml")),
    ],
)
def test_nothing_is_loaded_that_only_others_need(module: str, absent: tuple[str, ...]) -> None:
    """The official client costs 43 MB and pyroute2 a fifth of a second."""
    code = f"import sys, {module}; print(*(name for name in {absent!r} if name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""

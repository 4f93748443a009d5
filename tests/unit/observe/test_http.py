# SPDX-License-Identifier: Apache-2.0
"""The responder speaks enough HTTP for health checks and scrapes, and no client can hold it up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.observe import http
from kproxy.observe.http import Handler, Request, Response, Server, parse, render, router


@contextlib.asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[Server]:
    """Serve on a free port of the loopback address."""
    server = Server(handler)
    await server.listen("127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.close()


async def talk(server: Server, words: bytes) -> bytes:
    """Send bytes and return all that is answered until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(words)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return answer


def _echo(request: Request) -> Response:
    return Response(f"{request.method} {request.path} {dict(request.query)}".encode())


async def test_a_connection_is_kept_for_more_requests() -> None:
    """Two requests in one piece get two answers in order."""
    async with served(_echo) as server:
        answer = await talk(server, b"GET /a?x=1&y= HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert b"GET /a {'x': '1', 'y': ''}" in answer
    assert answer.endswith(b"GET /b {}")
    assert b"X-Content-Type-Options: nosniff" in answer


async def test_an_old_client_gets_its_answer_and_the_end() -> None:
    """HTTP/1.0 has no keep-alive."""
    async with served(_echo) as server:
        assert (await talk(server, b"GET / HTTP/1.0\r\n\r\n")).endswith(b"GET / {}")


async def test_head_gets_no_body() -> None:
    """But the length of it."""
    async with served(lambda _: Response(b"12345")) as server:
        answer = await talk(server, b"HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert b"Content-Length: 5" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_a_body_is_answered_and_not_read() -> None:
    """The connection ends, so the body is never taken for a request."""
    async with served(_echo) as server:
        answer = await talk(server, b"POST /x HTTP/1.1\r\nContent-Length: 30\r\n\r\nGET /y HTTP/1.1\r\n\r\n")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("words", [b"nonsense\r\n\r\n", b"GET / HTTP/2\r\n\r\n", b"GET / HTTP/1.1\r\nbad\r\n\r\n"])
async def test_what_is_not_http_is_refused(words: bytes) -> None:
    """With 400, and the connection ends."""
    async with served(_echo) as server:
        assert (await talk(server, words)).startswith(b"HTTP/1.1 400 ")


async def test_an_endless_head_is_cut_off() -> None:
    """No client can make the process hold more than the limit."""
    async with served(_echo) as server:
        assert await talk(server, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000) == b""


async def test_a_silent_client_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both before a request and in the middle of one."""
    monkeypatch.setattr(http, "IDLE", 0.05)
    monkeypatch.setattr(http, "PATIENCE", 0.05)
    async with served(_echo) as server:
        assert await talk(server, b"") == b""
        assert await talk(server, b"GET / HT") == b""


async def test_a_faulty_page_is_a_500_and_no_more() -> None:
    """The next request on the same connection is answered."""

    def fall(request: Request) -> Response:
        if request.path == "/bad":
            raise ZeroDivisionError("a bug")
        return Response(b"fine")

    async with served(fall) as server:
        answer = await talk(server, b"GET /bad HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500")
    assert answer.endswith(b"fine")


async def test_closing_ends_idle_connections() -> None:
    """A kept-alive load balancer does not hold up the end."""
    server = Server(_echo)
    await server.listen("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"{}")
    await server.close()
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_both_wildcards_fit_beside_each_other() -> None:
    """IPv6 sockets do not take IPv4 as well."""
    four, six = Server(_echo), Server(_echo)
    await four.listen("0.0.0.0", 0)
    try:
        await six.listen("::", four.port)
    finally:
        await four.close()
        await six.close()


async def test_the_local_socket_answers_root_and_ourselves() -> None:
    """It leaves no file behind, and a second server of the name is refused."""
    server, second = Server(_echo), Server(_echo)
    await server.listen_locally("kproxy-test-local")
    try:
        with pytest.raises(OSError, match="in use"):
            await second.listen_locally("kproxy-test-local")
        reader, writer = await asyncio.open_unix_connection("\0kproxy-test-local")
        writer.write(b"GET /s HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"GET /s {}")
        writer.close()
    finally:
        await server.close()


def test_paths_are_exact_unless_they_end_in_a_slash() -> None:
    """What nobody serves is 404."""
    answer = router({"/a": lambda _: Response(b"a"), "/d/": lambda _: Response(b"d")})
    found = {path: answer(Request("GET", path)) for path in ("/a", "/a/", "/d/x", "/")}
    assert {path: one.status for path, one in found.items() if isinstance(one, Response)} == {
        "/a": 200,
        "/a/": 404,
        "/d/x": 200,
        "/": 404,
    }


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(head: bytes) -> None:
    """Whatever a client sends is a request or a ValueError."""
    try:
        request = parse(head)
    except ValueError:
        return
    assert request.method == head.split(b" ")[0].decode("latin-1")


def test_headers_of_an_answer_come_along() -> None:
    """In front of the body, in one piece."""
    text = render(Response(b"x", 503, headers={"X-Weight": "3"}), close=True)
    assert text.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"X-Weight: 3\r\n" in text
    assert b"Connection: close\r\n" in text

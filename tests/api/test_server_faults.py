# SPDX-License-Identifier: Apache-2.0
"""Misbehaviour on request."""

import asyncio
import json
import time

import aiohttp
import pytest

from kproxy.lab.apiserver import ApiServer
from tests.api.wire import SERVICES, SLICES, STREAMING, get, service, watching


@pytest.mark.parametrize(
    ("code", "reason"),
    [(429, "TooManyRequests"), (500, "InternalError"), (503, "ServiceUnavailable"), (401, "Unauthorized"), (410, "Expired")],
)
async def test_the_next_requests_fail(server: ApiServer, http: aiohttp.ClientSession, code: int, reason: str) -> None:
    """So many of them, with a Status; then all is well."""
    server.faults.fail(code, times=2)

    answers = [await get(http, SERVICES) for _ in range(3)]

    assert [status for status, _ in answers] == [code, code, 200]
    assert (answers[0][1]["reason"], answers[0][1]["code"]) == (reason, code)


async def test_failures_can_be_aimed(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """At a verb, at a kind; Retry-After is told in the header and in the details (apimachinery, NewTooManyRequests)."""
    server.faults.fail(429, retry_after=7, verbs=("watch",), plural="endpointslices")

    assert (await get(http, SLICES))[0] == 200
    async with watching(http, SERVICES):
        pass
    async with http.get(SLICES, params={"watch": "1"}) as answer:
        body = await answer.json()
    assert (answer.status, answer.headers["Retry-After"], body["details"]["retryAfterSeconds"]) == (429, "7", 7)


async def test_an_event_can_be_torn(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Half an event arrives, then the connection is gone without the stream's end."""
    server.faults.tear = 1

    async with watching(http, SERVICES, resourceVersion=str(server.store.version)) as watch:
        server.put(service("web"))
        with pytest.raises(aiohttp.ClientPayloadError):
            await watch.answer.content.read()
    async with watching(http, SERVICES) as watch:
        assert await watch.change() == ("ADDED", "web"), "the next one is whole"


async def test_a_stream_can_end_in_half_a_line(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Half a line, and yet a proper end of the stream."""
    server.faults.half_line = 1

    async with watching(http, SERVICES, resourceVersion=str(server.store.version)) as watch:
        server.put(service("web"))
        rest = await watch.answer.content.read()

    assert rest.startswith(b'{"type":"ADDED"')
    with pytest.raises(json.JSONDecodeError):
        json.loads(rest)


async def test_watches_can_stall(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """No byte comes, bookmarks included, and nothing is lost when it ends."""
    query = {"allowWatchBookmarks": "true", "resourceVersion": str(server.store.version)}
    async with watching(http, SERVICES, **query) as watch:
        await watch.next()
        server.faults.stalled = True
        server.put(service("web"))
        with pytest.raises(TimeoutError):
            await watch.next(seconds=0.6)
        server.faults.stalled = False
        assert await watch.change() == ("ADDED", "web")


async def test_answers_can_be_slow(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Every answer waits."""
    server.faults.delay = 0.3
    began = time.monotonic()

    assert (await get(http, SERVICES))[0] == 200
    assert time.monotonic() - began >= 0.3


async def test_bookmarks_can_be_lacking(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """An old server sends none, not even after a streaming list."""
    server.faults.bookmarks = False
    server.put(service("web"))

    async with watching(http, SERVICES, **STREAMING, timeoutSeconds="1") as watch:
        assert [event["type"] for event in await watch.until_end()] == ["ADDED"]


async def test_a_list_can_be_garbled(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """The next list is not JSON; the one after is."""
    server.put(service("web"))
    server.faults.garble = 1

    async with http.get(SERVICES) as answer:
        raw = await answer.read()

    with pytest.raises(json.JSONDecodeError):
        json.loads(raw)
    assert (await get(http, SERVICES))[1]["items"]


async def test_a_list_can_be_torn(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Half of what Content-Length announces comes, then nobody is there."""
    server.put(service("web"))
    server.faults.tear_list = 1

    async with http.get(SERVICES) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert (await get(http, SERVICES))[1]["items"]


async def test_malformed_objects_can_be_stored(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """What a real server would refuse can stand in a list and in a watch as it is."""
    broken = service("broken", ports="eighty")
    server.put(broken, raw=True)

    assert (await get(http, SERVICES))[1]["items"][0]["spec"] == {"ports": "eighty"}
    async with watching(http, SERVICES) as watch:
        assert (await watch.next())["object"]["spec"] == {"ports": "eighty"}
    broken["metadata"]["labels"] = 7
    server.put(broken, raw=True)
    assert (await get(http, SERVICES, labelSelector="!a"))[1]["items"][0]["metadata"]["labels"] == 7
    uid = (server.get("Service", "broken") or {})["metadata"]["uid"]
    assert server.put(service("broken"))["metadata"]["uid"] == uid


async def test_watches_can_be_ended_and_cut(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Ended: in good order. Cut: the connection breaks."""
    async with watching(http, SERVICES, resourceVersion="4") as watch:
        server.end_watches()
        assert await watch.until_end() == []
    async with watching(http, SERVICES, resourceVersion="4") as watch:
        server.cut_watches()
        with pytest.raises(aiohttp.ClientError):
            await watch.until_end()


async def test_a_server_can_be_restarted(server: ApiServer) -> None:
    """It comes back on its port with all it knew."""
    server.put(service("web"))
    url = server.url
    await server.stop()
    async with aiohttp.ClientSession(url) as http:
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(SERVICES)
        await server.start()
        assert server.url == url
        assert (await get(http, SERVICES))[1]["items"][0]["metadata"]["name"] == "web"


async def test_the_lab_can_be_asked_from_outside(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """POST /lab/... sets faults, compacts, stores raw objects, ends watches; nonsense is named."""
    faults = {"delay": 0.0, "bookmarks": False, "failures": [{"status": 503, "times": 1, "retryAfter": 2}]}
    async with http.post("/lab/faults", json=faults) as answer:
        assert (await answer.json())["bookmarks"] is False
    assert [(await get(http, SERVICES))[0], (await get(http, SERVICES))[0]] == [503, 200]
    async with http.post("/lab/faults", json={"gremlins": 5}) as answer:
        assert (answer.status, "gremlins" in await answer.text()) == (400, True)

    version = str(server.store.version)
    async with http.post("/lab/compact") as answer:
        assert answer.status == 200
    async with watching(http, SERVICES, resourceVersion=version) as watch:
        assert (await watch.next())["object"]["code"] == 410
    async with http.post("/lab/raw", json=service("broken", ports=7)) as answer:
        assert answer.status == 200
    assert (server.get("Service", "broken") or {})["spec"] == {"ports": 7}
    for nonsense in ({"kind": "Service"}, {"kind": "Cat", "apiVersion": "v1", "metadata": {"name": "tom"}}):
        async with http.post("/lab/raw", json=nonsense) as answer:
            assert (answer.status, "error" in await answer.json()) == (400, True)
    async with watching(http, SERVICES, resourceVersion=str(server.store.version)) as watch:
        await asyncio.gather(http.post("/lab/end-watches"), watch.until_end())
    async with http.post("/lab/dance") as answer:
        assert answer.status == 404


async def test_requests_are_remembered(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """A test may look at what a client asked."""
    await get(http, SERVICES, limit="5")

    seen = server.requests[-1]
    assert (seen.verb, seen.plural, seen.path, seen.query) == ("list", "services", SERVICES, {"limit": "5"})
    assert "user-agent" in seen.headers

# SPDX-License-Identifier: Apache-2.0
"""Watches: where they start, what they tell, how they end."""

import asyncio
import time

import aiohttp
import pytest

from kproxy.lab.apiserver import ApiServer
from tests.api.wire import (
    INITIAL_EVENTS_END,
    NODES,
    SERVICES,
    SLICES,
    STREAMING,
    endpoint_slice,
    get,
    node,
    service,
    watching,
)


async def test_a_watch_tells_changes_after_a_version(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """From resourceVersion N come the changes above N, old and new (cacher/watch_cache_history.go, GetIntervalLocked)."""
    server.put(service("before"))
    version = (await get(http, SERVICES))[1]["metadata"]["resourceVersion"]
    server.put(service("web"))

    async with watching(http, SERVICES, resourceVersion=version) as watch:
        assert await watch.change() == ("ADDED", "web")
        server.put(service("web", sessionAffinity="ClientIP"))
        assert await watch.change() == ("MODIFIED", "web")
        server.delete("Service", "web")
        event = await watch.next()

    assert (event["type"], event["object"]["kind"], event["object"]["apiVersion"]) == ("DELETED", "Service", "v1")
    assert event["object"]["spec"]["sessionAffinity"] == "ClientIP", "a deletion shows the last state"
    assert event["object"]["metadata"]["resourceVersion"] == str(server.store.version), "with the deletion's version"


async def test_a_watch_is_a_stream_of_json_lines(http: aiohttp.ClientSession) -> None:
    """The answer is chunked application/json (endpoints/handlers/watch.go, BeginStream)."""
    async with watching(http, SERVICES, resourceVersion="1") as watch:
        assert watch.answer.headers["Content-Type"] == "application/json"
        assert watch.answer.headers["Transfer-Encoding"] == "chunked"


async def test_a_write_that_changes_nothing_is_not_told(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Equal content keeps its version and makes no event.

    Source: storage/etcd3/store.go, GuaranteedUpdate: "origState.data equal".
    """
    stored = server.put(service("web"))

    async with watching(http, SERVICES, resourceVersion=str(server.store.version)) as watch:
        assert server.put(service("web"))["metadata"]["resourceVersion"] == stored["metadata"]["resourceVersion"]
        server.put(service("other"))
        assert await watch.change() == ("ADDED", "other")


@pytest.mark.parametrize("query", [{}, {"resourceVersion": "0"}])
async def test_without_a_version_a_watch_starts_with_what_is(
    server: ApiServer, http: aiohttp.ClientSession, query: dict[str, str]
) -> None:
    """No version, or 0: synthetic ADDED events, then changes (API concepts, "Semantics for watch")."""
    server.put(service("a"))
    server.put(service("b"))

    async with watching(http, SERVICES, **query) as watch:
        assert [await watch.change(), await watch.change()] == [("ADDED", "a"), ("ADDED", "b")]
        server.delete("Service", "a")
        assert await watch.change() == ("DELETED", "a")


async def test_a_streaming_list_ends_with_an_annotated_bookmark(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """ADDED for each object, one BOOKMARK with the annotation, then changes.

    Source: API concepts, "Streaming lists"; cacher/cache_watcher.go, convertToWatchEvent.
    """
    server.put(service("a"))
    server.put(service("b"))
    version = server.store.version

    async with watching(http, SERVICES, **STREAMING) as watch:
        events = [await watch.next() for _ in range(3)]
        server.put(service("c"))
        assert await watch.change() == ("ADDED", "c")
        later = await watch.next()

    assert [event["type"] for event in events] == ["ADDED", "ADDED", "BOOKMARK"]
    assert events[2]["object"]["kind"] == "Service"
    assert events[2]["object"]["metadata"]["annotations"] == {INITIAL_EVENTS_END: "true"}
    assert events[2]["object"]["metadata"]["resourceVersion"] == str(version)
    assert later["type"] == "BOOKMARK"
    assert "annotations" not in later["object"]["metadata"], "only the first bookmark says that the list has ended"


async def test_a_streaming_list_without_bookmarks_has_no_end_mark(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """The mark comes only with allowWatchBookmarks (cacher/cacher.go, setInitialEventsEndBookmarkIfRequested)."""
    server.put(service("a"))

    async with watching(http, SERVICES, **{**STREAMING, "allowWatchBookmarks": "false", "timeoutSeconds": "1"}) as watch:
        events = await watch.until_end()

    assert [event["type"] for event in events] == ["ADDED"]


async def test_no_initial_events_means_from_now(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """sendInitialEvents=false without a version starts at the newest one.

    Source: cacher/watch_cache.go, getAllEventsSinceLocked.
    """
    server.put(service("old"))

    query = {"sendInitialEvents": "false", "resourceVersionMatch": "NotOlderThan"}
    async with watching(http, SERVICES, **query) as watch:
        server.put(service("new"))
        assert await watch.change() == ("ADDED", "new")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (
            {"sendInitialEvents": "true"},
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        (
            {"resourceVersionMatch": "NotOlderThan", "resourceVersion": "5"},
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        (
            {"sendInitialEvents": "true", "resourceVersionMatch": "Exact"},
            'resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"',
        ),
        (
            {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "continue": "x"},
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided",
        ),
    ],
)
async def test_watch_options_that_contradict_are_invalid(
    http: aiohttp.ClientSession, query: dict[str, str], words: str
) -> None:
    """422 before any stream begins (apimachinery internalversion/validation, validateWatchOptions)."""
    status, body = await get(http, SERVICES, watch="1", **query)

    assert (status, body["reason"]) == (422, "Invalid")
    assert words in body["message"]


async def test_a_server_without_streaming_lists_says_so(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """With the WatchList feature off sendInitialEvents is 422 and the legacy start still works.

    Source: internalversion/validation, validateWatchOptions; internalversion/defaults.go.
    """
    server.faults.streaming_lists = False
    server.put(service("a"))

    status, body = await get(http, SERVICES, **STREAMING)
    assert (status, body["details"]["causes"][0]["field"]) == (422, "sendInitialEvents")
    assert "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled" in body["message"]
    async with watching(http, SERVICES) as watch:
        assert await watch.change() == ("ADDED", "a")


async def test_a_version_too_old_is_an_error_event(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """A watch from a forgotten version answers 200 and one ERROR event with a 410 Status, then ends.

    Upstream: "once we have passed authn/authz/admission, and successfully parsed a resource version, other errors must fail
    with a watch event of type ERROR".
    Source: cacher/cacher.go, Watch and newErrWatcher; words: watch_cache_history.go, GetIntervalLocked.
    """
    server.put(service("a"))
    version = server.store.version
    server.put(service("b"))
    server.compact()

    async with watching(http, SERVICES, resourceVersion=str(version)) as watch:
        events = await watch.until_end()

    assert [event["type"] for event in events] == ["ERROR"]
    assert events[0]["object"] == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"too old resource version: {version} ({server.store.version})",
        "reason": "Expired",
        "code": 410,
    }


async def test_the_window_of_changes_is_finite() -> None:
    """A version that fell out of the window is too old even without a compaction (watch_cache_history.go: cyclic buffer)."""
    async with ApiServer(window=5) as server, aiohttp.ClientSession(server.url) as http:
        server.put(service("s0"))
        version = str(server.store.version)
        for number in range(1, 20):
            server.put(service(f"s{number}"))

        async with watching(http, SERVICES, resourceVersion=version) as watch:
            assert (await watch.next())["object"]["code"] == 410
        async with watching(http, SERVICES, resourceVersion=str(server.store.version - 2)) as watch:
            assert await watch.change() == ("ADDED", "s18")


async def test_a_watcher_that_falls_behind_is_cut_off() -> None:
    """Who reads too slowly for the window loses the watch and has to resume.

    Source: cacher/cache_watcher.go, add: "Forcing %v watcher close due to unresponsiveness".
    """
    async with (
        ApiServer(window=5) as server,
        aiohttp.ClientSession(server.url) as http,
        watching(http, SERVICES, resourceVersion=str(server.store.version)) as watch,
    ):
        server.put(service("first"))
        assert await watch.change() == ("ADDED", "first")
        for number in range(30):  # all in one turn of the event loop: the watcher sees none of them in time
            server.put(service(f"s{number}"))
        with pytest.raises(EOFError):
            await watch.change()


async def test_a_watch_from_the_future_waits(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """A version not reached yet is accepted; what comes up to it is not told (cacher/cache_watcher.go, process)."""
    async with watching(http, SERVICES, resourceVersion=str(server.store.version + 2)) as watch:
        for name in ("one", "two", "three"):
            server.put(service(name))
        assert await watch.change() == ("ADDED", "three")


async def test_a_streaming_list_from_the_future_is_an_error_event(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """With initial events a version that does not come is a 504 inside the stream.

    Source: cacher/cacher.go, waitUntilWatchCacheFreshAndForceAllEvents.
    """
    async with watching(http, SERVICES, **STREAMING, resourceVersion=str(server.store.version + 10)) as watch:
        event = await watch.next()

    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 504, "Timeout")


async def test_a_version_that_is_no_number_is_invalid(http: aiohttp.ClientSession) -> None:
    """For a watch: 422 of the resource (storage/errors/storage.go, InterpretWatchError)."""
    status, body = await get(http, SERVICES, watch="1", resourceVersion="old")

    assert (status, body["reason"]) == (422, "Invalid")
    assert body["message"] == (
        'services "" is invalid: resourceVersion: Invalid value: "old": strconv.ParseUint: parsing "old": invalid syntax'
    )


async def test_an_object_that_enters_a_selection_is_added(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Updates across a selector's border are ADDED and DELETED, the latter with what was selected last.

    Source: cacher/cache_watcher.go, convertToWatchEvent.
    """
    server.put(service("web", labels={"colour": "red"}))

    query = {"labelSelector": "!hidden", "resourceVersion": str(server.store.version)}
    async with watching(http, SERVICES, **query) as watch:
        server.put(service("web", labels={"colour": "blue", "hidden": ""}))
        left = await watch.next()
        server.put(service("web", labels={"colour": "green", "hidden": ""}))
        server.put(service("web", labels={"colour": "green"}))
        entered = await watch.next()

    assert (left["type"], left["object"]["metadata"]["labels"]) == ("DELETED", {"colour": "red"})
    assert left["object"]["metadata"]["resourceVersion"] == str(server.store.version - 2)
    assert (entered["type"], entered["object"]["metadata"]["labels"]) == ("ADDED", {"colour": "green"})


async def test_field_selectors_narrow_a_watch(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """metadata.name of one Node, and spec.clusterIP!=None of Services."""
    async with (
        watching(http, NODES, fieldSelector="metadata.name=n2", resourceVersion=str(server.store.version)) as nodes,
        watching(
            http, SERVICES, fieldSelector="spec.clusterIP!=None", resourceVersion=str(server.store.version)
        ) as services,
    ):
        for name in ("n1", "n2", "n3"):
            server.put(node(name))
        server.put(service("headless", clusterIP="None"))
        server.put(service("web"))
        server.put(node("n2", zone="a"))

        assert [await nodes.change(), await nodes.change()] == [("ADDED", "n2"), ("MODIFIED", "n2")]
        assert await services.change() == ("ADDED", "web")


async def test_a_namespace_narrows_a_watch(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Only what happens in the path's namespace is told."""
    version = str(server.store.version)
    async with watching(http, "/api/v1/namespaces/shop/services", resourceVersion=version) as watch:
        server.put(service("a", "other"))
        server.put(service("b", "shop"))
        assert await watch.change() == ("ADDED", "b")


async def test_bookmarks_come_by_themselves(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """They tell how far the server is, other kinds' changes included (cacher/cacher.go, dispatchEvents)."""
    query = {"allowWatchBookmarks": "true", "resourceVersion": str(server.store.version)}
    async with watching(http, SERVICES, **query) as watch:
        server.put(node("n1"))
        event = await watch.next()

    assert event["type"] == "BOOKMARK"
    assert event["object"]["metadata"]["resourceVersion"] == str(server.store.version)
    assert "name" not in event["object"]["metadata"]


async def test_a_bookmarks_object_is_an_empty_one(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """It is the kind's zero value: no name, null lists (cacher/cacher.go: ``c.newFunc()``)."""
    query = {"allowWatchBookmarks": "true", "resourceVersion": str(server.store.version)}
    async with watching(http, SLICES, **query) as watch:
        event = await watch.next()

    assert event["object"] == {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"resourceVersion": str(server.store.version), "creationTimestamp": None},
        "addressType": "",
        "endpoints": None,
        "ports": None,
    }


async def test_no_bookmarks_unless_asked_for(http: aiohttp.ClientSession) -> None:
    """Without allowWatchBookmarks none are sent."""
    async with watching(http, SERVICES, resourceVersion="4", timeoutSeconds="1") as watch:
        assert await watch.until_end() == []


async def test_a_watch_ends_at_its_time_out() -> None:
    """The time-out ends the stream in good order, and a bookmark comes two seconds before however long the period.

    Source: cacher/cache_watcher.go, nextBookmarkTime; endpoints/handlers/watch.go, HandleHTTP.
    """
    async with ApiServer(bookmark_period=60) as server, aiohttp.ClientSession(server.url) as http:
        began = time.monotonic()
        query = {"allowWatchBookmarks": "true", "resourceVersion": str(server.store.version), "timeoutSeconds": "3"}
        async with watching(http, SERVICES, **query) as watch:
            event = await watch.next()
            first = time.monotonic() - began
            rest = await watch.until_end()

    assert event["type"] == "BOOKMARK"
    assert first < 2.5, "the bookmark comes before the end, not at it"
    assert rest == []


async def test_a_burst_of_changes_arrives_whole_and_in_order(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Whatever the pace, every change is told once, in the order of versions."""
    async with watching(http, SLICES, resourceVersion=str(server.store.version)) as watch:
        for number in range(500):
            server.put(endpoint_slice("web-1", f"10.1.{number // 250}.{number % 250}"))
        versions = [int((await watch.next())["object"]["metadata"]["resourceVersion"]) for _ in range(500)]

    assert versions == sorted(set(versions))
    assert versions[-1] == server.store.version


async def test_a_client_that_leaves_is_forgotten(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Nothing stays behind of a watch whose client has gone."""
    async with watching(http, SERVICES), watching(http, SLICES):
        assert server.watches == 2
    for _ in range(100):
        if not server.watches:
            break
        await asyncio.sleep(0.02)

    assert server.watches == 0
    assert all(not collection.watchers for collection in server.store.collections.values())

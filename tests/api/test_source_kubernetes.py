# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes source against a whole API server, well and ill."""

import asyncio
import logging
from collections.abc import Iterator

import msgspec
import pytest

from kproxy.lab.apiserver import ApiServer
from kproxy.lab.apiserver.resources import SERVICE
from kproxy.objects.events import Delete, Kind, Synced, Upsert
from tests.api.following import following
from tests.api.wire import endpoint_slice, node, service

SVC, SLICE, NODE, CIDR = Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.NODE, Kind.SERVICE_CIDR


def fill(server: ApiServer) -> None:
    """Put a small cluster, with something that every selector leaves out."""
    for name in ("a", "b", "c", "d", "e"):
        server.put(service(name))
    server.put(service("headless", clusterIP="None"))
    server.put(service("foreign", labels={"service.kubernetes.io/service-proxy-name": "other"}))
    server.put(endpoint_slice("a-1", "10.1.0.1", of="a"))
    headless = endpoint_slice("headless-1", "10.1.0.9", of="headless")
    headless["metadata"]["labels"]["service.kubernetes.io/headless"] = ""
    server.put(headless)
    server.put(node("here"))
    server.put(node("elsewhere"))


FILLED = [f"default/{name}" for name in "abcde"]


async def test_everything_that_counts_is_told_and_nothing_else(server: ApiServer) -> None:
    """Selectors are applied by the server; each kind is synced once, after its objects."""
    fill(server)
    async with following(server) as told:
        await told.until_synced()
        assert told.keys(SVC) == FILLED
        assert told.keys(SLICE) == ["default/a-1"]
        assert told.keys(NODE) == ["here"]
        assert told.keys(CIDR) == ["kubernetes"]
        for kind in Kind:
            assert told.events.count(Synced(kind)) == 1
        assert {seen.verb for seen in server.requests} == {"watch"}, "streaming lists need no LIST"


async def test_changes_are_told_as_they_happen(server: ApiServer) -> None:
    """Create, change, hand over to another proxy, delete."""
    async with following(server) as told:
        await told.until_synced()
        server.put(service("web"))
        await told.until_keys(SVC, "default/web")
        server.put(service("web", sessionAffinity="ClientIP"))
        await told.until(lambda: told.objects[SVC, "default/web"].spec.session_affinity == "ClientIP")  # type: ignore[union-attr]
        server.put(service("web", labels={"service.kubernetes.io/service-proxy-name": "other"}))
        await told.until_keys(SVC)
        server.put(service("web"))
        await told.until_keys(SVC, "default/web")
        server.delete("Service", "web")
        await told.until_keys(SVC)


async def test_an_older_server_is_listed_in_pages_and_watched(server: ApiServer) -> None:
    """Without streaming lists there is a LIST in pages, and the watch starts at its version."""
    fill(server)
    server.faults.streaming_lists = False
    async with following(server) as told:
        await told.until_synced()
        assert told.keys(SVC) == FILLED
        lists = [seen.query for seen in server.requests if seen.verb == "list" and seen.plural == "services"]
        assert [query["limit"] for query in lists] == ["3", "3"]
        server.put(service("web"))
        await told.until_keys(SVC, *FILLED, "default/web")


@pytest.fixture
def without_field_labels() -> Iterator[None]:
    """Turn the server into one that cannot select Services by clusterIP."""
    before = SERVICE.field_labels
    msgspec.structs.force_setattr(SERVICE, "field_labels", ("metadata.name", "metadata.namespace"))
    yield
    msgspec.structs.force_setattr(SERVICE, "field_labels", before)


@pytest.mark.usefixtures("without_field_labels")
@pytest.mark.parametrize("streaming", [True, False])
async def test_a_server_that_does_not_know_the_field_label_is_filtered_here(server: ApiServer, streaming: bool) -> None:
    """Headless Services are left out all the same."""
    fill(server)
    server.faults.streaming_lists = streaming
    async with following(server) as told:
        await told.until_synced()
        assert told.keys(SVC) == FILLED
        server.put(service("headless-2", clusterIP="None"))
        server.put(service("web"))
        await told.until_keys(SVC, *FILLED, "default/web")


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_forgotten_history_costs_a_list_but_no_clear(server: ApiServer, streaming: bool) -> None:
    """After 410 only the differences are told, in the end the server's state."""
    fill(server)
    server.faults.streaming_lists = streaming
    async with following(server) as told:
        await told.until_synced()
        told.events.clear()
        await server.stop()
        server.delete("Service", "a")
        server.put(service("b", sessionAffinity="ClientIP"))
        server.put(service("f"))
        server.compact()
        await server.start()
        await told.until_keys(SVC, *FILLED[1:], "default/f")
        changes = [event for event in told.events if isinstance(event, Upsert | Delete)]
        assert sorted(event.key if isinstance(event, Delete) else event.object.metadata.name for event in changes) == [
            "b",
            "default/a",
            "f",
        ]


async def test_a_watch_that_expires_while_open_is_listed_anew(server: ApiServer) -> None:
    """The ERROR event with 410 has the same effect as the status."""
    fill(server)
    async with following(server) as told:
        await told.until_synced()
        server.faults.stalled = True
        for index in range(5):
            server.put(service("web", sessionAffinity="ClientIP" if index % 2 else "None"))
        server.compact()
        server.delete("Service", "a")
        server.faults.stalled = False
        await told.until_keys(SVC, *FILLED[1:], "default/web")


async def test_a_restarted_server_is_resumed(server: ApiServer) -> None:
    """A server that comes back with its history is watched on from the last version, without any list."""
    fill(server)
    async with following(server) as told:
        await told.until_synced()
        await server.stop()
        server.requests.clear()
        server.put(service("web"))
        await server.start()
        await told.until_keys(SVC, *FILLED, "default/web")
        queries = [seen.query for seen in server.requests if seen.plural == "services"]
        assert all(query.get("watch") == "1" and query.get("resourceVersion") for query in queries)


async def test_a_watch_in_which_nothing_comes_is_opened_anew(server: ApiServer) -> None:
    """Where bookmarks were seen, silence means that nobody is there."""
    async with following(server) as told:
        await told.until_synced()
        await asyncio.sleep(1.0)  # a bookmark or five
        server.faults.stalled = True
        server.requests.clear()
        for _ in range(200):
            await asyncio.sleep(0.05)
            if any(seen.plural == "services" for seen in server.requests):
                break
        server.put(service("web"))
        server.faults.stalled = False
        await told.until_keys(SVC, "default/web")


@pytest.mark.parametrize("fault", ["tear", "half_line"])
async def test_a_torn_connection_loses_nothing(server: ApiServer, fault: str) -> None:
    """What was cut in the middle is told by the next watch."""
    fill(server)
    async with following(server) as told:
        await told.until_synced()
        setattr(server.faults, fault, 2)
        for name in ("f", "g", "h"):
            server.put(service(name))
        await told.until_keys(SVC, *FILLED, "default/f", "default/g", "default/h")


async def test_a_list_that_is_not_json_is_asked_for_again(server: ApiServer, caplog: pytest.LogCaptureFixture) -> None:
    """Garbage is named, and the next list counts."""
    fill(server)
    server.faults.streaming_lists = False
    server.faults.garble = 2
    async with following(server) as told:
        await told.until_synced()
        assert told.keys(SVC) == FILLED
    assert "makes no sense" in caplog.text


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "does not know us; mend the credentials"),
        (403, "ClusterRole system:node-proxier"),
        (404, "404"),
        (410, "410"),
        (429, "429"),
        (500, "500"),
        (503, "503"),
        (504, "504"),
    ],
)
async def test_one_kind_in_trouble_leaves_the_others_alone(
    server: ApiServer, status: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the server says to one watch, it is logged as one sentence, waited out, and the others go on."""
    fill(server)
    server.faults.fail(status, times=4, plural="services")
    with caplog.at_level(logging.WARNING):
        async with following(server) as told:
            await told.until(lambda: told.synced == {SLICE, NODE, CIDR})
            server.put(node("here", zone="z"))
            await told.until(lambda: (told.objects[NODE, "here"].metadata.labels or {}).get("zone") == "z")
            await told.until_synced()
            assert told.keys(SVC) == FILLED
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("kproxy.sources")]
    assert lines
    assert all(line.startswith("Service: GET /api/v1/services: ") and words in line for line in lines)


async def test_a_server_without_servicecidrs_is_synced_all_the_same(server: ApiServer) -> None:
    """The kind is younger than many servers."""
    server.faults.fail(404, times=1000, plural="servicecidrs")
    async with following(server) as told:
        await told.until_synced()
        assert told.keys(CIDR) == []


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_malformed_object_is_named_and_kept_out(server: ApiServer, streaming: bool) -> None:
    """The others are told; what was good of it stays until it is good again."""
    fill(server)
    server.faults.streaming_lists = streaming
    bad = {**service("bad"), "spec": {"ports": [{"port": "eighty"}]}}
    server.put(bad, raw=True)
    async with following(server) as told:
        await told.until_synced()
        assert told.keys(SVC) == FILLED
        assert "Service default/bad" in told.broken[SVC, "default/bad"]
        assert "$.spec.ports[0].port" in told.broken[SVC, "default/bad"]
        server.put({**service("a"), "spec": "nothing"}, raw=True)
        await told.until(lambda: (SVC, "default/a") in told.broken)
        assert (SVC, "default/a") in told.objects
        server.put(service("bad"))
        server.put(service("a"))
        await told.until(lambda: not told.broken)
        assert told.keys(SVC) == sorted([*FILLED, "default/bad"])

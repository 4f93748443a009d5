# SPDX-License-Identifier: Apache-2.0
"""The store under any sequence of writes: history, snapshots and watches tell one story."""

import asyncio
import json
from typing import Any

import hypothesis.strategies as some
import pytest
from hypothesis import given, settings

from kproxy.lab.apiserver.allocation import Allocator
from kproxy.lab.apiserver.faults import Faults
from kproxy.lab.apiserver.options import ListOptions
from kproxy.lab.apiserver.resources import NODE, SERVICE
from kproxy.lab.apiserver.selectors import Selector, parse_labels
from kproxy.lab.apiserver.status import ApiError
from kproxy.lab.apiserver.store import Store
from kproxy.lab.apiserver.watching import Watch
from tests.api.wire import JsonObject, service

NAMES = ("a", "b", "c")
VERBS = ("put", "put", "remove", "node")
STEPS = some.lists(
    some.tuples(some.sampled_from(VERBS), some.sampled_from(NAMES), some.sampled_from(("x", "y", ""))),
    max_size=30,
)
World = dict[str, str]


def play(store: Store, steps: list[tuple[str, str, str]]) -> dict[int, World]:
    """Carry out steps; return the world (name to label) at each version."""
    worlds = {store.version: World()}
    now: World = {}
    for verb, name, label in steps:
        if verb == "put":
            store.write(SERVICE, service(name, labels={"l": label} if label else None))
            now = {**now, name: label}
        elif verb == "remove":
            store.remove(SERVICE, f"default/{name}")
            now = {key: value for key, value in now.items() if key != name}
        else:
            store.write(NODE, {"metadata": {"name": name, "labels": {"step": str(store.version)}}})
        worlds[store.version] = now
    return worlds


def world(items: Any) -> World:
    """Read a world from stored objects."""
    return {item.key.partition("/")[2]: item.labels.get("l", "") for item in items}


async def replay(store: Store, world_before: World, version: int, selector: str) -> World:
    """Follow a watch from a version to the end and return the world it tells."""
    seen = dict(world_before)
    options = ListOptions(Selector(parse_labels(selector)), watch=True, version=str(version), timeout=1)
    watch = Watch(store, SERVICE, "", options, Faults(), bookmark_period=60)
    stream = watch.stream(0)

    async def follow() -> None:
        async for chunk in stream:
            for line in chunk.splitlines():
                event = json.loads(line)
                metadata = event["object"]["metadata"]
                assert event["type"] != "ERROR", event
                assert (event["type"] == "ADDED") == (event["type"] != "DELETED" and metadata["name"] not in seen)
                if event["type"] == "DELETED":
                    del seen[metadata["name"]]
                else:
                    seen[metadata["name"]] = (metadata.get("labels") or {}).get("l", "")
            watch.finish()

    await asyncio.wait_for(asyncio.gather(follow(), _finish_soon(watch)), 5)
    return seen


async def _finish_soon(watch: Watch) -> None:
    for _ in range(3):
        await asyncio.sleep(0)
    watch.finish()


@settings(deadline=None)
@given(STEPS)
def test_every_past_version_can_be_seen_again(steps: list[tuple[str, str, str]]) -> None:
    """A snapshot at any version is the world as it was."""
    store = Store()

    for version, expected in play(store, steps).items():
        assert world(store.of(SERVICE).snapshot(version)) == expected


@settings(deadline=None, max_examples=60)
@given(STEPS, some.sampled_from(("", "l", "!l", "l=x")))
def test_a_watch_from_any_version_leads_to_the_present(steps: list[tuple[str, str, str]], selector: str) -> None:
    """The selected part of any past world, plus its watch, is the selected part of the present one."""
    store = Store()
    worlds = play(store, steps)
    terms = parse_labels(selector)

    def selected(whole: World) -> World:
        return {
            name: label
            for name, label in whole.items()
            if all(term.matches({"l": label} if label else {}) for term in terms)
        }

    for version, then in worlds.items():
        assert asyncio.run(replay(store, selected(then), version, selector)) == selected(worlds[store.version])


async def test_the_end_mark_tells_the_version_of_the_list() -> None:
    """What changes while a streaming list is being sent comes after its end mark, and the mark does not include it.

    Source: storage/cacher/cacher.go, setInitialEventsEndBookmarkIfRequested.
    """
    store = Store()
    store.write(SERVICE, service("a"))
    version = store.version
    options = ListOptions(Selector(), watch=True, bookmarks=True, initial_events=True, timeout=5)
    watch = Watch(store, SERVICE, "", options, Faults(), bookmark_period=60)
    told: list[JsonObject] = []

    async for chunk in watch.stream(0):
        if not told:
            store.write(SERVICE, service("b"))
        told += [json.loads(line) for line in chunk.splitlines()]
        if len(told) == 3:
            watch.finish()

    assert [event["type"] for event in told] == ["ADDED", "BOOKMARK", "ADDED"]
    assert told[1]["object"]["metadata"]["resourceVersion"] == str(version)


async def test_a_compaction_does_not_disturb_watches() -> None:
    """A watch in progress gets what came before the compaction as well as what comes after."""
    store = Store()
    watch = Watch(
        store, SERVICE, "", ListOptions(Selector(), watch=True, version="1", timeout=5), Faults(), bookmark_period=60
    )
    names: list[str] = []

    async def read() -> None:
        async for chunk in watch.stream(0):
            names.extend(json.loads(line)["object"]["metadata"]["name"] for line in chunk.splitlines())
            if len(names) == 2:
                watch.finish()

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    store.write(SERVICE, service("a"))
    store.compact()
    store.write(SERVICE, service("b"))
    await asyncio.wait_for(reading, 5)

    assert names == ["a", "b"]


def test_versions_only_grow() -> None:
    """One version for all kinds; a change of any kind makes it grow, a compaction too."""
    store = Store()
    seen = [store.version]
    for step in range(3):
        store.write(SERVICE, service(f"s{step}"))
        store.write(NODE, {"metadata": {"name": f"n{step}"}})
        store.compact()
        seen.append(store.version)

    assert seen == [1, 4, 7, 10]


def test_what_was_forgotten_is_refused() -> None:
    """After a compaction neither snapshot nor position exist for an older version, both for the newest."""
    store = Store()
    store.write(SERVICE, service("a"))
    old = store.version
    store.compact()

    for ask in (store.of(SERVICE).snapshot, store.of(SERVICE).position):
        with pytest.raises(ApiError) as caught:
            ask(old)
        assert caught.value.code == 410
        ask(store.version)


def test_an_allocator_gives_each_address_once() -> None:
    """A small range is used up, lower band last, then refused with a mend; what is released comes again."""
    allocator = Allocator()
    allocator.adopt("kubernetes", ["10.0.0.0/28"])
    specs = [{"ipFamilies": ["IPv4"], "ports": [{"port": 80}]} for _ in range(14)]
    for number, spec in enumerate(specs):
        allocator.complete(f"s{number}", spec)

    given_addresses = [str(spec["clusterIP"]) for spec in specs]
    assert len(set(given_addresses)) == 14
    with pytest.raises(ApiError, match="range is full: give the server another IPv4 ServiceCIDR"):
        allocator.complete("one-more", {"ipFamilies": ["IPv4"]})
    allocator.release("s5")
    again: dict[str, Any] = {"ipFamilies": ["IPv4"]}
    allocator.complete("again", again)
    assert again["clusterIP"] == given_addresses[5]

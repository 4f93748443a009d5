# SPDX-License-Identifier: Apache-2.0
"""The reflector's transitions, one by one, against a server without a network."""

# ruff: noqa: ARG002 - an observer need not look at everything it is told
from typing import Any

import pytest

from kproxy.objects.events import Kind
from kproxy.sources.kubernetes.backoff import Backoff
from kproxy.sources.kubernetes.inventory import Inventory
from kproxy.sources.kubernetes.reflector import Reflector, Timing
from kproxy.sources.watches import SERVICES, Watch
from kproxy.table.clock import FakeClock
from tests.unit.sources.fake_server import FakeServer, Fault
from tests.unit.sources.told import SYNCED, Told

STREAMING = {
    "watch": "1",
    "sendInitialEvents": "true",
    "resourceVersionMatch": "NotOlderThan",
    "allowWatchBookmarks": "true",
    "labelSelector": "!service.kubernetes.io/service-proxy-name",
    "fieldSelector": "spec.clusterIP!=None",
}


class Counts:
    """An Observer that remembers."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def requested(self, method: str, code: str, seconds: float) -> None:
        """Note it."""

    def listed(self, kind: Kind, seconds: float, *, streamed: bool) -> None:
        """Note it."""
        self.calls.append(("listed", streamed))

    def watched(self, kind: Kind, seconds: float) -> None:
        """Note it."""
        self.calls.append("watched")

    def restarted(self, kind: Kind, reason: str) -> None:
        """Note it."""
        self.calls.append(reason)

    def received(self, kind: Kind, size: int) -> None:
        """Note it."""
        assert size > 0


class Rig:
    """A reflector of Services, its server, and what it tells."""

    def __init__(self, *, watch: Watch = SERVICES, page: int = 2, **server: Any) -> None:
        self.server = FakeServer(**server)
        self.told = Told()
        self.counts = Counts()
        self.clock = FakeClock()
        self.reflector = Reflector(
            watch,
            self.server,
            clock=self.clock,
            observer=self.counts,
            timing=Timing(page=page),
            backoff=Backoff(1.0, 30.0, chance=lambda: 1.0),
        )
        self.inventory = Inventory(watch, self.told)

    async def turn(self, *faults: Fault, after: int = 0) -> float:
        """Run one turn, with faults for its requests; return the pause."""
        self.server.faults.extend((fault, after) for fault in faults)
        self.server.requests.clear()
        return await self.reflector.turn(self.inventory)


async def test_a_list_comes_as_a_stream_and_is_complete_at_its_bookmark() -> None:
    """The streaming list asks for exactly what the API wants to see, and Synced comes after the objects."""
    rig = Rig()
    rig.server.put("a", clusterIP="10.96.0.1")
    rig.server.put("b", clusterIP="10.96.0.2")
    assert await rig.turn() == 0
    (query,) = rig.server.requests
    assert 300 <= int(query.pop("timeoutSeconds")) <= 600
    assert query == STREAMING
    assert rig.told.take() == ["+shop/a", "+shop/b", SYNCED]
    assert rig.counts.calls == [("listed", True), "watched"]


async def test_a_watch_goes_on_from_the_last_bookmark() -> None:
    """After a list the watch resumes at the version of the last event or bookmark, and tells only what is new."""
    rig = Rig()
    rig.server.put("a")
    await rig.turn()
    rig.server.put("b")
    rig.server.delete("a")
    assert await rig.turn() == 0
    assert rig.server.requests[0]["resourceVersion"] == "2"
    assert "sendInitialEvents" not in rig.server.requests[0]
    assert rig.told.take() == ["+shop/a", SYNCED, "+shop/b", "-shop/a"]
    await rig.turn()
    assert rig.server.requests[0]["resourceVersion"] == "4"


@pytest.mark.parametrize("refusal", [400, 403, 404, 405, 422])
async def test_an_older_server_is_listed_in_pages(refusal: int) -> None:
    """However a server refuses streaming lists, it is listed in pages and then watched."""
    rig = Rig(streaming=False, refusal=refusal)
    for name in "abcde":
        rig.server.put(name)
    assert await rig.turn() == 0
    assert [query.get("continue") for query in rig.server.requests] == [None, "2", "4"]
    assert all(query["limit"] == "2" and "watch" not in query for query in rig.server.requests)
    assert rig.told.take() == [*(f"+shop/{name}" for name in "abcde"), SYNCED]
    assert rig.counts.calls == [("listed", False)]
    rig.server.put("f")
    await rig.turn()
    assert rig.told.take() == ["+shop/f"]


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_server_that_cannot_select_by_field_is_selected_from_here(streaming: bool) -> None:
    """Headless Services are kept out by ourselves, and one that turns headless is told as deleted."""
    rig = Rig(fields=False, streaming=streaming)
    rig.server.put("headless", clusterIP="None")
    rig.server.put("web", clusterIP="10.96.0.1")
    assert await rig.turn() == 0
    assert rig.told.take() == ["+shop/web", SYNCED]
    rig.server.put("web", clusterIP="None")
    rig.server.put("headless", clusterIP="10.96.0.2")
    await rig.turn()
    assert "fieldSelector" not in rig.server.requests[-1]
    assert rig.told.take() == ["-shop/web", "+shop/headless"]


@pytest.mark.parametrize("fault", [Fault.GONE, Fault.GONE_EVENT])
@pytest.mark.parametrize("streaming", [True, False])
async def test_an_expired_version_leads_to_a_list_that_tells_only_differences(fault: Fault, streaming: bool) -> None:
    """410, as a status or as an event, costs a list; only what changed meanwhile is told, and nothing is cleared."""
    rig = Rig(streaming=streaming)
    for name in "abc":
        rig.server.put(name)
    await rig.turn()
    rig.told.take()
    rig.server.put("b")
    rig.server.delete("c")
    rig.server.put("d")
    rig.server.compact()
    assert await rig.turn(fault) > 0
    assert rig.told.take() == []
    assert await rig.turn() == 0
    assert rig.told.take() == ["+shop/b", "+shop/d", "-shop/c"]
    assert "expired" in rig.counts.calls


async def test_a_list_that_expires_between_pages_is_taken_in_one_piece() -> None:
    """The server forgets the list that we are in the middle of: it is read anew, whole."""
    rig = Rig(streaming=False)
    for name in "abcde":
        rig.server.put(name)
    assert await rig.turn(Fault.NONE, Fault.GONE) == 0
    assert [query.get("limit") for query in rig.server.requests] == ["2", "2", None]
    assert rig.told.take() == [*(f"+shop/{name}" for name in "abcde"), SYNCED]


async def test_a_torn_watch_resumes_where_it_was_torn() -> None:
    """What was told before the tear is not told again, what comes after is."""
    rig = Rig()
    await rig.turn()
    rig.server.put("a")
    rig.server.put("b")
    assert await rig.turn(Fault.TORN, after=1) == 1.0
    assert await rig.turn() == 0
    assert rig.server.requests[0]["resourceVersion"] == "2"
    assert rig.told.take() == [SYNCED, "+shop/a", "+shop/b"]


async def test_a_torn_list_starts_anew_and_deletes_nothing() -> None:
    """A list cut off in the middle says nothing about what it did not reach."""
    rig = Rig()
    for name in "abc":
        rig.server.put(name)
    await rig.turn()
    rig.server.compact()
    await rig.turn()
    rig.told.take()
    await rig.turn(Fault.TORN, after=1)
    assert rig.told.take() == []
    await rig.turn()
    assert rig.told.take() == []


async def test_silence_is_noticed_sooner_once_a_bookmark_was_seen() -> None:
    """A list may be silent for a moment, a watch as long as it was asked to last, and less where bookmarks come."""
    rig = Rig()
    rig.server.put("a")
    await rig.turn()
    assert rig.server.patience == [30, 30, 150]
    rig.server.patience.clear()
    rig.server.bookmarks = False
    rig.server.put("a")
    await rig.turn()
    lasts = int(rig.server.requests[0]["timeoutSeconds"])
    assert rig.server.patience == pytest.approx([lasts + 30] * 2, abs=1)


async def test_a_stalled_watch_resumes() -> None:
    """A connection on which nothing comes is given up and opened anew, at the same version."""
    rig = Rig()
    rig.server.put("a")
    await rig.turn()
    assert await rig.turn(Fault.STALLED) == 1.0
    assert rig.counts.calls[-1] == "stalled"
    await rig.turn()
    assert rig.server.requests[0]["resourceVersion"] == "2"


async def test_a_server_that_never_ends_its_streaming_list_is_listed_in_pages() -> None:
    """Two streaming lists without an end are enough."""
    rig = Rig()
    rig.server.put("a")
    assert await rig.turn(Fault.STALLED, after=1) > 0
    assert await rig.turn(Fault.STALLED, after=1) > 0
    assert rig.told.take() == ["+shop/a"]
    assert await rig.turn() == 0
    assert "limit" in rig.server.requests[0]
    assert rig.told.take() == [SYNCED]


async def test_an_unreachable_server_is_still_asked_for_a_stream() -> None:
    """A server that was down is no reason to list in pages."""
    rig = Rig()
    for pause in (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        assert await rig.turn(Fault.UNREACHABLE) == pause
    assert await rig.turn() == 0
    assert rig.server.requests[0]["sendInitialEvents"] == "true"


async def test_pauses_grow_until_something_works_again() -> None:
    """Failures double the pause; one event of a watch resets it."""
    rig = Rig()
    await rig.turn()
    assert [await rig.turn(Fault.UNREACHABLE) for _ in range(3)] == [1.0, 2.0, 4.0]
    rig.server.put("a")
    assert await rig.turn() == 0
    assert await rig.turn(Fault.UNREACHABLE) == 1.0


async def test_a_server_that_says_when_to_come_back_is_obeyed() -> None:
    """Retry-After lengthens the pause."""
    rig = Rig()
    assert await rig.turn(Fault.BUSY) == pytest.approx(7.7)


async def test_an_expiry_after_every_list_slows_us_down() -> None:
    """A server whose watches always expire is not listed at full speed."""
    rig = Rig(streaming=False)
    pauses = []
    for _ in range(3):
        await rig.turn()
        pauses.append(await rig.turn(Fault.GONE))
    assert pauses == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("fault", [Fault.ILL, Fault.ILL_EVENT, Fault.GARBAGE])
async def test_three_answers_without_sense_lead_to_a_list(fault: Fault) -> None:
    """A version that the server chokes on is dropped in the end."""
    rig = Rig()
    rig.server.put("a")
    await rig.turn()
    for _ in range(3):
        await rig.turn(fault)
        assert "resourceVersion" in rig.server.requests[0]
    await rig.turn()
    assert rig.server.requests[0]["sendInitialEvents"] == "true"
    assert rig.told.take() == ["+shop/a", SYNCED]


@pytest.mark.parametrize("fault", [Fault.UNAUTHORIZED, Fault.BUSY, Fault.UNREACHABLE])
async def test_a_passing_trouble_never_costs_a_list(fault: Fault) -> None:
    """Neither refused credentials nor an overloaded or absent server make the version worthless."""
    rig = Rig()
    rig.server.put("a")
    await rig.turn()
    for _ in range(10):
        assert await rig.turn(fault) > 0
    await rig.turn()
    assert rig.server.requests[0]["resourceVersion"] == "2"


async def test_events_of_unknown_type_and_repetitions_change_nothing() -> None:
    """The API may grow event types, and a resumed watch may repeat itself."""
    rig = Rig()
    await rig.turn(Fault.UNKNOWN)
    rig.server.put("a")
    rig.server.put("a")
    rig.server.delete("a")
    rig.server.put("b")
    await rig.turn(Fault.TWICE)
    assert rig.told.take() == [SYNCED, "+shop/a", "+shop/a", "-shop/a", "+shop/b"]


async def test_a_watch_that_ends_at_once_counts_as_a_failure() -> None:
    """A server that closes every watch is not asked in a busy loop."""
    rig = Rig()
    rig.server.bookmarks = False
    await rig.turn()
    assert await rig.turn() == 1.0
    assert await rig.turn() == 2.0


async def test_an_object_that_makes_no_sense_is_named_once_and_kept_out() -> None:
    """Broken is told once a version, the others go on, what was known stays, and the mended object is told."""
    rig = Rig()
    rig.server.put("a", ports=[{"port": 80}])
    rig.server.put("b", ports=[{"port": "eighty"}])
    await rig.turn()
    assert rig.told.take() == ["+shop/a", "broken shop/b", SYNCED]
    rig.server.put("a", ports="none")
    rig.server.put("c")
    await rig.turn()
    assert rig.told.take() == ["broken shop/a", "+shop/c"]
    rig.server.compact()
    await rig.turn()
    await rig.turn()
    assert rig.told.take() == []
    rig.server.put("a", ports=[{"port": 81}])
    rig.server.delete("b")
    await rig.turn()
    assert rig.told.take() == ["+shop/a", "-shop/b"]


async def test_an_optional_kind_may_be_absent() -> None:
    """A server that lacks the kind is synced with nothing and asked again rarely; later it may have it."""
    rig = Rig(watch=Watch(Kind.SERVICE, optional=True), exists=False)
    assert await rig.turn() >= 600
    assert await rig.turn() >= 600
    assert rig.told.take() == [SYNCED]
    rig.server.exists = True
    rig.server.put("a")
    assert await rig.turn() == 0
    assert rig.told.take() == ["+shop/a"]


async def test_a_kind_that_must_be_there_is_asked_for_again_soon() -> None:
    """Without Services there is nothing to do but to wait and to say so."""
    rig = Rig(exists=False)
    assert await rig.turn() == 1.0
    assert rig.told.take() == []


async def test_events_carry_the_time_at_which_their_bytes_came() -> None:
    """``received`` is the injected clock's."""
    rig = Rig()
    rig.server.put("a")
    rig.clock.advance(5)
    await rig.turn()
    assert rig.told.events[0].received == rig.clock.now  # type: ignore[union-attr]

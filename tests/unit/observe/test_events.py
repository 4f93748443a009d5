# SPDX-License-Identifier: Apache-2.0
"""Events reach the API server without ever holding anything up, and without flooding it."""

import asyncio
from typing import Any

import msgspec

from kproxy.observe import events
from kproxy.observe.events import Action, Reason, Recorder, Weight, object_reference
from kproxy.table.clock import FakeClock
from kproxy.table.errors import SourceError


class Api:
    """Takes what is posted, or refuses it."""

    def __init__(self, *errors: SourceError) -> None:
        self.posted: list[tuple[str, dict[str, Any]]] = []
        self.patched: list[tuple[str, dict[str, Any]]] = []
        self.errors = list(errors)

    async def post(self, path: str, body: bytes) -> bytes:
        """Take an object."""
        if self.errors:
            raise self.errors.pop(0)
        self.posted.append((path, msgspec.json.decode(body)))
        return body

    async def patch(self, path: str, body: bytes) -> bytes:
        """Take a change."""
        self.patched.append((path, msgspec.json.decode(body)))
        return body


class Desk:
    """A recorder with its clock and counts."""

    def __init__(self, *, per_minute: int = 60) -> None:
        self.clock = FakeClock()
        self.counts: dict[str, int] = {}
        self.recorder = Recorder("n1", clock=self.clock, per_minute=per_minute, counted=self._count)

    def _count(self, result: str) -> None:
        self.counts[result] = self.counts.get(result, 0) + 1

    def tell(self, note: str = "port taken") -> None:
        """Tell of a Service."""
        about = object_reference("Service", "shop/web")
        self.recorder.tell(Weight.WARNING, Reason.HEALTH_PORT, Action.LISTEN, note, about)

    async def send(self, api: Api) -> None:
        """Let the sender run until all is sent."""
        running = asyncio.create_task(self.recorder.run(api))
        for _ in range(50):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_an_event_says_what_happened_to_what() -> None:
    """As events.k8s.io/v1 wants it, in the namespace of its object."""
    desk, api = Desk(), Api()
    desk.tell()
    await desk.send(api)
    path, event = api.posted[0]
    assert path == "/apis/events.k8s.io/v1/namespaces/shop/events"
    assert event["regarding"] == {
        "apiVersion": "v1",
        "kind": "Service",
        "name": "web",
        "namespace": "shop",
        "uid": "shop/web",
    }
    assert event["reason"] == "FailedToStartServiceHealthcheck"
    assert (event["action"], event["type"], event["note"]) == ("Listen", "Warning", "port taken")
    assert event["reportingController"] == "kproxy"
    assert event["eventTime"] == "1970-01-01T00:16:40.000000Z"


async def test_what_concerns_the_node_is_told_of_the_node() -> None:
    """Nodes have no namespace, their Events live in default, and their name serves as UID."""
    desk, api = Desk(), Api()
    desk.recorder.tell(Weight.NORMAL, Reason.STARTING, Action.START, "")
    await desk.send(api)
    path, event = api.posted[0]
    assert "/namespaces/default/" in path
    assert (event["regarding"]["kind"], event["regarding"]["uid"]) == ("Node", "n1")


async def test_the_same_thing_is_counted_and_written_again_after_six_minutes() -> None:
    """As a series of the Event that is there."""
    desk, api = Desk(), Api()
    for _ in range(10):
        desk.tell()
        await desk.send(api)
        desk.clock.advance(60.0)
    assert len(api.posted) == 1
    assert [body["series"]["count"] for _, body in api.patched] == [7]
    assert api.patched[0][0].startswith("/apis/events.k8s.io/v1/namespaces/shop/events/web.")
    assert desk.counts["repeated"] == 8


async def test_a_flood_is_cut() -> None:
    """More than the agreed number a minute is dropped, and telling never blocks."""
    desk, api = Desk(per_minute=3), Api()
    for number in range(events.QUEUE + 20):
        desk.tell(f"number {number}")
    for _ in range(10):
        await desk.send(api)
    assert len(api.posted) == 3
    assert desk.counts["dropped"] == events.QUEUE + 17


async def test_a_server_that_forbids_events_is_asked_once() -> None:
    """Missing permissions cost the Event and nothing else."""
    desk, api = Desk(), Api(SourceError("forbidden", status=403))
    desk.tell()
    desk.tell("another")
    await desk.send(api)
    assert len(api.posted) == 1
    assert desk.counts == {"failed": 1, "sent": 1}

# SPDX-License-Identifier: Apache-2.0
"""Recording and replaying."""

import asyncio
from pathlib import Path

import pytest

from kproxy.objects.decode import convert
from kproxy.objects.events import Broken, Delete, Event, Host, HostAddress, Kind, Synced, Upsert
from kproxy.sources.replay import Recorder, ReplaySource
from kproxy.table.clock import FakeClock
from kproxy.table.errors import ObjectError

META = {"name": "web", "namespace": "shop", "annotations": {"a": "b"}}
EVENTS: list[Event] = [
    Upsert(convert(Kind.SERVICE, {"metadata": META, "spec": {"ports": [{"port": 80}]}}), 5.0),
    Upsert(convert(Kind.ENDPOINT_SLICE, {"metadata": META, "endpoints": [{"addresses": ["10.1.0.1"]}]}), 5.5),
    Upsert(convert(Kind.NODE, {"metadata": {"name": "n"}}), 6.0),
    Upsert(convert(Kind.SERVICE_CIDR, {"metadata": {"name": "k"}, "spec": {"cidrs": ["10.96.0.0/16"]}}), 6.0),
    Synced(Kind.SERVICE),
    Host((HostAddress("eth0", "10.0.0.1", 24),), 7.0),
    Broken(Kind.SERVICE, "shop/bad", "mend it"),
    Broken(None, "a.yaml", ""),
    Delete(Kind.SERVICE, "shop/web", 8.0),
]


async def replayed(path: Path, *, speed: float = 0.0) -> list[Event]:
    """Replay a whole recording."""
    events: list[Event] = []
    task = asyncio.create_task(ReplaySource(path, speed=speed, clock=FakeClock(1.0)).run(events.append))
    async with asyncio.timeout(10):
        while len(events) < len(EVENTS) and not task.done():  # noqa: ASYNC110 - a source tells no end
            await asyncio.sleep(0.001)
    if not task.done():
        task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()):
        raise error
    return events


async def test_every_event_survives_the_file(tmp_path: Path) -> None:
    """What was recorded is passed on and told again, at the new clock's time; a second recording is appended."""
    path = tmp_path / "recording"
    passed: list[Event] = []
    for part in (EVENTS[:4], EVENTS[4:]):
        with Recorder(path, passed.append) as record:
            for event in part:
                record(event)
    assert passed == EVENTS
    for speed in (0.0, 1000.0):
        again = await replayed(path, speed=speed)
        assert [type(event) for event in again] == [type(event) for event in EVENTS]
        for event, original in zip(again, EVENTS, strict=True):
            assert getattr(event, "received", 1.0) == 1.0
            if isinstance(event, Upsert) and isinstance(original, Upsert):
                assert event.object == original.object
            elif not isinstance(event, Delete | Host):
                assert event == original


async def test_a_line_that_is_no_event_is_named(tmp_path: Path) -> None:
    """With its number; what came before has been told."""
    path = tmp_path / "recording"
    with Recorder(path, lambda _: None) as record:
        record(EVENTS[4])
    with path.open("a") as file:
        file.write('{"type":"Upsert","obj\n')
    with pytest.raises(ObjectError, match="line 2 is no event"):
        await replayed(path)

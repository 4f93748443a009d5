# SPDX-License-Identifier: Apache-2.0
"""One process relieves another: it gets the sockets, the one before rests, lets go, and ends with its last connection."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from kproxy.daemon import ending, modes
from kproxy.daemon.ending import Ending
from kproxy.daemon.feed import Feed
from kproxy.daemon.gate import Open
from kproxy.daemon.modes import Part
from kproxy.daemon.regime import Regime
from kproxy.daemon.succession import Predecessor
from kproxy.daemon.switch import Switch
from kproxy.daemon.tasks import first_ended
from kproxy.dataplanes.fake import FakeDataplane, FakeKernel, FakeRelay
from kproxy.objects.decode import convert
from kproxy.objects.events import Host, Kind, Synced, Upsert
from kproxy.routing.router import Router
from kproxy.routing.settings import Settings
from kproxy.table.clock import SystemClock
from kproxy.table.terms import Family, Mode
from tests.manifests import endpoint_slice, service
from tests.unit.daemon.tables import Witness

NUMBERS = itertools.count()


class RelayingFake(FakeDataplane):
    """A fake with a relay."""

    def __init__(self, kernel: FakeKernel, relay: FakeRelay) -> None:
        super().__init__(Family.IPV4, kernel=kernel, mode=Mode.USERSPACE)
        self.relay = relay


class Process:
    """A daemon's switch and its ending, over a fake kernel and relay."""

    def __init__(self, name: str, kernel: FakeKernel | None = None) -> None:
        self.kernel, self.relay = kernel or FakeKernel(), FakeRelay()
        clock, witness, settings = SystemClock(), Witness(), Settings(mode=Mode.NFTABLES, node="n1")
        router = Router(settings)
        feed = Feed(router, clock=clock, gate=Open(), resolved=witness.resolved)
        parts = {Part.NFTABLES: [RelayingFake(self.kernel, self.relay)]}
        first = Regime(settings, router, feed, parts, clock=clock, observer=witness)
        self.switch = Switch(first, _nothing, clock=clock, observer=witness, serves=_nobody)
        self.ending = Ending(self.switch, clock=clock, name=name)
        self.witness = witness

    def tell(self, *members: int) -> None:
        """Tell of a Service with these endpoints."""
        self.switch.emit(Upsert(convert(Kind.SERVICE, service(0))))
        self.switch.emit(Upsert(convert(Kind.ENDPOINT_SLICE, endpoint_slice(0, members))))
        self.switch.emit(Host(()))
        for kind in Kind:
            self.switch.emit(Synced(kind))

    async def run(self) -> None:
        """Run to the end, as the app does."""
        try:
            await first_ended(self.ending.wait(), self.switch.run())
            await self.ending.finish()
        finally:
            self.switch.close()
            self.ending.close()

    @property
    def held(self) -> int:
        """Return how many endpoints the kernel holds."""
        return sum(len(route.all) for route in self.kernel.committed.routes.values())


def _nothing(part: Part, settings: Settings) -> Sequence[FakeDataplane]:
    return []


async def _nobody(regime: Regime) -> None:
    """Tell nobody."""


@pytest.fixture(autouse=True)
def _looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "LOOK", 0.01)
    monkeypatch.setattr(modes, "MODES", {Mode.NFTABLES: (Part.NFTABLES,)})


@pytest.fixture
def name() -> str:
    """Return a name for the socket that no other test has."""
    return f"\0kproxy-test-{os.getpid()}-{next(NUMBERS)}"


@asynccontextmanager
async def _running(process: Process) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.ensure_future(process.run())
    process.tell(1)
    await process.switch.in_force()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _found(name: str, *parts: Part) -> AsyncIterator[Predecessor]:
    """Find the process that listens there, for one that serves these parts."""
    async with asyncio.timeout(10):
        while not (found := await asyncio.to_thread(Predecessor.find, parts, name)):  # noqa: ASYNC110 - until it listens
            await asyncio.sleep(0.01)
    try:
        yield found
    finally:
        found.close()


async def test_the_next_process_gets_the_sockets_and_the_last_connection_ends_the_one_before(name: str) -> None:
    """It rests from the moment that the other writes, and drains once the other's tables are in force."""
    process = Process(name)
    async with _running(process) as task, _found(name, Part.NFTABLES) as predecessor:
        channel = await asyncio.to_thread(predecessor.sockets, Part.NFTABLES)
        assert channel is not None
        assert await asyncio.to_thread(os.read, channel, 100) == b"sockets"
        process.tell(1, 2)
        await _until(lambda: process.held == 2)
        predecessor.begin()
        await _until(lambda: process.switch.now.lanes[0].due() == float("inf"))
        process.relay.clients = 1
        predecessor.done()
        gone = asyncio.ensure_future(predecessor.gone())
        await _until(lambda: process.relay.draining is not None)
        assert not gone.done()
        process.relay.clients = 0
        async with asyncio.timeout(10):
            await gone
            await task
        assert process.held == 2


async def test_a_next_process_that_dies_changes_nothing(name: str) -> None:
    """The one before works again, and reads anew what the other may have written."""
    process = Process(name)
    async with _running(process) as task, _found(name, Part.NFTABLES) as predecessor:
        predecessor.begin()
        await _until(lambda: process.switch.now.lanes[0].due() == float("inf"))
        process.kernel.change_by_others()
        predecessor.close()
        await _until(lambda: process.held == 1)
        assert not task.done()
        assert process.relay.draining is None


async def test_what_the_next_process_does_not_serve_leaves_with_the_one_before(name: str) -> None:
    """It was started in another mode: the old mode's rules go once their connections have ended."""
    process = Process(name)
    async with _running(process) as task, _found(name) as predecessor:
        process.relay.clients = process.kernel.established = 1
        predecessor.done()
        await _until(lambda: process.kernel.retiring)
        process.relay.clients = process.kernel.established = 0
        async with asyncio.timeout(10):
            await task
        assert not process.held
        assert not process.kernel.retiring


async def test_a_signal_waits_for_connections_through_a_relay(name: str) -> None:
    """New clients are served all the while; without any connection the process ends, its rules stay."""
    process = Process(name)
    async with _running(process) as task, _found(name):  # by now it listens, and for signals too
        process.relay.clients = 1
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.1)
        assert not task.done()
        process.tell(1, 2, 3)
        await _until(lambda: process.held == 3)
        process.relay.clients = 0
        async with asyncio.timeout(10):
            await task
        assert process.relay.draining is None
        assert process.held == 3


async def test_nobody_is_there_to_be_relieved(name: str) -> None:
    """A first process finds none."""
    assert await asyncio.to_thread(Predecessor.find, (Part.NFTABLES,), name) is None


async def _until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - fakes tell nobody
            await asyncio.sleep(0.01)

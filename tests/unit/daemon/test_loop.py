# SPDX-License-Identifier: Apache-2.0
"""The loop resolves bursts once, keeps families apart, and runs on a real event loop."""

import asyncio
import math

import pytest

from kproxy.daemon.feed import Feed
from kproxy.daemon.gate import Gate, Open
from kproxy.daemon.lane import Timing
from kproxy.daemon.loop import Loop
from kproxy.dataplanes.fake import FakeDataplane, FakeKernel
from kproxy.objects.events import Delete, Event, Host, Kind, Synced
from kproxy.table.clock import FakeClock, SystemClock
from kproxy.table.errors import ConfigError
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Family
from tests.unit.daemon.tables import ScriptedRouter, Witness, key, route, routes_of, table

NEWS: Event = Delete(Kind.SERVICE, "shop/x")


class Cluster:
    """A loop over two fake kernels and a scripted router, on a fake clock."""

    def __init__(self, first: RoutingTable, *, gate: Gate | None = None, minimum: float = 1.0) -> None:
        self.clock = FakeClock()
        self.kernels = {family: FakeKernel() for family in Family}
        self.router = ScriptedRouter(first)
        self.witness = Witness()
        self.loop = Loop(
            Feed(self.router, clock=self.clock, gate=gate or Open(), resolved=self.witness.resolved),
            [FakeDataplane(family, kernel=kernel) for family, kernel in self.kernels.items()],
            clock=self.clock,
            observer=self.witness,
            timing=Timing(minimum=minimum),
        )

    async def pass_time(self, seconds: float) -> None:
        """Let time pass and everything that falls due happen."""
        until = self.clock.now + seconds
        while (due := min(map(self.loop.due, self.loop.lanes))) <= until:
            self.clock.now = max(self.clock.now, due)
            for lane in self.loop.lanes:
                await self.loop.step(lane)
        self.clock.now = until


def _both(name: str, *endpoints: str) -> RoutingTable:
    return table(route(name, *endpoints), route(name, *endpoints, family=Family.IPV6))


async def test_a_burst_is_resolved_once_and_reaches_both_families() -> None:
    """Events wait for a lane that can use the result."""
    cluster = Cluster(_both("a", "1"))
    cluster.loop.emit(NEWS)
    await cluster.pass_time(0.0)
    cluster.router.next = _both("a", "1", "2")
    for _ in range(100):
        cluster.loop.emit(NEWS)
        await cluster.pass_time(0.001)
    await cluster.pass_time(1.0)
    assert [len(batch) for batch in cluster.router.batches] == [1, 100]
    for family, kernel in cluster.kernels.items():
        assert dict(kernel.committed.routes) == routes_of([route("a", "1", "2", family=family)], family)
    assert cluster.loop.settled


async def test_one_familys_trouble_is_not_the_others() -> None:
    """IPv6 is refused for minutes; IPv4 never waits."""
    cluster = Cluster(_both("a", "1"), minimum=0.0)
    cluster.kernels[Family.IPV6].refuse_everything()
    cluster.loop.emit(NEWS)
    await cluster.pass_time(60.0)
    cluster.router.next = _both("b", "1")
    cluster.loop.emit(NEWS)
    await cluster.pass_time(0.0)
    assert key("b") in cluster.kernels[Family.IPV4].committed.routes
    assert not cluster.kernels[Family.IPV6].committed.routes

    cluster.kernels[Family.IPV6].accept()
    await cluster.pass_time(31.0)
    assert cluster.kernels[Family.IPV6].committed.routes.keys() == {key("b", Family.IPV6)}


async def test_nothing_is_committed_while_the_gate_is_shut() -> None:
    """What the gate waits for can be asked."""
    cluster = Cluster(_both("a", "1"), gate=Gate(1_000.0, node="n1", wants_node=False))
    cluster.loop.emit(Synced(Kind.SERVICE))
    await cluster.pass_time(600.0)
    assert cluster.kernels[Family.IPV4].transactions == []
    assert "EndpointSlices" in cluster.loop.feed.missing

    cluster.loop.emit(Synced(Kind.ENDPOINT_SLICE))
    cluster.loop.emit(Host(()))
    await cluster.pass_time(0.0)
    assert cluster.kernels[Family.IPV4].committed.routes.keys() == {key("a")}
    assert cluster.loop.feed.missing == ()


async def test_a_sync_tells_when_its_changes_were_received_resolved_and_committed() -> None:
    """Latency is made of nothing else."""
    cluster = Cluster(_both("a", "1"))
    cluster.loop.emit(NEWS)
    await cluster.pass_time(2.0)
    cluster.router.next = _both("a", "2")
    cluster.loop.emit(Delete(Kind.SERVICE, "shop/x", received=cluster.clock.now - 0.5))
    await cluster.pass_time(0.0)
    times = cluster.witness.syncs[-1].changes[0]
    assert (times.received, times.resolved, times.committed) == (1_001.5, 1_002.0, 1_002.0)


async def test_an_idle_loop_has_nothing_due_but_its_looks() -> None:
    """Before the first event nothing at all."""
    cluster = Cluster(_both("a", "1"))
    assert {cluster.loop.due(lane) for lane in cluster.loop.lanes} == {math.inf}


async def test_it_runs_on_the_machines_clock() -> None:
    """A large first table goes through a thread, a change inline, a flush is repaired."""
    routes = [route("a", "1", number=number) for number in range(1)]
    kernel, router, witness = FakeKernel(), ScriptedRouter(table(*routes)), Witness()
    clock = SystemClock()
    loop = Loop(
        Feed(router, clock=clock, gate=Open(), resolved=witness.resolved),
        [FakeDataplane(Family.IPV4, kernel=kernel)],
        clock=clock,
        observer=witness,
        timing=Timing(minimum=0.0, poll=0.02),
    )
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(loop.run())
        loop.emit(NEWS)
        await _until(lambda: loop.settled)
        router.next = table(route("a", "1", number=0), route("b", "2"))
        loop.emit(NEWS)
        await _until(lambda: key("b") in kernel.committed.routes)
        kernel.change_by_others()
        await _until(lambda: bool(witness.repairs))
        assert kernel.committed.routes.keys() == {key("a"), key("b")}
        running.cancel()


async def _until(condition: object) -> None:
    assert callable(condition)
    while not condition():  # noqa: ASYNC110 - the fake kernel tells nobody
        await asyncio.sleep(0.005)


async def test_a_node_that_lacks_what_the_configuration_needs_ends_the_run() -> None:
    """With a sentence that names the mend."""
    gate = Gate(SystemClock().monotonic() - 1_000, node="n1", wants_node=False, wants_pod_cidrs=True)
    clock, witness = SystemClock(), Witness()
    feed = Feed(ScriptedRouter(table()), clock=clock, gate=gate, resolved=witness.resolved)
    loop = Loop(feed, [FakeDataplane(Family.IPV4)], clock=clock, observer=witness)
    loop.emit(Synced(Kind.SERVICE))
    loop.emit(Synced(Kind.ENDPOINT_SLICE))
    with pytest.raises(ConfigError, match="podCIDRs"):
        await loop.run()

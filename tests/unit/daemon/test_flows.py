# SPDX-License-Identifier: Apache-2.0
"""Stale UDP flows are cut once the kernel holds the newest table, and never on the way there."""

import asyncio

from kproxy.daemon.flows import LEAST_PAUSE, RETRY, FlowCleaner
from kproxy.routing.stale import Cleanup
from kproxy.table.clock import FakeClock
from kproxy.table.errors import KernelError
from kproxy.table.route import RouteKey
from kproxy.table.routing_table import Changes, RoutingTable, ServiceRoutes, Serving
from kproxy.table.terms import Family, Protocol


class Door:
    """Remembers what it was asked to cut."""

    def __init__(self) -> None:
        self.asked: list[Cleanup] = []
        self.failures = 0

    def cut(self, family: Family, stale: Cleanup) -> int:
        """Cut one flow each time."""
        assert family is Family.IPV4
        if self.failures:
            self.failures -= 1
            raise KernelError("no memory")
        self.asked.append(stale)
        return 1


class Desk:
    """A cleaner of IPv4 with a switch for whether the kernel is up to date."""

    def __init__(self) -> None:
        self.door = Door()
        self.settled = True
        self.cleaned: list[int] = []
        self.cleaner = FlowCleaner(
            Family.IPV4,
            self.door,
            clock=FakeClock(),
            settled=lambda: self.settled,
            cleaned=lambda _family, count, _seconds: self.cleaned.append(count),
        )
        self.table: RoutingTable | None = None

    async def change(self, after: RoutingTable, *services: str) -> float:
        """Tell of a new table and do what is due."""
        self.cleaner.resolved(Changes(self.table, after, services=services))
        self.table = after
        return await self.cleaner.step()


def _dns(*endpoints: str, family: Family = Family.IPV4) -> ServiceRoutes:
    key = RouteKey("kube-system", "dns", "dns", Protocol.UDP, family)
    address = "10.96.0.53" if family is Family.IPV4 else "fd00::53"
    return ServiceRoutes(key.service, serving=(Serving(key, ((address, Protocol.UDP, 53),), frozenset(endpoints)),))


def _table(*services: ServiceRoutes) -> RoutingTable:
    return RoutingTable(services={one.service: one for one in services})


async def test_the_start_looks_at_every_udp_service_once() -> None:
    """Flows of an earlier run may be stale as well."""
    desk = Desk()
    pause = await desk.change(_table(_dns("10.244.0.1:53")))
    assert desk.door.asked == [Cleanup({("10.96.0.53", 53): frozenset({"10.244.0.1:53"})})]
    assert pause >= LEAST_PAUSE
    assert desk.cleaned == [1]


async def test_a_change_looks_at_the_changed_services_only() -> None:
    """And a change without UDP at none."""
    desk = Desk()
    web = ServiceRoutes("shop/web")
    await desk.change(_table(_dns("10.244.0.1:53"), web))
    await desk.change(_table(_dns("10.244.0.1:53"), ServiceRoutes("shop/web", created="x")), "shop/web")
    assert len(desk.door.asked) == 1
    await desk.change(_table(_dns("10.244.0.2:53"), web), "kube-system/dns")
    assert desk.door.asked[1].serving == {("10.96.0.53", 53): frozenset({"10.244.0.2:53"})}


async def test_nothing_is_cut_while_the_kernel_is_behind() -> None:
    """A flow cut too early would be made anew to where it was."""
    desk = Desk()
    desk.settled = False
    await desk.change(_table(_dns("10.244.0.1:53")))
    await desk.change(_table(_dns("10.244.0.2:53")), "kube-system/dns")
    assert not desk.door.asked
    desk.settled = True
    await desk.cleaner.step()
    assert desk.door.asked[0].serving == {("10.96.0.53", 53): frozenset({"10.244.0.2:53"})}


async def test_a_deleted_service_is_cleaned_too() -> None:
    """Its clients would send into nowhere for as long as they send."""
    desk = Desk()
    await desk.change(_table(_dns("10.244.0.1:53")))
    await desk.change(_table(), "kube-system/dns")
    assert desk.door.asked[1] == Cleanup(gone=frozenset({("10.96.0.53", 53)}))


async def test_a_failed_clean_up_is_tried_again() -> None:
    """Nothing of it is forgotten."""
    desk = Desk()
    await desk.change(_table(_dns("10.244.0.1:53")))
    desk.door.failures = 1
    assert await desk.change(_table(_dns("10.244.0.2:53")), "kube-system/dns") == RETRY
    await desk.cleaner.step()
    assert desk.door.asked[1].serving == {("10.96.0.53", 53): frozenset({"10.244.0.2:53"})}


async def test_the_other_familys_flows_are_not_asked_for() -> None:
    """Each family has a cleaner of its own."""
    desk = Desk()
    await desk.change(_table(_dns("[fd00::1]:53", family=Family.IPV6)))
    assert not desk.door.asked


async def test_it_runs_when_woken() -> None:
    """By a change alone where the kernel has nothing to do for it."""
    desk = Desk()
    running = asyncio.create_task(desk.cleaner.run())
    desk.cleaner.resolved(Changes(None, _table(_dns("10.244.0.1:53"))))
    async with asyncio.timeout(5):
        while not desk.door.asked:  # noqa: ASYNC110 - the door tells nobody
            await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

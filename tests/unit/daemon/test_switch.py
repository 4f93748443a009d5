# SPDX-License-Identifier: Apache-2.0
"""Another mode comes beside the one in force, takes over once it is verified, and may be unwanted again at any moment."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from kproxy.daemon import modes
from kproxy.daemon.feed import Feed
from kproxy.daemon.gate import Open
from kproxy.daemon.modes import Part
from kproxy.daemon.regime import Regime
from kproxy.daemon.switch import Switch
from kproxy.dataplanes.fake import FakeDataplane, FakeKernel
from kproxy.objects.decode import convert
from kproxy.objects.events import Host, Kind, Synced, Upsert
from kproxy.routing.router import Router
from kproxy.routing.settings import Settings
from kproxy.table.clock import SystemClock
from kproxy.table.errors import KernelError, Unsupported
from kproxy.table.terms import Family, Mode
from tests.manifests import endpoint_slice, service
from tests.unit.daemon.tables import Witness

NFTABLES, IPTABLES, LOOPBACK = Part.NFTABLES, Part.IPTABLES, Part.LOOPBACK
MODES = {Mode.NFTABLES: (NFTABLES, LOOPBACK), Mode.IPTABLES: (IPTABLES,), Mode.IPVS: (LOOPBACK,)}


@pytest.fixture(autouse=True)
def _modes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three modes of which two share a part."""
    monkeypatch.setattr(modes, "MODES", MODES)
    monkeypatch.setattr(modes, "_asks_for_loopback", lambda _: True)
    monkeypatch.setattr("kproxy.daemon.switch.OPENERS", (NFTABLES, IPTABLES, LOOPBACK))


class Node:
    """A switch over fake kernels, one a part, and the events of one Service."""

    def __init__(self, mode: Mode = Mode.NFTABLES) -> None:
        self.kernels = {part: FakeKernel() for part in (NFTABLES, IPTABLES, LOOPBACK)}
        self.opened: list[FakeDataplane] = []
        self.served: list[Mode] = []
        clock, witness, settings = SystemClock(), Witness(), self.settings(mode)
        router = Router(settings)
        feed = Feed(router, clock=clock, gate=Open(), resolved=witness.resolved)
        parts = {part: self.open(part, settings) for part in MODES[mode]}
        first = Regime(settings, router, feed, parts, clock=clock, observer=witness)
        self.switch = Switch(first, self.open, clock=clock, observer=witness, serves=self.serves)

    def settings(self, mode: Mode) -> Settings:
        """Return settings for a mode."""
        return Settings(mode=mode, node="n1")

    def open(self, part: Part, settings: Settings) -> Sequence[FakeDataplane]:
        """Open a fake over the part's kernel."""
        self.opened.append(FakeDataplane(Family.IPV4, kernel=self.kernels[part], mode=settings.mode))
        return [self.opened[-1]]

    async def serves(self, regime: Regime) -> None:
        """Remember who took over."""
        self.served.append(regime.settings.mode)

    def endpoints(self, *members: int) -> None:
        """Tell of the Service's endpoints."""
        manifest = endpoint_slice(0, members)
        self.switch.emit(Upsert(convert(Kind.ENDPOINT_SLICE, manifest)))

    def start(self) -> None:
        """Tell of the cluster."""
        self.switch.emit(Upsert(convert(Kind.SERVICE, service(0))))
        self.endpoints(1)
        self.switch.emit(Host(()))
        for kind in Kind:
            self.switch.emit(Synced(kind))

    def held(self, part: Part) -> int:
        """Return how many endpoints a kernel holds."""
        return sum(len(route.all) for route in self.kernels[part].committed.routes.values())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something."""
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - a fake kernel tells nobody
                await asyncio.sleep(0.01)


async def _running(node: Node, story: Callable[[Node], Awaitable[None]]) -> None:
    running = asyncio.ensure_future(node.switch.run())
    node.start()
    try:
        await node.switch.in_force()
        await story(node)
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        node.switch.close()
    assert all(plane.closed for plane in node.opened)


async def test_the_next_mode_takes_over_and_the_old_one_leaves() -> None:
    """Its own table is in force before the old one retires; nothing of the old one is left, and changes go on."""

    async def story(node: Node) -> None:
        await node.switch.want(node.settings(Mode.IPTABLES))
        await node.until(lambda: node.switch.now.settings.mode is Mode.IPTABLES and not node.switch.leaving)
        assert node.served == [Mode.IPTABLES]
        assert node.held(IPTABLES) == 1
        assert not any(plane.found() for plane in node.opened if plane.kernel is not node.kernels[IPTABLES])
        node.endpoints(1, 2)
        await node.until(lambda: node.held(IPTABLES) == 2)
        assert node.held(NFTABLES) == 0

    await _running(Node(), story)


async def test_a_mode_that_cannot_serve_changes_nothing() -> None:
    """The probe says so, before anything is written; what was opened for it is closed."""

    async def story(node: Node) -> None:
        node.kernels[IPTABLES].unsupported = Unsupported("iptables is not installed")
        with pytest.raises(KernelError, match="not installed"):
            await node.switch.want(node.settings(Mode.IPTABLES))
        assert node.opened[-1].closed
        assert node.switch.coming is None
        node.endpoints(1, 2)
        await node.until(lambda: node.held(NFTABLES) == 2)

    await _running(Node(), story)


async def test_both_modes_follow_the_cluster_while_one_cannot_get_in() -> None:
    """A kernel that refuses the next mode keeps the old one in force, and no change is missed by either."""

    async def story(node: Node) -> None:
        node.kernels[IPTABLES].refuse_everything()
        await node.switch.want(node.settings(Mode.IPTABLES))
        node.endpoints(1, 2, 3)
        await node.until(lambda: node.held(NFTABLES) == 3)
        assert node.switch.now.settings.mode is Mode.NFTABLES
        assert not node.kernels[NFTABLES].retiring
        node.kernels[IPTABLES].accept()
        await node.until(lambda: node.switch.now.settings.mode is Mode.IPTABLES)
        assert node.held(IPTABLES) == 3

    await _running(Node(), story)


async def test_a_mode_is_unwanted_before_it_has_come() -> None:
    """It leaves again; the old one serves as if nothing had been."""

    async def story(node: Node) -> None:
        node.kernels[IPTABLES].refuse_everything()
        await node.switch.want(node.settings(Mode.IPTABLES))
        await node.switch.want(node.settings(Mode.NFTABLES))
        await node.until(lambda: not node.switch.leaving)
        node.endpoints(1, 2)
        await node.until(lambda: (node.held(NFTABLES), node.held(LOOPBACK)) == (2, 2))
        assert node.served == []
        assert not node.kernels[IPTABLES].retiring

    await _running(Node(), story)


async def test_connections_hold_up_a_mode_that_leaves_and_it_may_be_wanted_back() -> None:
    """Wanted back, it is the same dataplane that is committed to again: its connections never notice."""

    async def story(node: Node) -> None:
        node.kernels[NFTABLES].established = 1
        await node.switch.want(node.settings(Mode.IPTABLES))
        await node.until(lambda: node.switch.leaving == (NFTABLES,))
        assert node.kernels[NFTABLES].retiring
        opened = len(node.opened)
        await node.switch.want(node.settings(Mode.NFTABLES))
        await node.until(lambda: node.switch.now.settings.mode is Mode.NFTABLES and not node.switch.leaving)
        assert node.held(NFTABLES) == 1
        assert not node.kernels[NFTABLES].retiring
        fresh = {plane.kernel for plane in node.opened[opened:]}
        assert node.kernels[NFTABLES] not in fresh

    await _running(Node(), story)


async def test_two_modes_that_share_a_part_keep_it() -> None:
    """It is the same dataplane before and after, also when the switch is called off."""

    async def story(node: Node) -> None:
        shared = next(plane for plane in node.opened if plane.kernel is node.kernels[LOOPBACK])
        await node.switch.want(node.settings(Mode.IPVS))
        await node.until(lambda: node.switch.now.settings.mode is Mode.IPVS and not node.switch.leaving)
        assert [lane.dataplane for lane in node.switch.lanes] == [shared]
        node.endpoints(1, 2)
        await node.until(lambda: node.held(LOOPBACK) == 2)
        node.kernels[NFTABLES].refuse_everything()
        await node.switch.want(node.settings(Mode.NFTABLES))
        await node.switch.want(node.settings(Mode.IPVS))
        node.endpoints(1)
        await node.until(lambda: node.held(LOOPBACK) == 1)
        assert not shared.closed

    await _running(Node(), story)


async def test_what_an_earlier_process_left_of_other_modes_goes() -> None:
    """It was killed in the middle of a switch; what nobody left is only looked for."""

    async def story(node: Node) -> None:
        node.kernels[IPTABLES].committed = node.kernels[NFTABLES].committed
        others = await node.switch.others()
        assert set(others) == {IPTABLES}
        await node.switch.see_off(others)
        await node.until(lambda: not node.switch.leaving)
        assert not node.held(IPTABLES)
        assert node.held(NFTABLES) == 1

    await _running(Node(), story)


async def test_other_settings_of_the_mode_are_no_switch() -> None:
    """They are put in force where they are."""

    async def story(node: Node) -> None:
        await node.switch.want(Settings(mode=Mode.NFTABLES, node="n1", masquerade_all=True))
        assert node.switch.coming is None
        policies = [route.internal for route in node.switch.now.router.table.routes()]
        assert all(policy.outside.masquerade for policy in policies)

    await _running(Node(), story)

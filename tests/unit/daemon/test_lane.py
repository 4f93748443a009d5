# SPDX-License-Identifier: Apache-2.0
"""A lane brings its dataplane to the wanted table, whatever the kernel says on the way."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.daemon.lane import Lane, Timing
from kproxy.dataplanes.contract import Refused
from kproxy.dataplanes.fake import FakeDataplane, FakeKernel, FakeTransaction
from kproxy.table.clock import FakeClock
from kproxy.table.errors import Busy, KernelError
from kproxy.table.node import NodeFacts
from kproxy.table.route import Route
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Family
from tests.examples import examples
from tests.unit.daemon.tables import Witness, changes, key, route, routes_of, table


class Bench:
    """A lane on a fake kernel and a fake clock."""

    def __init__(self, kernel: FakeKernel | None = None, *, minimum: float = 1.0, verify: float = 30.0) -> None:
        self.clock = FakeClock()
        self.kernel = kernel or FakeKernel()
        self.witness = Witness()
        self.dataplane = FakeDataplane(Family.IPV4, kernel=self.kernel)
        self.lane = Lane(self.dataplane, clock=self.clock, observer=self.witness, timing=Timing(minimum, verify))
        self.told: RoutingTable | None = None

    async def tell(self, *routes: Route, node: NodeFacts | None = None) -> None:
        """Want these routes from now on, and do what is due at once."""
        wanted = table(*routes, node=node)
        self.lane.offer(changes(self.told, wanted))
        self.told = wanted
        await self.lane.step()

    async def pass_time(self, seconds: float) -> None:
        """Let time pass and everything that falls due happen in its order."""
        until = self.clock.now + seconds
        while (due := self.lane.due()) <= until:
            self.clock.now = max(self.clock.now, due)
            await self.lane.step()
        self.clock.now = until

    @property
    def in_kernel(self) -> dict[Any, Route]:
        """What the kernel holds."""
        return dict(self.kernel.committed.routes)


async def test_the_first_change_goes_at_once_and_later_ones_wait_for_the_pause() -> None:
    """The pause counts from the end of a run; all that comes within it is one run."""
    bench = Bench()
    await bench.tell(route("a", "1"))
    assert bench.in_kernel == routes_of([route("a", "1")])
    await bench.tell(route("a", "1", "2"))
    await bench.tell(route("a", "1", "2"), route("b", "3"))
    assert len(bench.kernel.transactions) == 1

    await bench.pass_time(0.99)
    assert len(bench.kernel.transactions) == 1
    await bench.pass_time(0.02)
    assert len(bench.kernel.transactions) == 2
    assert bench.in_kernel == routes_of([route("a", "1", "2"), route("b", "3")])
    assert bench.lane.settled


async def test_a_restart_with_nothing_changed_writes_nothing() -> None:
    """What the kernel holds is read back and compared first."""
    kernel = FakeKernel()
    await Bench(kernel).tell(route("a", "1"), route("b", "2"))
    kernel.transactions.clear()

    restarted = Bench(kernel)
    await restarted.tell(route("a", "1"), route("b", "2"))
    assert kernel.transactions == []
    assert restarted.lane.settled
    assert restarted.witness.syncs[0].operations == 0


async def test_a_restart_takes_out_what_is_gone_meanwhile() -> None:
    """Surplus of an earlier run leaves with the first commit."""
    kernel = FakeKernel()
    await Bench(kernel).tell(route("a", "1"), route("b", "2"))
    restarted = Bench(kernel)
    await restarted.tell(route("b", "2", "3"))
    assert restarted.in_kernel == routes_of([route("b", "2", "3")])


async def test_a_refused_route_is_isolated_named_and_retried_with_back_off() -> None:
    """The others are applied in the same run; the bad one keeps what was in force of it."""
    bench = Bench(minimum=0.0)
    await bench.tell(route("a", "1"), route("b", "2"))
    bench.kernel.refuse(key("a"))
    await bench.tell(route("a", "9"), route("b", "2", "3"), route("c", "4"))
    assert bench.in_kernel == routes_of([route("a", "1"), route("b", "2", "3"), route("c", "4")])
    assert bench.witness.refusals == [(key("a"), 0.1)]
    assert not bench.witness.failures

    await bench.pass_time(2.0)
    assert [pause for _, pause in bench.witness.refusals] == [0.1, 0.2, 0.4, 0.8, 1.6]
    bench.kernel.accept()
    await bench.pass_time(1.7)
    assert bench.in_kernel[key("a")] == route("a", "9")
    assert bench.witness.accepted_keys == [key("a")]
    assert not bench.lane.refusals


async def test_a_refused_route_at_start_does_not_keep_the_others_out() -> None:
    """The first table is committed without it."""
    bench = Bench()
    bench.kernel.refuse(key("b"))
    await bench.tell(route("a", "1"), route("b", "2"), route("c", "3"))
    assert bench.in_kernel == routes_of([route("a", "1"), route("c", "3")])
    assert bench.lane.refusals.keys() == {key("b")}


async def test_a_refused_route_that_changes_is_tried_at_once() -> None:
    """A mended object does not wait for the back-off of the broken one."""
    bench = Bench(minimum=0.0)
    bench.kernel.refuse(key("a"))
    await bench.tell(route("a", "1"))
    await bench.pass_time(20.0)
    bench.kernel.accept()
    await bench.tell(route("a", "2"))
    assert bench.in_kernel == routes_of([route("a", "2")])


async def test_a_refused_route_that_goes_is_forgotten() -> None:
    """Nobody retries a deleted Service."""
    bench = Bench(minimum=0.0)
    bench.kernel.refuse(key("a"))
    await bench.tell(route("a", "1"), route("b", "2"))
    await bench.tell(route("b", "2"))
    assert not bench.lane.refusals
    assert bench.witness.accepted_keys == [key("a")]


async def test_a_whole_failure_is_retried_from_a_tenth_of_a_second_doubling_to_thirty() -> None:
    """Nothing is lost meanwhile, and the first success ends it."""
    bench = Bench(minimum=0.0)
    await bench.tell(route("a", "1"))
    bench.kernel.refuse_everything()
    await bench.tell(route("a", "1", "2"))
    await bench.pass_time(200.0)
    pauses = [pause for _, pause in bench.witness.failures]
    assert pauses[:9] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6])
    assert set(pauses[9:]) == {30.0}
    assert bench.in_kernel == routes_of([route("a", "1")])

    bench.kernel.accept()
    await bench.pass_time(31.0)
    assert bench.in_kernel == routes_of([route("a", "1", "2")])
    assert bench.lane.failure == ""


async def test_a_failed_first_run_is_retried() -> None:
    """There is a table from the first moment the kernel takes it."""
    bench = Bench()
    bench.kernel.failure = Busy("somebody holds the lock")
    await bench.tell(route("a", "1"))
    assert bench.lane.table is None
    await bench.pass_time(0.11)
    assert bench.in_kernel == routes_of([route("a", "1")])


class Unspecific(FakeDataplane):
    """A dataplane whose kernel refuses without saying what, as long as one bad route is in the transaction."""

    bad = frozenset({key("c")})

    def commit(self, transaction: FakeTransaction) -> Any:
        """Refuse without blame."""
        if any(step.key in self.bad and step.after for step in transaction.steps):
            return Refused("Invalid argument", retry=False)
        return super().commit(transaction)


async def test_a_culprit_the_kernel_does_not_name_is_narrowed_down() -> None:
    """One Service that the kernel dislikes for unknown reasons does not stop seven others."""
    bench = Bench()
    bench.lane.dataplane = Unspecific(Family.IPV4, kernel=bench.kernel)
    names = "abcdefgh"
    await bench.tell(*(route(name, "1") for name in names))
    assert bench.in_kernel == routes_of([route(name, "1") for name in names if name != "c"])
    assert bench.lane.refusals.keys() == {key("c")}


async def test_narrowing_down_never_takes_away_what_works() -> None:
    """Over a kernel that holds rules of an earlier run, the whole is tried and the whole fails."""
    kernel = FakeKernel()
    await Bench(kernel).tell(*(route(name, "1") for name in "abd"))
    restarted = Bench(kernel)
    restarted.lane.dataplane = Unspecific(Family.IPV4, kernel=kernel)
    await restarted.tell(*(route(name, "1") for name in "abcd"))
    await restarted.pass_time(60.0)
    assert restarted.in_kernel == routes_of([route(name, "1") for name in "abd"])


class Faulty(FakeDataplane):
    """A dataplane with a bug that one route wakes."""

    def compile(self, committed: Any, changes: Any) -> FakeTransaction:
        """Fall over it."""
        if any(change.key == key("b") and change.after for change in changes.routes):
            raise ZeroDivisionError("a bug")
        return super().compile(committed, changes)


async def test_a_fault_of_ours_in_one_service_does_not_stop_the_others() -> None:
    """It is narrowed down like a refusal, and named."""
    bench = Bench()
    bench.lane.dataplane = Faulty(Family.IPV4, kernel=bench.kernel)
    await bench.tell(route("a", "1"), route("b", "1"), route("c", "1"))
    assert bench.in_kernel == routes_of([route("a", "1"), route("c", "1")])
    assert "internal fault" in bench.lane.refusals[key("b")].words


@pytest.mark.parametrize("lost", [None, key("a")])
async def test_what_others_destroy_is_repaired_within_two_seconds(lost: Any) -> None:
    """Whether all or one route was lost; it is counted and the differences are named."""
    bench = Bench(minimum=10.0)
    await bench.tell(route("a", "1"), route("b", "2"))
    await bench.pass_time(1.0)
    bench.kernel.change_by_others(lost)
    await bench.pass_time(2.0)
    assert bench.in_kernel == routes_of([route("a", "1"), route("b", "2")])
    assert len(bench.witness.repairs) == 1
    assert bench.witness.drifts[0]


async def test_somebody_who_fights_us_meets_one_repair_a_second() -> None:
    """Neither gives up, but nobody burns the processor."""
    bench = Bench()
    await bench.tell(route("a", "1"))
    for _ in range(100):
        bench.kernel.change_by_others()
        await bench.pass_time(0.1)
    assert 5 <= len(bench.witness.repairs) <= 11


async def test_a_foreign_change_that_changes_nothing_of_ours_is_not_repaired() -> None:
    """Only differences count."""
    bench = Bench()
    await bench.tell(route("a", "1"))
    bench.kernel.foreign = True
    await bench.pass_time(2.0)
    assert not bench.witness.repairs
    assert len(bench.kernel.transactions) == 1


async def test_a_change_nobody_told_of_is_found_by_the_regular_comparison() -> None:
    """Every syncPeriod the kernel is compared whole."""
    bench = Bench()
    await bench.tell(route("a", "1"))
    bench.kernel.change_by_others()
    bench.kernel.foreign = False
    await bench.pass_time(29.0)
    assert bench.in_kernel == {}
    await bench.pass_time(2.0)
    assert bench.in_kernel == routes_of([route("a", "1")])


class Counted(FakeDataplane):
    """A dataplane that counts how often it is read back."""

    reads = 0

    def read_back(self) -> Any:
        """Count."""
        self.reads += 1
        return super().read_back()


async def test_a_comparison_waits_for_a_quiet_moment_but_not_for_ever() -> None:
    """It holds up changes, so a busy lane puts it off, ten periods at most."""
    bench = Bench(minimum=0.0)
    bench.lane.dataplane = dataplane = Counted(Family.IPV4, kernel=bench.kernel)
    await bench.tell(route("a", "1"))
    for seconds, reads in ((295, 1), (10, 2)):
        for number in range(seconds):
            await bench.pass_time(1.0)
            await bench.tell(route("a", "12345"[number % 5]))
        assert dataplane.reads == reads
    await bench.pass_time(40.0)
    assert dataplane.reads == 3


async def test_a_refused_route_keeps_its_old_form_through_a_repair() -> None:
    """A flush costs the bad Service nothing either: what was in force of it comes back."""
    bench = Bench(minimum=0.0)
    await bench.tell(route("a", "1"), route("b", "2"))
    bench.lane.dataplane = Unspecific(Family.IPV4, kernel=bench.kernel)
    await bench.tell(route("a", "1"), route("b", "2"), route("c", "3"))
    bench.kernel.change_by_others()
    await bench.pass_time(2.0)
    assert bench.in_kernel == routes_of([route("a", "1"), route("b", "2")])


async def test_a_lane_ignores_the_other_family() -> None:
    """News of IPv6 alone cost the IPv4 kernel nothing."""
    bench = Bench(minimum=0.0)
    await bench.tell(route("a", "1"))
    await bench.tell(route("a", "1"), route("b", "2", family=Family.IPV6))
    assert len(bench.witness.syncs) == 1
    assert bench.lane.table is bench.lane.wanted


async def test_the_nodes_facts_are_carried() -> None:
    """A change of the node alone is a change."""
    bench = Bench(minimum=0.0)
    await bench.tell(route("a", "1"))
    await bench.tell(route("a", "1"), node=NodeFacts(name="n2"))
    assert bench.kernel.committed.node == NodeFacts(name="n2")


async def test_an_idle_lane_sleeps_until_the_next_look() -> None:
    """Nothing to do means nothing due but the look for foreign changes."""
    bench = Bench()
    assert bench.lane.due() == math.inf
    await bench.tell(route("a", "1"))
    assert bench.lane.due() - bench.clock.now == pytest.approx(bench.lane.timing.poll)


Step = tuple[Any, ...]
NAMES = st.sampled_from("abcd")
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("set"), NAMES, st.lists(st.sampled_from("12345"), unique=True), st.integers(1, 5)),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("node"), st.sampled_from(["n1", "n2"])),
    st.tuples(st.just("refuse"), NAMES, st.sampled_from([1, 2, 5, -1])),
    st.tuples(st.just("refuse all"), st.sampled_from([1, 3, 8, -1])),
    st.tuples(st.just("fail"),),
    st.tuples(st.just("lose"), st.one_of(st.none(), NAMES)),
    st.tuples(st.just("restart"),),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.05, 0.5, 3.0, 40.0])),
)  # fmt: skip


def _turn(bench: Bench, step: Step) -> None:
    match step:
        case ("refuse", name, times):
            bench.kernel.refuse(key(name), times=times)
        case ("refuse all", times):
            bench.kernel.refuse_everything(times=times)
        case ("fail",):
            bench.kernel.failure = KernelError("no memory")
        case ("lose", name):
            bench.kernel.change_by_others(key(name) if name else None)


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(STEPS, max_size=25))
async def test_after_any_history_the_kernel_comes_to_hold_the_table(steps: Sequence[Step]) -> None:
    """Events, refusals, failures, foreign edits and restarts in any order: once the kernel is well, it holds the table.

    The regular comparison is off: it would heal what the lane itself forgets.
    """
    bench = Bench(verify=math.inf)
    routes: dict[str, Route] = {}
    node = "n1"
    await bench.tell()
    for step in steps:
        match step:
            case ("set", name, endpoints, number):
                taken = {str(item.frontends[0]) for other, item in routes.items() if other != name}
                made = route(name, *endpoints, number=number)
                if str(made.frontends[0]) not in taken:
                    routes[name] = made
            case ("delete", name):
                routes.pop(name, None)
            case ("node", node):
                pass
            case ("wait", seconds):
                await bench.pass_time(seconds)
            case ("restart",):
                bench = Bench(bench.kernel, verify=math.inf)
            case _:
                _turn(bench, step)
        await bench.tell(*routes.values(), node=NodeFacts(name=node))
    bench.kernel.accept()
    bench.kernel.failure = None
    await bench.pass_time(120.0)
    assert bench.in_kernel == routes_of(routes.values())
    assert bench.kernel.committed.node == NodeFacts(name=node)
    assert bench.lane.settled
    assert not bench.lane.refusals

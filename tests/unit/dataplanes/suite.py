# SPDX-License-Identifier: Apache-2.0
"""What every dataplane must do, whatever its mode. A test class of each mode inherits it and says how to open one.

``opened`` gives a dataplane over an empty kernel; ``reopened`` a second one over the same kernel, which knows nothing: that
is a restart. ``vandalised`` lets somebody else delete what is the dataplane's.
"""

from collections.abc import Callable

import msgspec
import pytest

from kproxy.dataplanes.contract import Applied, Committed, Dataplane
from kproxy.table.route import Route
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Family, Method, Mode
from tests.unit.dataplanes.tables import (
    EXTERNAL_LOCAL,
    changes,
    endpoint,
    frontend,
    node,
    nodeport,
    route,
    table,
)


def applied(plane: Dataplane, committed: Committed, before: RoutingTable | None, after: RoutingTable) -> Committed:
    """Commit and settle a change that must go in."""
    answer = plane.commit(plane.compile(committed, changes(before, after)))
    assert isinstance(answer, Applied), answer
    plane.settle()
    return answer.committed


class Suite:
    """The contract, as tests."""

    @pytest.fixture(params=list(Family))
    def family(self, request: pytest.FixtureRequest) -> Family:
        """Both families keep the same contract."""
        family: Family = request.param
        return family

    @pytest.fixture
    def web(self, family: Family) -> Route:
        """Return a Service with two frontends and three endpoints, one of them here."""
        endpoints = [endpoint(family, 1, local=True), endpoint(family, 2), endpoint(family, 3)]
        return route(family, "web", [frontend(family, 1), nodeport(30001)], endpoints, external=EXTERNAL_LOCAL)

    @pytest.fixture
    def one(self, family: Family, web: Route) -> RoutingTable:
        """Return a table with that Service and one without endpoints."""
        return table(node(family), [web, route(family, "idle", [frontend(family, 2)], [])])

    def test_it_says_what_it_is(self, opened: Dataplane, family: Family) -> None:
        """Mode and family can be asked for, and the probe finds nothing missing."""
        opened.probe()

        assert opened.family is family

    def test_what_is_committed_is_what_the_table_says(self, opened: Dataplane, one: RoutingTable) -> None:
        """After a commit nothing differs, whether one asks the state in memory or reads back."""
        committed = applied(opened, opened.read_back(), None, one)

        assert list(opened.verify(committed, one)) == []
        assert list(opened.verify(opened.read_back(), one)) == []

    def test_nothing_is_sent_when_nothing_differs(self, opened: Dataplane, one: RoutingTable) -> None:
        """The same table again is no operation."""
        committed = applied(opened, opened.read_back(), None, one)

        assert opened.compile(committed, changes(one, one)).operations == 0
        assert opened.compile(committed, changes(None, one)).operations == 0

    def test_a_restart_changes_nothing(
        self, opened: Dataplane, reopened: Callable[[], Dataplane], one: RoutingTable
    ) -> None:
        """A dataplane that knows nothing reads back what is there and has nothing to send."""
        applied(opened, opened.read_back(), None, one)
        second = reopened()
        committed = second.read_back()

        assert list(second.verify(committed, one)) == []
        assert second.compile(committed, changes(None, one)).operations == 0

    def test_a_restart_meets_another_table(
        self, opened: Dataplane, reopened: Callable[[], Dataplane], one: RoutingTable, web: Route
    ) -> None:
        """What changed while nobody looked is made good; what nobody wants any more goes."""
        applied(opened, opened.read_back(), None, one)
        after = table(one.node, [msgspec.structs.replace(web, all=web.all[1:])])
        second = reopened()
        committed = applied(second, second.read_back(), None, after)

        assert list(second.verify(committed, after)) == []
        assert list(second.verify(second.read_back(), after)) == []

    def test_every_kind_of_change(self, opened: Dataplane, one: RoutingTable, web: Route, family: Family) -> None:
        """Endpoints come and go, a frontend moves to another Service, a Service goes."""
        other = route(family, "other", [nodeport(30001)], [endpoint(family, 4)])
        steps = [
            table(one.node, [msgspec.structs.replace(web, all=(*web.all, endpoint(family, 9)))]),
            table(one.node, [msgspec.structs.replace(web, all=web.all[:1])]),
            table(one.node, [msgspec.structs.replace(web, frontends=web.frontends[:1]), other]),
            table(one.node, [web]),
            table(one.node, [msgspec.structs.replace(web, affinity=30)]),
            table(one.node, [msgspec.structs.replace(web, method=Method.MH)]),
            table(one.node, []),
            one,
        ]
        committed = applied(opened, opened.read_back(), None, one)
        before = one
        for after in steps:
            committed = applied(opened, committed, before, after)
            assert list(opened.verify(committed, after)) == []
            assert list(opened.verify(opened.read_back(), after)) == []
            committed = opened.read_back()
            before = after

    def test_verify_names_what_differs(self, opened: Dataplane, one: RoutingTable, web: Route) -> None:
        """A table that wants more, less or something else of a Service differs by that Service's name."""
        committed = applied(opened, opened.read_back(), None, one)
        for other in (
            table(one.node, [msgspec.structs.replace(web, all=web.all[:1]), *list(one.routes())[1:]]),
            table(one.node, [msgspec.structs.replace(web, affinity=5), *list(one.routes())[1:]]),
        ):
            assert {difference.key for difference in opened.verify(committed, other)} == {web.key}

    def test_node_facts_change_live(self, opened: Dataplane, one: RoutingTable, family: Family) -> None:
        """Another way to know Pods, other NodePort addresses, new ServiceCIDRs: all without touching Services."""
        committed = applied(opened, opened.read_back(), None, one)
        after = RoutingTable(node(family, pods=None), one.services)
        committed = applied(opened, committed, one, after)

        assert list(opened.verify(committed, after)) == []
        assert list(opened.verify(opened.read_back(), after)) == []
        assert list(opened.verify(opened.read_back(), one)) != []

    def test_a_transaction_prints(self, opened: Dataplane, one: RoutingTable) -> None:
        """A plan can be read by a person: it holds a line at least for each operation, or says nothing."""
        transaction = opened.compile(opened.read_back(), changes(None, one))

        assert transaction.operations > 0
        assert str(transaction).endswith("\n")
        assert str(opened.compile(applied(opened, opened.read_back(), None, one), changes(one, one))) == ""

    def test_counters_name_frontends_and_endpoints(self, opened: Dataplane, one: RoutingTable, web: Route) -> None:
        """Everything that is committed is counted, from zero."""
        applied(opened, opened.read_back(), None, one)
        counters = opened.counters()

        assert {(web.key, str(each)) for each in web.frontends} <= counters.frontends.keys()
        assert {(web.key, each.key) for each in web.all} == set(counters.endpoints)
        assert {traffic.connections for traffic in counters.endpoints.values()} == {0}

    def test_vandalism_is_noticed_once_and_repaired(
        self, opened: Dataplane, one: RoutingTable, vandalised: Callable[[], None]
    ) -> None:
        """Our own changes are no news; somebody else's are, once; reading back and committing again mends them."""
        applied(opened, opened.read_back(), None, one)
        assert not opened.foreign_changes()
        vandalised()
        assert opened.foreign_changes()
        assert not opened.foreign_changes()
        committed = opened.read_back()
        assert list(opened.verify(committed, one)) != []
        committed = applied(opened, committed, None, one)
        assert list(opened.verify(opened.read_back(), one)) == []

    def test_a_method_it_lacks_is_replaced_and_told(self, opened: Dataplane, one: RoutingTable, web: Route) -> None:
        """A Service that asks for a method of another mode is served all the same."""
        after = table(one.node, [msgspec.structs.replace(web, method=Method.LBLCR)])
        answer = opened.commit(opened.compile(opened.read_back(), changes(None, after)))

        assert isinstance(answer, Applied)
        assert set(answer.limits) == {web.key}

    def test_who_sends_no_proxy_protocol_says_so(self, opened: Dataplane, one: RoutingTable, web: Route) -> None:
        """Only a relay can tell endpoints their client; a Service that asks for it is served elsewhere all the same."""
        after = table(one.node, [msgspec.structs.replace(web, proxy_protocol=True)])
        answer = opened.commit(opened.compile(opened.read_back(), changes(None, after)))

        assert isinstance(answer, Applied)
        assert set(answer.limits) == (set() if opened.mode is Mode.USERSPACE else {web.key})

    def test_remove_leaves_nothing(self, opened: Dataplane, reopened: Callable[[], Dataplane], one: RoutingTable) -> None:
        """After ``remove`` the kernel holds nothing of ours, and one can begin anew; whoever asks is told so."""
        assert not opened.found()
        applied(opened, opened.read_back(), None, one)
        assert opened.found()
        assert reopened().found()
        opened.remove()
        empty = opened.read_back()

        assert not opened.found()
        assert list(opened.verify(empty, one)) != []
        assert str(opened.compile(empty, changes(None, one))) == str(opened.compile(opened.empty(), changes(None, one)))
        applied(opened, opened.read_back(), None, one)

    def test_who_has_retired_may_be_wanted_back(self, opened: Dataplane, one: RoutingTable) -> None:
        """Retired, nothing is in force any more though something is left; committing puts it in force again."""
        committed = applied(opened, opened.read_back(), None, one)
        assert opened.retire()
        assert opened.retire()
        assert opened.found()
        committed = opened.read_back()
        assert list(opened.verify(committed, one)) != []
        committed = applied(opened, committed, None, one)

        assert list(opened.verify(opened.read_back(), one)) == []
        assert opened.retire()
        opened.remove()
        assert not opened.found()

    def test_a_restart_finds_the_retired(
        self, opened: Dataplane, reopened: Callable[[], Dataplane], one: RoutingTable
    ) -> None:
        """A process that was killed before it could remove leaves what the next one can."""
        applied(opened, opened.read_back(), None, one)
        opened.retire()
        second = reopened()

        assert second.found()
        assert second.retire()
        second.remove()
        assert not second.found()

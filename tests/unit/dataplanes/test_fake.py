# SPDX-License-Identifier: Apache-2.0
"""The fake keeps the contract, and does on demand what kernels do on bad days."""

from collections.abc import Callable

import pytest

from kproxy.dataplanes.contract import Applied, Refused, Traffic
from kproxy.dataplanes.fake import FakeDataplane, FakeKernel
from kproxy.table.errors import KernelError, Unsupported
from kproxy.table.route import Route
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Family
from tests.unit.dataplanes.suite import Suite, applied
from tests.unit.dataplanes.tables import changes, endpoint, frontend, node, route, table

V4 = Family.IPV4


class TestFake(Suite):
    """The contract, on the fake."""

    @pytest.fixture
    def kernel(self) -> FakeKernel:
        """Return an empty kernel."""
        return FakeKernel()

    @pytest.fixture
    def opened(self, family: Family, kernel: FakeKernel) -> FakeDataplane:
        """Return a dataplane over it."""
        return FakeDataplane(family, kernel=kernel)

    @pytest.fixture
    def reopened(self, family: Family, kernel: FakeKernel) -> Callable[[], FakeDataplane]:
        """Return another one over the same kernel."""
        return lambda: FakeDataplane(family, kernel=kernel)

    @pytest.fixture
    def vandalised(self, kernel: FakeKernel) -> Callable[[], None]:
        """Somebody flushes everything."""
        return kernel.change_by_others


@pytest.fixture
def plane() -> FakeDataplane:
    """Return a fake of its own."""
    return FakeDataplane(V4)


def _service(name: str, host: int) -> Route:
    return route(V4, name, [frontend(V4, host)], [endpoint(V4, host)])


def _two() -> RoutingTable:
    return table(node(V4), [_service("a", 1), _service("b", 2)])


def test_it_refuses_a_route_as_often_as_asked(plane: FakeDataplane) -> None:
    """The route is blamed, nothing changes, and after so many times it goes in."""
    a, _ = _two().routes()
    plane.kernel.refuse(a.key, times=2)
    for _ in range(2):
        answer = plane.commit(plane.compile(plane.read_back(), changes(None, _two())))
        assert isinstance(answer, Refused)
        assert answer.blame == {a.key}
        assert not plane.read_back().routes
    applied(plane, plane.read_back(), None, _two())


def test_it_refuses_everything_until_it_may_accept(plane: FakeDataplane) -> None:
    """Then nobody is to blame."""
    plane.kernel.refuse_everything("No buffer space available")
    answer = plane.commit(plane.compile(plane.read_back(), changes(None, _two())))
    assert answer == Refused("No buffer space available")
    plane.kernel.accept()
    applied(plane, plane.read_back(), None, _two())


def test_it_raises_what_a_kernel_would(plane: FakeDataplane) -> None:
    """A failing commit and an unfit machine."""
    plane.kernel.failure = KernelError("the socket is gone")
    with pytest.raises(KernelError, match="socket"):
        plane.commit(plane.compile(plane.read_back(), changes(None, _two())))
    plane.kernel.unsupported = Unsupported("nft is missing")
    with pytest.raises(Unsupported):
        plane.probe()


def test_malformed_routes_are_refused_by_name(plane: FakeDataplane) -> None:
    """Unsorted endpoints, an endpoint of the other family and a frontend two Services claim."""
    bad = Route(
        _service("bad", 1).key, _service("bad", 1).internal, _service("bad", 1).external, all=(endpoint(Family.IPV6, 1),)
    )
    unsorted = Route(
        _service("bad", 1).key,
        _service("bad", 1).internal,
        _service("bad", 1).external,
        all=(endpoint(V4, 2), endpoint(V4, 1)),
    )
    for broken in (bad, unsorted):
        answer = plane.commit(plane.compile(plane.read_back(), changes(None, table(node(V4), [broken]))))
        assert isinstance(answer, Refused)
        assert answer.blame == {broken.key}
    twice = table(node(V4), [_service("a", 1), _service("b", 1)])
    answer = plane.commit(plane.compile(plane.read_back(), changes(None, twice)))
    assert isinstance(answer, Refused)
    assert len(answer.blame) == 1


def test_changes_that_do_not_fit_are_a_fault_of_the_caller(plane: FakeDataplane) -> None:
    """The loop must know what is in force."""
    with pytest.raises(ValueError, match="not committed"):
        plane.compile(plane.read_back(), changes(_two(), table(node(V4), [])))


def test_counters_can_be_set(plane: FakeDataplane) -> None:
    """Those of what is committed are shown."""
    applied(plane, plane.read_back(), None, _two())
    a, _ = _two().routes()
    plane.kernel.endpoints[a.key, a.all[0].key] = Traffic(7)
    plane.kernel.refused["wrong-port"] = 3

    assert plane.counters().endpoints[a.key, a.all[0].key].connections == 7
    assert plane.counters().refused == {"wrong-port": 3}


def test_deletions_linger_until_settled(plane: FakeDataplane) -> None:
    """Settling sends them once."""
    answer = plane.commit(plane.compile(plane.read_back(), changes(None, _two())))
    assert isinstance(answer, Applied)
    assert plane.kernel.lingering
    plane.settle()
    plane.settle()
    assert not plane.kernel.lingering
    assert plane.kernel.settled == 1

# SPDX-License-Identifier: Apache-2.0
"""Virtual servers over time: what leaves keeps its connections, what is somebody else's stays, counts only grow."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from kproxy.dataplanes.contract import Applied, Refused
from kproxy.dataplanes.ipvs.dataplane import IpvsDataplane
from kproxy.dataplanes.ipvs.layout import Options
from kproxy.kernel.ipvs_values import HeldReal, Operation, RealServer, ServerKey, Statistics, VirtualServer
from kproxy.lab.namespaces import ip, private
from kproxy.table.clock import FakeClock
from kproxy.table.endpoint import Endpoint
from kproxy.table.errors import Unsupported
from kproxy.table.frontend import Frontend
from kproxy.table.route import Route, RouteKey
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Family, FrontendKind, Method, Protocol
from tests.unit.dataplanes.ipvs.test_dataplane import sysctls_below
from tests.unit.dataplanes.suite import applied
from tests.unit.dataplanes.tables import changes, endpoint, frontend, node, nodeport, route, table
from tests.unit.kernel.memory_ipvs import MemoryIpvs

pytestmark = pytest.mark.packets

V4 = Family.IPV4
WEB = ServerKey.at(Protocol.TCP, "10.96.0.1", 80)
ONE, TWO = endpoint(V4, 1), endpoint(V4, 2)


class Bench:
    """A dataplane over an IPVS in memory, and a clock."""

    def __init__(self, path: Path, options: Options) -> None:
        self.door = MemoryIpvs()
        self.clock = FakeClock()
        self._sysctls = sysctls_below(path)
        self.options = options
        self.before: RoutingTable | None = None
        self.plane = self.opened()
        self.committed = self.plane.read_back()

    def opened(self) -> IpvsDataplane:
        """Return a dataplane that knows nothing."""
        return IpvsDataplane(V4, self.options, door=self.door, sysctls=self._sysctls, clock=self.clock.monotonic)

    def put(self, *routes: Route) -> None:
        """Have these Services in force."""
        after = table(node(V4), routes)
        self.committed = applied(self.plane, self.committed, self.before, after)
        self.before = after

    def restart(self) -> None:
        """Begin anew, as a process does."""
        self.plane.close()
        self.plane, before = self.opened(), self.before
        self.committed = self.plane.read_back()
        assert before is not None
        assert list(self.plane.verify(self.committed, before)) == []

    def settle(self, seconds: float) -> None:
        """Let time pass, and the dataplane see to what is left."""
        self.clock.advance(seconds)
        self.plane.settle()

    def weights(self, key: ServerKey = WEB) -> dict[str, int]:
        """Return the weights of a virtual server's real servers."""
        return {real.server.address: real.server.weight for real in self.door.reals(key)}


@pytest.fixture
def options() -> Options:
    """Return what an operator chose."""
    return Options()


@pytest.fixture
def on(tmp_path: Path, options: Options) -> Iterator[Bench]:
    """Work in a namespace of its own."""
    with private():
        ip(["link set lo up"])
        bench = Bench(tmp_path, options)
        yield bench
        bench.plane.close()


def web(*endpoints: Endpoint, **fields: object) -> Route:
    """Return a Service with a ClusterIP."""
    return route(V4, "web", [frontend(V4, 1)], endpoints, **fields)


def test_an_endpoint_that_leaves_keeps_its_connections(on: Bench) -> None:
    """It takes no new ones at once, and goes when the last has ended."""
    on.put(web(ONE, TWO))
    on.door.connections(WEB, ONE.address, ONE.port, active=1)
    on.put(web(TWO))
    assert on.weights() == {ONE.address: 0, TWO.address: 1}
    on.settle(300)
    assert on.weights() == {ONE.address: 0, TWO.address: 1}
    on.door.connections(WEB, ONE.address, ONE.port)
    on.settle(300)
    assert on.weights() == {TWO.address: 1}


def test_a_connection_that_does_not_end_is_not_waited_for_for_ever(on: Bench) -> None:
    """After the deadline the endpoint goes all the same."""
    on.put(web(ONE, TWO))
    on.door.connections(WEB, ONE.address, ONE.port, active=1)
    on.put(web(TWO))
    on.settle(on.options.drain - 1)
    assert ONE.address in on.weights()
    on.settle(31)
    assert on.weights() == {TWO.address: 1}


def test_the_deadline_is_not_put_off_by_comparing(on: Bench) -> None:
    """A comparison reads back, and begins nobody's time anew."""
    on.put(web(ONE, TWO))
    on.door.connections(WEB, ONE.address, ONE.port, active=1)
    on.put(web(TWO))
    on.settle(on.options.drain - 1)
    assert on.before is not None
    assert list(on.plane.verify(on.plane.read_back(), on.before)) == []
    on.settle(31)
    assert on.weights() == {TWO.address: 1}


def test_an_endpoint_that_comes_back_while_it_drains_gets_its_weight_back(on: Bench) -> None:
    """Nothing is deleted and added anew: its connections go on."""
    on.put(web(ONE, TWO))
    on.door.connections(WEB, ONE.address, ONE.port, active=1)
    on.put(web(TWO))
    on.put(web(ONE, TWO))
    on.settle(2 * on.options.drain)

    assert on.weights() == {ONE.address: 1, TWO.address: 1}


def test_a_restart_finds_what_drains(on: Bench) -> None:
    """Weight 0 and not in the table: that is enough to know. Its time begins anew."""
    on.put(web(ONE, TWO))
    on.door.connections(WEB, ONE.address, ONE.port, active=1)
    on.put(web(TWO))
    on.restart()
    on.settle(300)
    assert on.weights() == {ONE.address: 0, TWO.address: 1}
    on.door.connections(WEB, ONE.address, ONE.port)
    on.settle(300)
    assert on.weights() == {TWO.address: 1}


def test_a_service_that_goes_keeps_its_connections(on: Bench) -> None:
    """Its virtual server stays until the last connection has ended, over a restart too; then nothing is left."""
    on.put(web(ONE))
    on.door.connections(WEB, ONE.address, ONE.port, active=1)
    on.put()
    assert on.weights() == {ONE.address: 0}
    on.restart()
    on.settle(300)
    assert WEB in on.door.held
    on.door.connections(WEB, ONE.address, ONE.port)
    on.settle(300)
    assert on.door.held == {}
    assert on.plane.compile(on.plane.read_back(), changes(None, table(node(V4), []))).operations == 0


def test_an_address_that_drains_may_be_another_services_next(on: Bench) -> None:
    """Its virtual server stays and is known as ours, while the last connections of the one before end."""
    on.put(web(ONE))
    on.door.connections(WEB, ONE.address, ONE.port, active=1)
    on.put()
    heir = route(V4, "heir", [frontend(V4, 1)], [TWO])
    on.put(heir)
    assert on.weights() == {TWO.address: 1, ONE.address: 0}
    on.door.connections(WEB, ONE.address, ONE.port)
    on.settle(300)
    assert on.weights() == {TWO.address: 1}
    on.restart()
    on.put()
    on.settle(300)
    assert on.door.held == {}


def test_a_default_scheduler_that_is_missing_is_told_before_anything_is_changed(on: Bench) -> None:
    """The error names the module."""
    on.door.schedulers -= {"rr"}
    with pytest.raises(Unsupported, match="modprobe ip_vs_rr"):
        on.plane.probe()


def test_datagrams_do_not_hold_an_endpoint(on: Bench) -> None:
    """A UDP flow has no end: its endpoint goes at once, and the kernel sends the next packet elsewhere."""
    dns = Frontend(FrontendKind.CLUSTER_IP, Protocol.UDP, "10.96.0.9", 53)
    key = RouteKey("shop", "dns", "", Protocol.UDP, V4)
    udp = ServerKey.at(Protocol.UDP, "10.96.0.9", 53)
    both = msgspec.structs.replace(web(ONE, TWO), key=key, frontends=(dns,))
    on.put(both)
    on.door.connections(udp, ONE.address, ONE.port, active=3)
    on.put(msgspec.structs.replace(both, all=(TWO,)))

    assert on.weights(udp) == {TWO.address: 1}


FOREIGN = VirtualServer(ServerKey.at(Protocol.TCP, "192.0.2.80", 443), "wlc")
FOREIGN_REAL = RealServer("192.0.2.81", 443)


def install(door: MemoryIpvs, server: VirtualServer, *reals: RealServer) -> None:
    """Have somebody else set up a virtual server."""
    operations = [Operation.add_server(server), *(Operation.add_real(server.key, real) for real in reals)]
    assert door.apply(operations) == []


def test_virtual_servers_of_others_are_never_touched(on: Bench) -> None:
    """Neither by commits nor by a restart, nor when everything of ours goes."""
    install(on.door, FOREIGN, FOREIGN_REAL)
    install(on.door, VirtualServer(ServerKey.marked(V4, 0x1234)))
    before = dict(on.door.held)
    on.committed = on.plane.read_back()
    on.put(web(ONE), route(V4, "other", [nodeport(30001)], [TWO]))
    on.restart()
    on.put()
    on.settle(60)
    assert on.door.held == before
    on.put(web(ONE))
    on.plane.remove()
    assert on.door.held == before


def test_a_virtual_server_that_is_there_is_taken_over(on: Bench) -> None:
    """That is how a running kube-proxy is followed: what fits stays as it is, what does not drains."""
    stranger = RealServer("10.244.0.99", 8080)
    install(on.door, VirtualServer(WEB), RealServer(ONE.address, ONE.port), stranger)
    on.door.connections(WEB, stranger.address, stranger.port, active=1)
    on.committed = on.plane.read_back()
    on.door.applied.clear()
    on.put(web(ONE, TWO))

    assert on.weights() == {ONE.address: 1, TWO.address: 1, stranger.address: 0}
    assert [str(each) for each in on.door.applied] == [
        f"-a {WEB} -r {TWO.key} -m -w 1",
        f"-e {WEB} -r 10.244.0.99:8080 -m -w 0",
    ]


@pytest.mark.parametrize("options", [Options(exclude=("10.96.0.0/24",))])
def test_an_excluded_virtual_server_is_left_alone_even_where_a_service_claims_it(on: Bench) -> None:
    """The Service is told so, its other frontends are served."""
    install(on.door, VirtualServer(WEB, "sh"), FOREIGN_REAL)
    before = on.door.held[WEB]
    both = route(V4, "web", [frontend(V4, 1), nodeport(30001)], [ONE])
    after = table(node(V4), [both])
    answer = on.plane.commit(on.plane.compile(on.plane.read_back(), changes(None, after)))

    assert isinstance(answer, Applied)
    assert "excluded" in answer.limits[both.key]
    assert on.door.held[WEB] == before
    assert len(on.door.held) == 2


def test_scheduler_and_affinity_change_in_place(on: Bench) -> None:
    """The virtual server is edited; its real servers and their connections stay."""
    on.put(web(ONE, TWO))
    on.door.applied.clear()
    on.put(web(ONE, TWO, method=Method.LC))
    on.put(web(ONE, TWO, method=Method.LC, affinity=60))

    assert [str(each) for each in on.door.applied] == [f"-E {WEB} -s lc", f"-E {WEB} -s lc -p 60"]


def test_what_the_kernel_refuses_is_taken_back(on: Bench) -> None:
    """The others' servers are as they were."""
    on.put(web(ONE))
    held = dict(on.door.held)
    bad = route(V4, "bad", [frontend(V4, 2)], [TWO], method=Method.SED)
    on.door.schedulers -= {"sed"}
    after = table(node(V4), [web(ONE, TWO), bad])
    answer = on.plane.commit(on.plane.compile(on.committed, changes(on.before, after)))

    assert isinstance(answer, Refused)
    assert on.door.held == held
    assert list(on.plane.verify(on.plane.read_back(), on.before or after)) == []


def counted(on: Bench, connections: int, *, reals: Sequence[Endpoint]) -> None:
    """Let the kernel have counted."""
    held = on.door.held[WEB]
    statistics = Statistics(connections, connections * 10, connections * 10, connections * 100, connections * 100)
    keep = {each.address for each in reals}
    on.door.held[WEB] = msgspec.structs.replace(
        held,
        statistics=statistics,
        reals=tuple(
            HeldReal(each.server, statistics=statistics) if each.server.address in keep else each for each in held.reals
        ),
    )


def test_counts_only_grow(on: Bench) -> None:
    """A virtual server that somebody took away and that came back counts on from where it was."""
    on.put(web(ONE))
    counted(on, 5, reals=[ONE])
    name = (web(ONE).key, str(frontend(V4, 1)))
    first = on.plane.counters()
    assert msgspec.structs.astuple(first.frontends[name]) == (5, 100, 1000)
    assert first.endpoints[web(ONE).key, ONE.key].connections == 5
    on.door.held.clear()
    on.committed, before = on.plane.read_back(), on.before
    assert before is not None
    on.committed = applied(on.plane, on.committed, None, before)
    counted(on, 2, reals=[ONE])

    assert on.plane.counters().frontends[name].connections == 7
    assert on.plane.counters().endpoints[web(ONE).key, ONE.key].connections == 7

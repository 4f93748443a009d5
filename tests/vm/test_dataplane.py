# SPDX-License-Identifier: Apache-2.0
"""The ipvs dataplane over a real kernel: the contract, and what only real connections can show."""

import contextlib
import mmap
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest

from bench.tables import endpoint, facts, replaced, route, table, whole
from kproxy.dataplanes import upstream
from kproxy.dataplanes.contract import Applied, Committed, Dataplane
from kproxy.dataplanes.ipvs.dataplane import IpvsDataplane
from kproxy.dataplanes.ipvs.layout import RULE_PREFERENCE, WORDS
from kproxy.dataplanes.nftables.dataplane import NftablesDataplane
from kproxy.kernel.ipvs_values import ServerKey
from kproxy.lab.namespaces import inside, ip, private
from kproxy.table.clock import FakeClock
from kproxy.table.route import Route
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Family, Method, Protocol
from tests import lookalike
from tests.bed import PORT, Bed, child, echo_forever, serving
from tests.faults.churn import dial_forever
from tests.unit.dataplanes.suite import Suite
from tests.unit.dataplanes.tables import changes
from tests.unit.dataplanes.tables import table as table_of

pytestmark = [pytest.mark.packets, pytest.mark.timeout(600)]

VIP = str(route(0, ()).frontends[0].address)
KEY = ServerKey.at(Protocol.TCP, VIP, 80)
CONNECTIONS = 200
_TAKEN_OVER = 5  # Services of kube-proxy, the first one with a NodePort
_NODE, _NODE_PORT = "172.20.0.1", 30080


def run(*arguments: str, text: str | None = None) -> None:
    """Do something as somebody else would."""
    subprocess.run(arguments, input=text, text=True, check=True, capture_output=True)


class TestContract(Suite):
    """The contract."""

    @pytest.fixture(autouse=True)
    def namespace(self) -> Iterator[None]:
        """Work in a namespace of its own."""
        with private():
            ip(["link set lo up"])
            yield

    @pytest.fixture
    def reopened(self, family: Family) -> Iterator[Callable[[], IpvsDataplane]]:
        """Return another dataplane over the same kernel."""
        with contextlib.ExitStack() as made:

            def reopen() -> IpvsDataplane:
                plane = IpvsDataplane(family)
                made.callback(plane.close)
                return plane

            yield reopen

    @pytest.fixture
    def opened(self, reopened: Callable[[], IpvsDataplane]) -> IpvsDataplane:
        """Return a dataplane over an empty kernel."""
        return reopened()

    @pytest.fixture(params=["table", "servers", "rule"])
    def vandalised(self, request: pytest.FixtureRequest, family: Family) -> Callable[[], None]:
        """Let somebody destroy something of ours."""
        option = "-4" if family is Family.IPV4 else "-6"
        arguments = {
            "table": ["nft", "delete", "table", *WORDS[family].table.split()],
            "servers": ["ipvsadm", "-C"],
            "rule": ["ip", option, "rule", "del", "priority", str(RULE_PREFERENCE)],
        }

        def destroy() -> None:
            run(*arguments[request.param])
            time.sleep(1.0)  # the next look is not at once

        return destroy

    def test_a_method_it_lacks_is_replaced_and_told(self, opened: Dataplane, one: RoutingTable, web: Route) -> None:
        """There is none: this kernel has them all."""
        committed, before = opened.read_back(), None
        for method in Method:
            after = table_of(one.node, [msgspec.structs.replace(web, method=method)])
            answer = opened.commit(opened.compile(committed, changes(before, after)))
            assert isinstance(answer, Applied), answer
            assert answer.limits == {}
            committed, before = answer.committed, after


def name_itself(connection: socket.socket) -> None:
    """Tell a client which address it has met."""
    connection.sendall(connection.getsockname()[0].encode() + b"\n")


def named_forever() -> None:
    """Say the own name to each client, and answer everything with itself."""
    echo_forever(name_itself)


class Open:
    """An established connection, and the endpoint it has met."""

    def __init__(self, bed: Bed, address: str = VIP, port: int = 80) -> None:
        with inside(bed.client.namespace):
            self.socket = socket.create_connection((address, port), timeout=20)
        self.endpoint = self.socket.recv(100).decode().strip()

    def close(self) -> None:
        """End it."""
        self.socket.close()

    def works(self) -> bool:
        """Tell whether a question is answered."""
        self.socket.sendall(b"still there?")
        return self.socket.recv(100) == b"still there?"


@pytest.fixture
def bed() -> Iterator[Bed]:
    """Lay out a client, a node and a server."""
    laid = Bed()
    yield laid
    laid.close()


def committed_by(
    plane: IpvsDataplane, committed: Committed, before: RoutingTable, item: Route
) -> tuple[Committed, RoutingTable]:
    """Commit a changed Service."""
    step = replaced(before, item)
    answer = plane.commit(plane.compile(committed, step))
    assert isinstance(answer, Applied), answer
    plane.settle()
    return answer.committed, step.after


def test_a_rolling_update_breaks_no_connection_before_its_deadline(bed: Bed) -> None:
    """Every endpoint is replaced while 200 connections are open: all go on, and new ones meet new endpoints."""
    clock = FakeClock()
    with child(bed.server, named_forever), inside(bed.node.namespace), contextlib.ExitStack() as opened:
        time.sleep(1.0)
        plane = IpvsDataplane(Family.IPV4, clock=clock.monotonic)
        opened.callback(plane.close)
        members = list(range(4))
        current = table([route(0, [endpoint(number, PORT) for number in members])], facts())
        answer = plane.commit(plane.compile(plane.read_back(), whole(current)))
        assert isinstance(answer, Applied), answer
        committed = answer.committed
        old = {endpoint(number).address for number in members}
        connections = [opened.enter_context(contextlib.closing(Open(bed))) for _ in range(CONNECTIONS)]
        assert {each.endpoint for each in connections} == old
        for number in range(4):
            members[number] += 4
            item = route(0, [endpoint(each, PORT) for each in members])
            committed, current = committed_by(plane, committed, current, item)
            clock.advance(60)
            plane.settle()
            assert all(each.works() for each in connections)
        later = [opened.enter_context(contextlib.closing(Open(bed))) for _ in range(20)]
        assert not old & {each.endpoint for each in later}
        assert list(plane.verify(plane.read_back(), current)) == []
        weights = {real.server.address: real.server.weight for real in plane._door.reals(KEY)}
        assert {address for address, weight in weights.items() if not weight} == old
        clock.advance(plane.options.drain)
        plane.settle()
        assert not old & {real.server.address for real in plane._door.reals(KEY)}
        assert all(each.works() for each in later)
        plane.remove()


def test_others_virtual_servers_stay_and_ours_come_back(bed: Bed) -> None:
    """Ours are deleted by somebody: that is noticed and mended, and nobody else's server is any other afterwards."""
    with inside(bed.node.namespace):
        run("ipvsadm", "-R", text="-A -t 192.0.2.80:443 -s wlc\n-a -t 192.0.2.80:443 -r 192.0.2.81:443 -m -w 7\n")
        foreign = subprocess.run(["ipvsadm", "-Sn"], capture_output=True, text=True, check=True).stdout
        plane = IpvsDataplane(Family.IPV4)
        current = table([route(number, [endpoint(number, PORT)]) for number in range(5)], facts())
        answer = plane.commit(plane.compile(plane.read_back(), whole(current)))
        assert isinstance(answer, Applied), answer
        for _ in range(2):
            assert not plane.foreign_changes()
            run("ipvsadm", "-D", "-t", f"{VIP}:80")
            time.sleep(1.0)  # the next look is not at once
            assert plane.foreign_changes()
            again = plane.commit(plane.compile(plane.read_back(), whole(current)))
            assert isinstance(again, Applied), again
            time.sleep(1.0)
        assert list(plane.verify(plane.read_back(), current)) == []
        plane.remove()
        assert subprocess.run(["ipvsadm", "-Sn"], capture_output=True, text=True, check=True).stdout == foreign
        plane.close()


@pytest.mark.parametrize("make", [IpvsDataplane, NftablesDataplane])
def test_taking_over_from_kube_proxy(make: Callable[[Family], Dataplane], bed: Bed) -> None:
    """Its virtual servers become ours, or stay for what is established; no dial fails or waits, and nothing is left."""
    services = [
        lookalike.Service(
            f"bench/service-{number}",
            str(route(number, ()).frontends[0].address),
            80,
            _backends(number),
            node_port=0 if number else _NODE_PORT,
        )
        for number in range(_TAKEN_OVER)
    ]
    routes = [route(number, [endpoint(2 * number, PORT), endpoint(2 * number + 1, PORT)]) for number in range(_TAKEN_OVER)]
    current = table(routes, facts())
    counts = memoryview(mmap.mmap(-1, 3 * 8)).cast("q")  # dials, failures, slow ones; shared over fork
    with inside(bed.node.namespace):
        for arguments, text in lookalike.ipvs(services, _NODE):
            run(*arguments, text=text)
        run("sysctl", "-w", "net.ipv4.vs.conntrack=1")
        plane = make(Family.IPV4)
    with (
        serving(bed, named_forever),
        child(bed.client, lambda: dial_forever(bed, VIP, counts)),
        inside(bed.node.namespace),
    ):
        held = [Open(bed), Open(bed, _NODE, _NODE_PORT)]
        time.sleep(1.5)
        answer = plane.commit(plane.compile(plane.read_back(), whole(current)))
        assert isinstance(answer, Applied), answer
        plane.settle()
        assert list(plane.verify(plane.read_back(), current)) == []
        time.sleep(1.0)
        spared = upstream.remove(spare=True)
        assert (spared.errors, spared.connections) == ((), 2 if make is NftablesDataplane else 1)
        time.sleep(1.5)
        for each in held:
            assert each.works()
            each.close()
        while upstream.connections():
            time.sleep(0.2)
        assert upstream.remove().errors == ()
        time.sleep(1.5)
        assert upstream.found() == []
        assert list(plane.verify(plane.read_back(), current)) == []
    dials, failures, slow = counts
    assert dials > 20
    assert (failures, slow) == (0, 0)
    plane.close()


def _backends(number: int) -> tuple[tuple[str, int], ...]:
    return tuple((endpoint(each).address, PORT) for each in (2 * number, 2 * number + 1))

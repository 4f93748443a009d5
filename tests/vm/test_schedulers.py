# SPDX-License-Identifier: Apache-2.0
"""Each scheduler hands out connections as its definition says, seen by real packets at the servers."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import pytest

from kproxy.kernel.ipvs_values import Operation, RealServer, ServerKey, VirtualServer
from kproxy.table.terms import Family, Protocol
from tests.vm.way import MARK, PORT, Connection, Datagram, Way

VIP: Final = "10.96.0.1"
TCP: Final = ServerKey.at(Protocol.TCP, VIP, 80)
UDP: Final = ServerKey.at(Protocol.UDP, VIP, 80)
MARKED: Final = ServerKey.marked(Family.IPV4, MARK)
WEIGHTS: Final = {"10.128.0.1": 1, "10.128.0.2": 2, "10.128.0.3": 3}
REALS: Final = tuple(RealServer(address, PORT, weight) for address, weight in WEIGHTS.items())


def from_one_client(count: int, client: str) -> list[Datagram]:
    """Return datagrams of new connections of one client: IPVS remembers those of other tests for five minutes."""
    return [Datagram(client, 20_000 + number, VIP) for number in range(count)]


def from_clients(count: int, port: int, destination: str = VIP) -> list[Datagram]:
    """Return a datagram each of so many clients."""
    return [Datagram(f"172.20.{2 + number // 250}.{1 + number % 250}", port, destination) for number in range(count)]


def to_addresses(count: int, client: str) -> list[Datagram]:
    """Return datagrams of one client to so many of the marked addresses."""
    return [Datagram(client, 30_000 + number, f"10.97.{number // 250}.{1 + number % 250}") for number in range(count)]


def test_rr_takes_turns(way: Way) -> None:
    """Whatever the weights."""
    with way.service(VirtualServer(UDP, "rr"), REALS):
        met = way.send(from_one_client(30, "172.20.1.10"))

    assert all(set(met[turn : turn + 3]) == set(WEIGHTS) for turn in range(0, 30, 3)), met


def test_wrr_takes_turns_by_weight(way: Way) -> None:
    """In six turns each server has as many as its weight says."""
    with way.service(VirtualServer(UDP, "wrr"), REALS):
        met = way.send(from_one_client(60, "172.20.1.11"))

    assert all(Counter(met[turn : turn + 6]) == WEIGHTS for turn in range(0, 60, 6)), met


def by_connections(active: int, weight: int) -> float:
    """``lc``: the fewest connections."""
    del weight
    return active


def by_share(active: int, weight: int) -> float:
    """``wlc``: the fewest connections for the weight."""
    return active / weight


def by_expected_delay(active: int, weight: int) -> float:
    """``sed``: the fewest connections for the weight, the new one included."""
    return (active + 1) / weight


def by_idleness(active: int, weight: int) -> float:
    """``nq``: one without connections, else as ``sed``."""
    return by_expected_delay(active, weight) if active else 0


def by_overflow(active: int, weight: int) -> float:
    """``ovf``: the highest weight, until its connections exceed it."""
    return -weight if active <= weight else 0


def by_rank(active: int, weight: int) -> float:
    """``fo``: the highest weight."""
    del active
    return -weight


@pytest.mark.parametrize(
    ("scheduler", "cost"),
    [
        ("lc", by_connections),
        ("wlc", by_share),
        ("sed", by_expected_delay),
        ("nq", by_idleness),
        ("ovf", by_overflow),
        ("fo", by_rank),
    ],
)
def test_the_server_that_costs_least_is_taken(way: Way, scheduler: str, cost: Callable[[int, int], float]) -> None:
    """At each of nine connections, and of three more after those of the busiest server have ended."""
    connections: list[Connection] = []

    def dial(count: int) -> None:
        for _ in range(count):
            active = Counter(connection.server for connection in connections)
            costs = {address: cost(active[address], weight) for address, weight in WEIGHTS.items()}
            connection = way.dial(VIP)
            connections.append(connection)
            assert costs[connection.server] == min(costs.values()), (active, costs, connection.server)

    with way.service(VirtualServer(TCP, scheduler), REALS):
        try:
            dial(9)
            [(busiest, _)] = Counter(connection.server for connection in connections).most_common(1)
            for connection in [each for each in connections if each.server == busiest]:
                connections.remove(connection)
                connection.close()
            dial(3)
        finally:
            for connection in connections:
                connection.close()


def test_fo_goes_on_to_the_next_when_the_first_is_drained(way: Way) -> None:
    """Weight 0 takes a server out."""
    with way.service(VirtualServer(UDP, "fo"), REALS):
        before = way.send(from_one_client(3, "172.20.1.12"))
        assert way.ipvs.apply([Operation.set_real(UDP, RealServer("10.128.0.3", PORT, 0))]) == []
        after = way.send(from_one_client(3, "172.20.1.13"))

    assert (set(before), set(after)) == ({"10.128.0.3"}, {"10.128.0.2"})


def test_sh_keeps_a_client_at_its_server(way: Way) -> None:
    """Whatever its port; over many clients every server has its share by weight."""
    with way.service(VirtualServer(UDP, "sh"), REALS):
        first = way.send(from_clients(500, 20_001))
        second = way.send(from_clients(500, 20_002))

    assert first == second
    shares_hold(Counter(first), WEIGHTS)


def test_dh_keeps_an_address_at_its_server(way: Way) -> None:
    """Whoever dials it; weights do not count."""
    with way.service(VirtualServer(MARKED, "dh"), REALS):
        first = way.send(to_addresses(500, "172.20.1.1"))
        second = way.send(to_addresses(500, "172.20.1.2"))

    assert first == second
    shares_hold(Counter(first), dict.fromkeys(WEIGHTS, 1))


def shares_hold(met: Counter[str], weights: Mapping[str, int]) -> None:
    """Check that each server has what its weight says, give or take a quarter."""
    whole = met.total() / sum(weights.values())
    assert all(0.75 < met[address] / whole / weight < 1.25 for address, weight in weights.items()), met


@pytest.mark.parametrize("scheduler", ["lblc", "lblcr"])
def test_an_address_stays_where_it_is_cached_until_that_is_too_much(way: Way, scheduler: str) -> None:
    """An address keeps its server while others are given to those with fewer connections; overloaded, it gets another.

    Overloaded is a server with more connections than its weight while another has less than half of its own.
    """
    reals = [RealServer(address, PORT, 2) for address in WEIGHTS]
    connections: list[Connection] = []

    def dial(address: str) -> str:
        connections.append(way.dial(address))
        return connections[-1].server

    with way.service(VirtualServer(MARKED, scheduler), reals):
        try:
            one, other = dial("10.97.0.1"), dial("10.97.0.2")
            assert one != other
            assert [dial("10.97.0.1") for _ in range(2)] == [one, one]
            assert dial("10.97.0.2") == other
            third = dial("10.97.0.1")
            assert third not in {one, other}
        finally:
            for connection in connections:
                connection.close()

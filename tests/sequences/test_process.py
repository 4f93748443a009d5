# SPDX-License-Identifier: Apache-2.0
"""The same sequences with kproxy as a process: restarts, health ports, sysctls, UDP clients. Numbers as elsewhere here."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kproxy.table.terms import Protocol
from tests.conformance.packets.dial import Dial, Dialler, Met
from tests.conformance.packets.flows import enough
from tests.conformance.packets.node import Node, playing_node
from tests.sequences.objects import Place, endpoints, leaving, service
from tests.sequences.process import Process, status, until
from tests.sequences.stage import NODE4, NODE6, OUTSIDE, POD, PODS_HERE

pytestmark = pytest.mark.packets

ONE, TWO, PORT, HEALTH_PORT = "172.30.0.1", "172.30.0.2", 31001, 32000
HERE, FAR, FURTHER = Place("10.180.0.1"), Place("10.180.1.1", "other-node"), Place("10.180.2.1", "third-node")


@pytest.fixture
def node() -> Iterator[Node]:
    """Play the node."""
    with playing_node([NODE4, NODE6], {"pods0": PODS_HERE}, "eth0") as node:
        yield node


@pytest.fixture
def kproxy(node: Node, tmp_path: Path) -> Iterator[Process]:
    """Have a daemon, not started yet, on the node."""
    process = Process(tmp_path)
    yield process
    process.end()


def met(dialler: Dialler, address: str, port: int = 80, source: str = POD, choices: int = 2) -> set[str]:
    """Return everything that dials of an address meet."""
    dial = Dial(source, "pods0" if source == POD else "eth0", address, port, Protocol.TCP)
    outcomes = dialler.dial([dial] * enough(choices))
    assert not any(outcome.odd for outcome in outcomes)
    return {outcome.endpoint if outcome.met is Met.ENDPOINT else outcome.met.value for outcome in outcomes}


def keys(*places: Place) -> set[str]:
    """Return the endpoints of these places at the usual port."""
    return {f"{place.address}:8080" for place in places}


def test_40_services_work_while_and_after_the_process_is_restarted(node: Node, kproxy: Process) -> None:
    """A polite end and a violent one leave the rules in place; the next start takes in what it missed."""
    dialler = Dialler(node)
    kproxy.write("still", service("one", ONE), service("two", TWO), endpoints("two", [HERE, FAR]))
    kproxy.write("moving", endpoints("one", [HERE, FAR]))
    kproxy.start()
    assert met(dialler, ONE) == met(dialler, TWO) == keys(HERE, FAR)

    assert kproxy.end(signal.SIGTERM) == 0
    assert met(dialler, ONE) == met(dialler, TWO) == keys(HERE, FAR)
    kproxy.start()
    assert met(dialler, ONE) == met(dialler, TWO) == keys(HERE, FAR)

    kproxy.end(signal.SIGKILL)
    kproxy.write("moving", endpoints("one", [FAR, FURTHER]))
    assert met(dialler, ONE) == keys(HERE, FAR)
    kproxy.start()
    assert met(dialler, ONE) == keys(FAR, FURTHER)
    assert met(dialler, TWO) == keys(HERE, FAR)


def test_35_the_health_port_turns_red_while_the_node_port_still_serves(node: Node, kproxy: Process) -> None:
    """The load balancer's question is answered by the process, the connections by the kernel."""
    dialler = Dialler(node)
    ports = [("TCP", 80, PORT)]
    balancer = service(
        "one", ONE, ports=ports, type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=HEALTH_PORT
    )
    kproxy.write("still", balancer)
    kproxy.write("moving", endpoints("one", [HERE]))
    kproxy.start()
    until(lambda: status(NODE4, HEALTH_PORT) == 200, kproxy.words)
    kproxy.write("moving", endpoints("one", [leaving(HERE)]))
    until(lambda: status(NODE4, HEALTH_PORT) == 503, kproxy.words)
    assert met(dialler, NODE4, PORT, source=OUTSIDE, choices=1) == keys(HERE)


def test_50_the_close_wait_time_out_is_an_hour(kproxy: Process) -> None:
    """The kernel's default of a minute is raised at the start."""
    time_out = Path("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait")
    assert int(time_out.read_text(encoding="ascii")) == 60
    kproxy.start()
    assert int(time_out.read_text(encoding="ascii")) == 3600


def test_44_a_udp_client_follows_when_the_server_changes(node: Node, kproxy: Process) -> None:
    """A client that sends on and on from one port is cut loose from the server that left, off the sync path."""
    dialler = Dialler(node)

    def sends() -> str:
        (outcome,) = dialler.dial([Dial(POD, "pods0", ONE, 53, Protocol.UDP, 12345)])
        return outcome.endpoint or outcome.met.value

    kproxy.write("still", service("dns", ONE, ports=[("UDP", 53, 0)]))
    kproxy.write("moving", endpoints("dns", [FAR], ports=[("UDP", 53)]))
    kproxy.start()
    assert sends() == "10.180.1.1:53"
    for places, server in (([FURTHER], "10.180.2.1:53"), ([], "REJECT"), ([FAR], "10.180.1.1:53")):
        kproxy.write("moving", endpoints("dns", places, ports=[("UDP", 53)]))
        until(lambda server=server: sends() == server, kproxy.words)  # type: ignore[misc]

# SPDX-License-Identifier: Apache-2.0
"""Stale flows go and all others stay: real UDP flows through real translation rules."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.kernel.conntrack import Conntrack, Destination, TrackedFlow, flow_rules
from kproxy.lab.namespaces import ip
from kproxy.routing.stale import Cleanup, Flow
from kproxy.table.addresses import join_port
from kproxy.table.terms import Family, Protocol
from tests.unit.core.conftest import nft

NODE: Final = {Family.IPV4: "192.0.2.1", Family.IPV6: "2001:db8::1"}
SERVICE: Final = {Family.IPV4: "10.96.0.{}", Family.IPV6: "fd96::{}"}
ENDPOINT: Final = {Family.IPV4: "10.244.0.{}", Family.IPV6: "fd44::{}"}
FAMILIES: Final = pytest.mark.parametrize("family", list(Family))

# Every Service and endpoint is this host itself, where nobody listens: a flow is tracked whether it is answered or not.
NETWORK: Final = (
    "link set lo up",
    "addr add 192.0.2.1/24 dev lo",
    "addr add 2001:db8::1/64 dev lo nodad",
    *(f"route add local {prefix} dev lo" for prefix in ("10.96.0.0/16", "10.244.0.0/16", "fd96::/64", "fd44::/64")),
)


@pytest.fixture
def conntrack(namespace: None) -> Conntrack:
    """Open the door in a namespace where Services 1 to 9 on port 53 are translated to the endpoint of their number."""
    ip(NETWORK)
    rules = [
        f"{word} daddr {SERVICE[family].format(each)} {protocol} dport 53 dnat {word} to {where}:5300"
        for family, word in ((Family.IPV4, "ip"), (Family.IPV6, "ip6"))
        for each in range(1, 10)
        for protocol in ("udp", "tcp")
        for where in [ENDPOINT[family].format(each) if family is Family.IPV4 else f"[{ENDPOINT[family].format(each)}]"]
    ]
    text = "\n".join(["table inet t {", "chain out {", "type nat hook output priority -100;", *rules, "}", "}", ""])
    nft("-f", "-", text=text)
    return Conntrack()


@contextlib.contextmanager
def client(family: Family) -> Iterator[socket.socket]:
    """Open a socket that keeps its port."""
    with socket.socket(socket.AF_INET if family is Family.IPV4 else socket.AF_INET6, socket.SOCK_DGRAM) as opened:
        opened.bind((NODE[family], 0))
        yield opened


def send(family: Family, *destinations: Destination) -> None:
    """Send a datagram to each destination, from one client."""
    with client(family) as sender:
        for destination in destinations:
            sender.sendto(b"x", destination)


def service(family: Family, number: int) -> Destination:
    """Return the frontend of a Service."""
    return (SERVICE[family].format(number), 53)


def served(family: Family, number: int) -> str:
    """Return the endpoint of a Service."""
    return join_port(ENDPOINT[family].format(number), 5300)


def left(conntrack: Conntrack, family: Family) -> set[Destination]:
    """Return where the flows go that are there."""
    return {(flow.destination, flow.port) for flow in conntrack.flows(family, Protocol.UDP)}


@pytest.mark.packets
@FAMILIES
def test_flows_are_listed_as_they_are(conntrack: Conntrack, family: Family) -> None:
    """Both directions, translated and not."""
    send(family, service(family, 1), (SERVICE[family].format(99), 53))

    flows = {flow.destination: flow for flow in conntrack.flows(family, Protocol.UDP)}
    translated, plain = flows[SERVICE[family].format(1)], flows[SERVICE[family].format(99)]
    assert (translated.source, translated.port) == (NODE[family], 53)
    assert (translated.reply_source, translated.reply_port) == (ENDPOINT[family].format(1), 5300)
    assert (translated.reply_destination, translated.reply_destination_port) == (NODE[family], translated.source_port)
    assert (plain.reply_source, plain.reply_port) == (plain.destination, 53)
    assert conntrack.flows(family, Protocol.UDP, SERVICE[family].format(1)) == [translated]
    assert conntrack.flows(family, Protocol.TCP) == []


@pytest.mark.packets
@FAMILIES
@pytest.mark.parametrize("beside", [0, 20], ids=["few", "many"])
def test_only_stale_flows_are_deleted(conntrack: Conntrack, family: Family, beside: int) -> None:
    """Served, scaled to zero, gone, never translated and foreign flows each meet what the rules say.

    Many destinations beside make the kernel show everything; few make it show only what goes to their addresses, or (IPv6)
    to their ports.
    """
    foreign, quiet = (SERVICE[family].format(77), 53), (SERVICE[family].format(88), 53)
    send(family, *(service(family, each) for each in (1, 2, 3, 4)), foreign, quiet, (SERVICE[family].format(1), 54))
    serving = {
        service(family, 1): frozenset([served(family, 1), served(family, 9)]),
        service(family, 2): frozenset([served(family, 9)]),
        service(family, 3): frozenset[str](),
        quiet: frozenset([served(family, 1)]),
    } | {(SERVICE[family].format(200 + each), 100 + each): frozenset[str]() for each in range(beside)}
    swept = conntrack.delete_stale(family, serving, [service(family, 4)])

    assert {(flow.destination, flow.port) for flow in swept.sample} == {
        *(service(family, each) for each in (2, 3, 4)),
        quiet,
    }
    assert swept.deleted == 4
    assert swept.seen == (7 if beside else 6)  # without the foreign flow, or without the one to another port
    assert left(conntrack, family) == {service(family, 1), foreign, (SERVICE[family].format(1), 54)}
    assert conntrack.delete_stale(family, serving, [service(family, 4)]).deleted == 0


@pytest.mark.packets
@FAMILIES
def test_a_gone_frontend_that_answers_itself_is_left_alone(conntrack: Conntrack, family: Family) -> None:
    """Once a frontend is gone its address may be somebody's own: only translated flows are ours to cut."""
    own = (SERVICE[family].format(77), 53)
    send(family, own)

    assert conntrack.delete_stale(family, {}, [own]).deleted == 0
    assert left(conntrack, family) == {own}


@pytest.mark.packets
def test_tcp_is_never_touched(conntrack: Conntrack) -> None:
    """A TCP connection to the same frontend stays, and goes on."""
    endpoint = (ENDPOINT[Family.IPV4].format(1), 5300)
    with socket.create_server(endpoint) as server, socket.create_connection(service(Family.IPV4, 1)) as dialler:
        answer, _ = server.accept()
        assert len(conntrack.flows(Family.IPV4, Protocol.TCP)) == 1

        assert conntrack.cut(Family.IPV4, Cleanup({service(Family.IPV4, 1): frozenset()})) == 0
        assert len(conntrack.flows(Family.IPV4, Protocol.TCP)) == 1
        with answer:
            answer.sendall(b"x")
        assert dialler.recv(1) == b"x"


@pytest.mark.packets
def test_one_family_leaves_the_other_alone(conntrack: Conntrack) -> None:
    """What is looked for may name both families; only the asked one is cleaned."""
    for family in Family:
        send(family, service(family, 1))
    stale = Cleanup({service(family, 1): frozenset() for family in Family})

    assert conntrack.cut(Family.IPV6, stale) == 1
    assert left(conntrack, Family.IPV4) == {service(Family.IPV4, 1)}
    assert left(conntrack, Family.IPV6) == set()


@pytest.mark.packets
def test_many_stale_flows_go_and_few_are_told(conntrack: Conntrack) -> None:
    """More than one message of deletions; the sample is bounded."""
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(client(Family.IPV4)).sendto(b"x", service(Family.IPV4, 1))
    swept = conntrack.delete_stale(Family.IPV4, {service(Family.IPV4, 1): frozenset()}, sample=3)

    assert (swept.seen, swept.deleted, len(swept.sample)) == (300, 300, 3)
    assert str(swept.sample[0]).endswith("-> 10.96.0.1:53, answered by 10.244.0.1:5300")


@pytest.mark.packets
def test_the_same_client_is_balanced_anew(conntrack: Conntrack) -> None:
    """After its flow was cut a client's next datagram is translated by the rules of now."""
    with client(Family.IPV4) as sender:
        sender.sendto(b"x", service(Family.IPV4, 1))
        nft("flush", "chain", "inet", "t", "out")
        nft("add", "rule", "inet", "t", "out", "ip daddr 10.96.0.1 udp dport 53 dnat ip to 10.244.0.2:5300")
        sender.sendto(b"x", service(Family.IPV4, 1))
        (before,) = conntrack.flows(Family.IPV4, Protocol.UDP)
        conntrack.delete_stale(Family.IPV4, {service(Family.IPV4, 1): frozenset([served(Family.IPV4, 2)])})
        sender.sendto(b"x", service(Family.IPV4, 1))
        (after,) = conntrack.flows(Family.IPV4, Protocol.UDP)

    assert (before.source_port, before.reply_source) == (after.source_port, "10.244.0.1")
    assert after.reply_source == "10.244.0.2"


@pytest.mark.packets
def test_a_flow_in_a_zone_is_deleted_there(conntrack: Conntrack) -> None:
    """CNIs put flows into zones; the same tuple in another zone is another flow."""
    zone = "table inet z { chain raw { type filter hook output priority -300; meta mark 7 ct zone set 9; }; }\n"
    nft("-f", "-", text=zone)
    with client(Family.IPV4) as sender:
        sender.sendto(b"x", service(Family.IPV4, 1))
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 7)
        sender.sendto(b"x", service(Family.IPV4, 1))
    assert len(conntrack.flows(Family.IPV4, Protocol.UDP)) == 2

    assert conntrack.delete_stale(Family.IPV4, {service(Family.IPV4, 1): frozenset()}).deleted == 2
    assert conntrack.flows(Family.IPV4, Protocol.UDP) == []


ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"])
DESTINATIONS = st.tuples(ADDRESSES, st.sampled_from([53, 54]))
ENDPOINTS = st.frozensets(DESTINATIONS.map(lambda pair: join_port(*pair)), max_size=3)


@given(
    st.dictionaries(DESTINATIONS, ENDPOINTS, max_size=4), st.frozensets(DESTINATIONS, max_size=3), DESTINATIONS, DESTINATIONS
)
def test_the_core_decides_as_routing_says(
    serving: dict[Destination, frozenset[str]], gone: frozenset[Destination], destination: Destination, source: Destination
) -> None:
    """The plain sets in Rust give each flow the verdict of ``routing.stale``."""
    rules = flow_rules(Family.IPV4, serving, gone)
    verdict = Cleanup(serving, gone - serving.keys()).is_stale(Flow(Protocol.UDP, *destination, *source))

    packed = [socket.inet_aton(address) + port.to_bytes(2, "big") for address, port in (destination, source)]
    assert rules.is_stale(*packed) == verdict
    assert len(rules) == len({*serving, *gone})


def test_a_flow_reads_as_a_sentence() -> None:
    """For the log."""
    flow = TrackedFlow("fd00::9", 4711, "fd96::10", 53, "fd44::7", 5300, "fd00::9", 4711, 0)

    assert str(flow) == "[fd00::9]:4711 -> [fd96::10]:53, answered by [fd44::7]:5300"

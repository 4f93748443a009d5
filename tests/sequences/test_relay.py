# SPDX-License-Identifier: Apache-2.0
"""Userspace mode as clients and endpoints see it, with sockets of their own."""

import socket
import struct
import subprocess
from collections.abc import Iterator

import pytest

from kproxy.config.effective import Effective
from kproxy.daemon import modes
from kproxy.dataplanes.userspace.layout import Options
from kproxy.dataplanes.userspace.opening import open_userspace
from kproxy.lab.namespaces import inside
from kproxy.table.terms import Family, Mode, Protocol
from tests.sequences.relaying import CLIENT, HERE, NODE, Relaying, opened, relaying, said, service

pytestmark = pytest.mark.packets

VIP, OTHER_VIP, VIP6 = "10.96.0.1", "10.96.0.2", "fd00:96::1"
A, B = "10.128.0.1", "10.128.0.2"
BOTH = pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])


@pytest.fixture
def on() -> Iterator[Relaying]:
    """Return the bed."""
    with relaying() as bed:
        yield bed


@BOTH
def test_everybody_is_served_everywhere(on: Relaying, protocol: Protocol) -> None:
    """Outside clients and the node's own processes, at the ClusterIP, the NodePort, 127.0.0.1 and ::1."""
    on.node.ip("addr add fd00:ee::1/128 dev lo nodad")
    one = on.serve(on.server, A, protocol=protocol)
    six = on.serve(on.node, "fd00:ee::1", protocol=protocol)
    on.tell(
        service("web", VIP, [one.key], node_port=30080, protocol=protocol),
        service("six", VIP6, [six.key], node_port=30080, protocol=protocol),
    )

    for host in (on.client, on.node):
        assert on.ask(host, VIP, 80, protocol) == one.key
        assert on.ask(host, NODE, 30080, protocol) == one.key
    assert on.ask(on.node, "127.0.0.1", 30080, protocol) == one.key
    assert on.ask(on.node, "::1", 30080, protocol) == six.key


def test_a_dead_relay_refuses_at_once(on: Relaying) -> None:
    """Rules without a relay make nobody wait."""
    one = on.serve(on.server, A)
    on.tell(service("web", VIP, [one.key], node_port=30080))
    on.stop_relay()

    for host, address, port in ((on.client, VIP, 80), (on.client, NODE, 30080), (on.node, VIP, 80)):
        with pytest.raises(ConnectionRefusedError):
            on.dial(host, address, port)


def test_the_relay_never_dials_itself(on: Relaying) -> None:
    """A Service that names its own address as its endpoint fails, and does not go round in circles."""
    on.tell(service("web", VIP, [f"{VIP}:80"]))

    with pytest.raises(ConnectionError):
        said(on.dial(on.client, VIP, 80))
    (frontend,) = on.planes[0].counters().frontends.values()
    assert frontend.connections == 0


@BOTH
def test_loopback_beside_a_mode_that_translates(protocol: Protocol) -> None:
    """Where nftables mode serves the others, a small relay serves NodePorts on 127.0.0.1 and ::1, if asked to."""
    asked = Effective(mode=Mode.NFTABLES, node_port_addresses=("localhost",), localhost_node_ports=True)
    with relaying(lambda: modes.open_dataplanes(asked, Family)) as on:
        on.node.ip("addr add fd00:ee::1/128 dev lo nodad")
        one, six = on.serve(on.server, A, protocol=protocol), on.serve(on.node, "fd00:ee::1", protocol=protocol)
        on.tell(
            service("web", VIP, [one.key], node_port=30080, protocol=protocol),
            service("six", VIP6, [six.key], node_port=30080, protocol=protocol),
        )

        assert on.ask(on.node, "127.0.0.1", 30080, protocol) == one.key
        assert on.ask(on.node, "::1", 30080, protocol) == six.key
        for host in (on.client, on.node):
            assert on.ask(host, VIP, 80, protocol) == one.key
            assert on.ask(host, NODE, 30080, protocol) == one.key


@BOTH
def test_the_clients_address_is_kept_where_it_can_be(protocol: Protocol) -> None:
    """Asked to, the relay dials endpoints on this node from the client's address: a Pod's, and the node's own."""
    with relaying(lambda: open_userspace(Family, Options(workers=1, keep_source=True))) as on:
        pod, host = on.serve(on.server, A, protocol=protocol), on.serve(on.node, HERE, 9090, protocol)
        on.tell(service("pod", VIP, [pod.key], protocol=protocol), service("host", OTHER_VIP, [host.key], protocol=protocol))

        assert on.ask(on.client, VIP, 80, protocol) == pod.key
        assert on.ask(on.client, OTHER_VIP, 80, protocol) == host.key
        assert [peer for peer, _ in (*pod.asked, *host.asked)] == [CLIENT, CLIENT]


def test_endpoints_are_told_their_client_by_proxy_protocol(on: Relaying) -> None:
    """The header comes first, and says who dialled what."""
    one = on.serve(on.server, A)
    on.tell(service("web", VIP, [one.key], proxy_protocol=True))
    client = on.dial(on.client, VIP, 80)
    said(client)

    heard = b"".join(words for _, words in one.asked)
    assert heard[:16] == b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H", 12)
    addresses = socket.inet_aton(CLIENT) + socket.inet_aton(VIP) + struct.pack("!HH", client.getsockname()[1], 80)
    assert heard[16:28] == addresses


def test_datagrams_are_answered_from_where_they_were_sent(on: Relaying) -> None:
    """One socket asks two Services and can tell their answers apart."""
    servers = [on.serve(on.server, address, protocol=Protocol.UDP) for address in (A, B)]
    vips = (VIP, OTHER_VIP)
    on.tell(*(service(vip, vip, [one.key], protocol=Protocol.UDP) for vip, one in zip(vips, servers, strict=True)))

    with opened(on.client, Protocol.UDP, VIP) as asking:
        for vip in (*vips, *vips):
            asking.sendto(b"who", (vip, 80))
        answers = {asking.recvfrom(100) for _ in range(4)}
    assert answers == {(one.key.encode(), (vip, 80)) for vip, one in zip(vips, servers, strict=True)}


def test_a_flow_of_datagrams_leaves_with_its_endpoint(on: Relaying) -> None:
    """The next datagram of the same client goes to somebody who is there."""
    one, two = (on.serve(on.server, address, protocol=Protocol.UDP) for address in (A, B))
    on.tell(service("dns", VIP, [one.key], protocol=Protocol.UDP))

    with opened(on.client, Protocol.UDP, VIP) as asking:
        asking.connect((VIP, 80))
        assert said(asking) == one.key
        on.tell(service("dns", VIP, [two.key], protocol=Protocol.UDP))
        assert said(asking) == two.key


def test_connections_outlive_every_change(on: Relaying) -> None:
    """Whoever is connected stays so while the endpoint leaves, and while the Service goes; others are turned away."""
    one, two = on.serve(on.server, A), on.serve(on.server, B)
    on.tell(service("web", VIP, [one.key]))
    outside, own = on.dial(on.client, VIP, 80), on.dial(on.node, VIP, 80)
    assert (said(outside), said(own)) == (one.key, one.key)

    on.tell(service("web", VIP, [two.key]))
    assert on.ask(on.client, VIP, 80) == two.key
    assert (said(outside), said(own)) == (one.key, one.key)
    on.tell()
    assert (said(outside), said(own)) == (one.key, one.key)
    with pytest.raises(OSError, match=r"refused|unreachable|timed out|No route"):
        on.dial(on.client, VIP, 80)


def test_what_somebody_else_takes_away_is_put_back(on: Relaying) -> None:
    """Rules that were flushed are noticed and mended; connections that were there go on."""
    one = on.serve(on.server, A)
    on.tell(service("web", VIP, [one.key]))
    connection = on.dial(on.client, VIP, 80)
    assert said(connection) == one.key
    with inside(on.node.namespace):
        subprocess.run(["nft", "flush", "ruleset"], check=True)
        assert on.planes[0].foreign_changes()

    on.repair()
    assert on.ask(on.client, VIP, 80) == one.key
    assert said(connection) == one.key


def test_what_waits_is_reckoned_with(on: Relaying) -> None:
    """A change that is taken back before the last of it was sent ends where it began."""
    one = on.serve(on.server, A)
    with_port = service("web", VIP, [one.key], node_port=30080)
    on.tell(with_port)
    on.tell(service("web", VIP, [one.key]), settled=False)
    on.tell(with_port)

    assert on.ask(on.client, NODE, 30080) == one.key


@BOTH
@pytest.mark.parametrize("where", ["client", "node"])
def test_a_forgotten_connection_is_known_again(on: Relaying, protocol: Protocol, where: str) -> None:
    """The connection tracker may be emptied, by kproxy's own clean-up too, and the endpoint be the next to speak."""
    host = {"client": on.client, "node": on.node}[where]
    with opened(on.server, protocol, A) as server, opened(host, protocol, VIP) as client:
        server.bind((A, 8080))
        if protocol is Protocol.TCP:
            server.listen()
        on.tell(service("web", VIP, [f"{A}:8080"], protocol=protocol))
        client.connect((VIP, 80))
        client.send(b"first")
        with server.accept()[0] if protocol is Protocol.TCP else server.dup() as endpoint:
            endpoint.settimeout(5)
            _, peer = endpoint.recvfrom(100)
            if protocol is Protocol.UDP:
                endpoint.connect(peer)
            with inside(on.node.namespace):
                subprocess.run(["conntrack", "-F"], check=True, capture_output=True)
            endpoint.send(b"more")
            assert client.recv(100) == b"more"
            client.send(b"again")
            assert endpoint.recv(100) == b"again"

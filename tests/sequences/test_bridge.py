# SPDX-License-Identifier: Apache-2.0
"""Pods on a Linux bridge whose frames meet our rules on the bridge, as kubeadm has it, and Pods whose frames do not."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from kproxy.lab.host import Host, join
from kproxy.lab.namespaces import inside
from kproxy.table.terms import Protocol
from tests.sequences.relaying import Relaying, opened, relaying, said, service

pytestmark = pytest.mark.packets

VIP, OTHER, VIP6, GATEWAY = "10.96.0.1", "10.96.0.2", "fd00:96::1", "10.244.0.1"
REMOTE, POD, NEIGHBOUR = "10.128.0.1", "10.244.0.2", "10.244.0.3"
POD6, NEIGHBOUR6 = "fd00:244::2", "fd00:244::3"
BOTH = pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])


class Bridged:
    """The bed, with two Pods on a bridge of its node."""

    def __init__(self, on: Relaying) -> None:
        self.on = on
        self.pod, self.neighbour = Host("pod"), Host("neighbour")
        on.node.ip(
            "link add cni0 type bridge",
            "link set cni0 up",
            f"addr add {GATEWAY}/24 dev cni0",
            "addr add fd00:244::1/64 dev cni0 nodad",
        )
        for host, four, six in ((self.pod, POD, POD6), (self.neighbour, NEIGHBOUR, NEIGHBOUR6)):
            join(host, "eth0", on.node, host.name)
            on.node.ip(f"link set {host.name} master cni0")
            host.ip(
                f"addr add {four}/24 dev eth0",
                f"addr add {six}/64 dev eth0 nodad",
                f"route add default via {GATEWAY}",
                "route add default via fd00:244::1",
            )

    def carry(self, carried: int) -> None:
        """Have frames meet the rules on the bridge, or not."""
        for name in ("iptables", "ip6tables"):
            self.on.node.sysctl(f"net/bridge/bridge-nf-call-{name}={carried}")

    def noticed(self) -> bool:
        """Tell whether both dataplanes have noticed a change."""
        with inside(self.on.node.namespace):
            noticed = [plane.foreign_changes() for plane in self.on.planes]
        return all(noticed)

    def close(self) -> None:
        """Let go of the Pods."""
        self.pod.close()
        self.neighbour.close()


@pytest.fixture(params=[1, 0], ids=["carried", "not carried"])
def bridged(request: pytest.FixtureRequest) -> Iterator[Bridged]:
    """Return the bed, in which it was the other way round until now."""
    with relaying() as on, contextlib.closing(Bridged(on)) as made:
        made.carry(1 - request.param)
        on.tell()
        on.repair()
        made.noticed()
        made.carry(request.param)
        assert made.noticed()
        on.repair()
        yield made


@BOTH
def test_pods_are_served(bridged: Bridged, protocol: Protocol) -> None:
    """By endpoints elsewhere and beside them, at ClusterIP and NodePort, in both families, and the relay sees who asks."""
    on = bridged.on
    remote = on.serve(on.server, REMOTE, protocol=protocol)
    beside = on.serve(bridged.neighbour, NEIGHBOUR, protocol=protocol)
    six = on.serve(bridged.neighbour, NEIGHBOUR6, protocol=protocol)
    on.tell(
        service("remote", VIP, [remote.key], node_port=30080, protocol=protocol),
        service("beside", OTHER, [beside.key], protocol=protocol),
        service("six", VIP6, [six.key], node_port=30080, protocol=protocol),
    )

    for _ in range(3):
        assert on.ask(bridged.pod, VIP, 80, protocol) == remote.key
        assert on.ask(bridged.pod, OTHER, 80, protocol) == beside.key
        assert on.ask(bridged.pod, VIP6, 80, protocol) == six.key
    assert on.ask(bridged.pod, GATEWAY, 30080, protocol) == remote.key
    assert on.ask(bridged.pod, "fd00:244::1", 30080, protocol) == six.key
    assert on.ask(on.client, OTHER, 80, protocol) == beside.key
    assert on.ask(on.node, OTHER, 80, protocol) == beside.key


@BOTH
def test_one_port_of_a_client_may_dial_several_services(bridged: Bridged, protocol: Protocol) -> None:
    """Translation gives the second one another port, which nobody may notice."""
    on = bridged.on
    here, there = (on.serve(on.server, f"10.128.0.{number}", protocol=protocol) for number in (1, 2))
    on.tell(service("here", VIP, [here.key], protocol=protocol), service("there", OTHER, [there.key], protocol=protocol))

    with contextlib.ExitStack() as clients:
        for address, server in ((VIP, here), (OTHER, there)):
            client = clients.enter_context(opened(bridged.pod, protocol, address))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind((POD, 40_000))
            client.connect((address, 80))
            assert said(client) == said(client) == server.key


def test_a_flow_that_conntrack_has_forgotten_is_nobodys(bridged: Bridged) -> None:
    """The same port of a Pod may dial another Service then, and reaches that one."""
    on = bridged.on
    here, there = (on.serve(on.server, f"10.128.0.{number}", protocol=Protocol.UDP) for number in (1, 2))
    on.tell(
        service("here", VIP, [here.key], protocol=Protocol.UDP), service("there", OTHER, [there.key], protocol=Protocol.UDP)
    )

    for address, server in ((VIP, here), (OTHER, there)):
        with opened(bridged.pod, Protocol.UDP, address) as client:
            client.bind((POD, 40_000))
            client.connect((address, 80))
            assert said(client) == server.key
        time.sleep(6.0)  # as long as the relay trusts what it knows, and a little more
        with inside(on.node.namespace):
            subprocess.run(["conntrack", "-D", "-p", "udp"], capture_output=True, check=False)


def test_pods_are_refused_at_once(bridged: Bridged) -> None:
    """Where there is no endpoint, where nobody may dial, and where the relay has died."""
    on = bridged.on
    one = on.serve(on.server, REMOTE)
    on.tell(service("web", VIP, [one.key]), service("none", OTHER, []))

    def refused(address: str, port: int) -> None:
        with pytest.raises(ConnectionRefusedError):
            on.dial(bridged.pod, address, port)

    refused(OTHER, 80)
    refused(VIP, 81)
    refused(GATEWAY, 10246)  # the relay's own port
    on.stop_relay()
    refused(VIP, 80)


def test_connections_of_pods_outlive_their_service(bridged: Bridged) -> None:
    """What is established goes on, whatever becomes of the frontend and of the sysctls."""
    on = bridged.on
    one = on.serve(on.server, REMOTE)
    on.tell(service("web", VIP, [one.key]))
    connection = on.dial(bridged.pod, VIP, 80)
    assert said(connection) == one.key
    on.tell()
    assert said(connection) == one.key
    bridged.carry(0)
    on.repair()
    assert said(connection) == one.key

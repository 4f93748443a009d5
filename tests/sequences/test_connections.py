# SPDX-License-Identifier: Apache-2.0
"""What happens to a TCP connection over a Service after it is made. Numbers are those of upstream's end-to-end list."""

import re
import socket
import struct
import subprocess
import time
from collections.abc import Iterator

import msgspec
import pytest

from kproxy.config.defaults import with_defaults
from kproxy.config.schema import Conntrack, KubeProxyConfiguration
from kproxy.dataplanes.nftables.dataplane import NftablesDataplane
from kproxy.kernel.conntrack_sysctls import conntrack_sysctls
from kproxy.kernel.sysctl import Sysctls
from kproxy.lab.namespaces import inside
from kproxy.routing.diff import changes_from_nothing
from kproxy.routing.router import Router
from kproxy.table.terms import Family
from tests.bed import PORT, Bed
from tests.conformance.packets.wire import internet_checksum, packed
from tests.sequences.objects import Place, endpoints, service
from tests.sequences.stage import SETTINGS, cluster

pytestmark = pytest.mark.packets

VIP, SERVER = "172.30.0.1", "10.128.0.1"


@pytest.fixture
def bed() -> Iterator[Bed]:
    """Have a client and a server with a node between them that serves one Service."""
    bed = Bed()
    router = Router(
        msgspec.structs.replace(SETTINGS, cluster_cidrs=("172.20.0.0/16",))
    )  # the client is a Pod: its source stays
    router.apply(cluster(service("web", VIP), endpoints("web", [Place(SERVER, "other-node")], ports=[("TCP", PORT)])))
    with inside(bed.node.namespace):
        dataplane = NftablesDataplane(Family.IPV4)
    try:
        bed.commit(dataplane, changes_from_nothing(router.table))
        yield bed
    finally:
        dataplane.close()
        bed.close()


def apply_conntrack(bed: Bed, **wanted: object) -> None:
    """Apply the configuration's conntrack section to the node, the table's size aside: that is the whole machine's."""
    conntrack = with_defaults(KubeProxyConfiguration()).conntrack
    conntrack = msgspec.structs.replace(conntrack, max_per_core=0, **wanted)
    assert isinstance(conntrack, Conntrack)
    with inside(bed.node.namespace):
        outcome = Sysctls().ensure(conntrack_sysctls(conntrack, cpus=1))
    assert not outcome.errors


def connected(bed: Bed) -> tuple[socket.socket, socket.socket]:
    """Connect the client to the Service; return its socket and the server's."""
    with inside(bed.server.namespace):
        listener = socket.create_server((SERVER, PORT))
    listener.settimeout(5)
    with inside(bed.client.namespace):
        client = socket.create_connection((VIP, 80), timeout=5)
    server, _ = listener.accept()
    listener.close()
    server.settimeout(5)
    return client, server


def entries(bed: Bed) -> str:
    """Return the node's TCP conntrack entries as text."""
    with inside(bed.node.namespace):
        return subprocess.run(["conntrack", "-L", "-p", "tcp"], capture_output=True, text=True, check=True).stdout


def test_50_a_connection_in_close_wait_is_remembered_for_an_hour(bed: Bed) -> None:
    """The default configuration raises the kernel's minute, so that a half-closed connection may rest."""
    apply_conntrack(bed)
    client, server = connected(bed)
    with client, server:
        server.close()  # its FIN is acknowledged; the client keeps its side open
        assert client.recv(1) == b""
        deadline = time.monotonic() + 5
        while not (found := re.search(r"tcp\s+6 (\d+) CLOSE_WAIT src=\S+ dst=172\.30\.0\.1 ", entries(bed))):
            assert time.monotonic() < deadline, entries(bed)
            time.sleep(0.05)
        assert 3540 <= int(found[1]) <= 3600


def inject(bed: Bed, server: socket.socket) -> None:
    """Send a segment far outside the window from the server's address and port, as a confused network would.

    It acknowledges rightly, so a client that does not know it answers with a reset that the server believes. The sequence
    numbers are read as a checkpointing tool would.
    """
    repair, repair_queue, queue_sequence, off = 19, 20, 21, -1  # TCP_REPAIR and its kin, TCP_REPAIR_OFF_NO_WP
    server.setsockopt(socket.IPPROTO_TCP, repair, 1)
    numbers = []
    for queue in (2, 1):  # TCP_SEND_QUEUE, TCP_RECV_QUEUE
        server.setsockopt(socket.IPPROTO_TCP, repair_queue, queue)
        numbers.append(server.getsockopt(socket.IPPROTO_TCP, queue_sequence) & 0xFFFFFFFF)
    server.setsockopt(socket.IPPROTO_TCP, repair, off)
    sequence, acknowledged = (numbers[0] + (1 << 30)) & 0xFFFFFFFF, numbers[1]
    (source, source_port), (target, target_port) = server.getsockname(), server.getpeername()
    segment = struct.pack("!HHIIBBHHH", source_port, target_port, sequence, acknowledged, 5 << 4, 0x10, 1000, 0, 0)
    pseudo = packed(source) + packed(target) + struct.pack("!II", len(segment), socket.IPPROTO_TCP)
    segment = segment[:16] + struct.pack("!H", internet_checksum(pseudo + segment)) + segment[18:]
    with inside(bed.server.namespace), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.bind((source, 0))
        raw.sendto(segment, (target, 0))


def exchange(bed: Bed, rounds: int) -> None:
    """Make a connection and talk in both directions while a segment outside the window comes each time."""
    client, server = connected(bed)
    with client, server:
        for _ in range(rounds):
            inject(bed, server)
            server.sendall(b"ping")
            assert client.recv(4) == b"ping"
            client.sendall(b"pong")
            assert server.recv(4) == b"pong"


def test_49_segments_outside_the_window_do_not_end_a_connection(bed: Bed) -> None:
    """With conntrack.tcpBeLiberal they are translated like all others, and the client shrugs."""
    apply_conntrack(bed, tcp_be_liberal=True)
    exchange(bed, 20)


def test_49_without_the_setting_the_kernel_lets_them_through_untranslated(bed: Bed) -> None:
    """The control: nftables mode has no rule against it, and the client resets what it does not know."""
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        exchange(bed, 20)

# SPDX-License-Identifier: Apache-2.0
"""A new process relieves the running one under load: in userspace mode nothing is lost, in no other mode either."""

import contextlib
import mmap
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from bench.tables import SERVICES, endpoint
from kproxy.daemon.modes import MODES
from kproxy.lab.namespaces import inside
from kproxy.table.terms import Mode
from tests.bed import PORT, Bed, child
from tests.faults.switching import SwitchingNode
from tests.manifests import endpoint_slice, service

pytestmark = [pytest.mark.packets, pytest.mark.timeout(300)]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[SwitchingNode]:
    """Give a test a node with a few Services."""
    with contextlib.closing(SwitchingNode(tmp_path, services=20)) as made:
        yield made


@pytest.mark.parametrize("mode", [mode for mode in (Mode.USERSPACE, Mode.NFTABLES) if mode in MODES])
def test_a_second_process_relieves_the_first(node: SwitchingNode, mode: Mode) -> None:
    """No dial fails, connections through the first live on, and it ends by itself when they have."""
    node.want(mode)
    node.start()
    node.wait_ready()
    with node.exchanging() as counts:
        node.hold()
        first = node.succeed(mode)
        node.change([0, 1, 2])
        node.hold()
        time.sleep(1.0)
        assert node.broken() == 0
        assert counts[1] == 0
        assert counts[0] > 100
        if mode is Mode.USERSPACE:
            assert first.is_running  # a connection still goes through it
        node.let_go()
        assert first.wait(60) == 0
        node.hold()
        assert counts[1] == 0


_OF_DATAGRAMS: Final = 500  # a Service's number
_MEMBERS: Final = (2000, 2001)


def _over_udp(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest whose port is one of UDP."""
    (port,) = manifest.get("spec", manifest)["ports"]
    port["protocol"] = "UDP"
    return manifest


class NodeWithDatagrams(SwitchingNode):
    """One more Service, over UDP."""

    nodes = (_over_udp(service(_OF_DATAGRAMS)), _over_udp(endpoint_slice(_OF_DATAGRAMS, _MEMBERS)))


def answer_forever() -> None:
    """Send datagrams back from the addresses they were sent to."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in _MEMBERS]
    for one, member in zip(sockets, _MEMBERS, strict=True):
        one.bind((endpoint(member).address, PORT))
    while True:
        for one in select.select(sockets, [], [])[0]:
            words, client = one.recvfrom(100)
            one.sendto(words, client)


def ask_forever(bed: Bed, counts: memoryview) -> None:
    """Ask from one lasting socket and from ever new ones, in turn. Counts questions, and those without the right answer."""
    with inside(bed.client.namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as lasting:
        while True:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as fresh:
                for client in (lasting, fresh):
                    client.settimeout(2)
                    client.connect((str(SERVICES[_OF_DATAGRAMS + 1]), 80))
                    words = b"question %d" % counts[0]
                    try:
                        client.send(words)
                        counts[1] += client.recv(100) != words
                    except OSError:
                        counts[1] += 1
                    counts[0] += 1


def test_no_datagram_is_lost_when_a_relay_is_relieved(tmp_path: Path) -> None:
    """Neither of a client that has asked before nor of one that is new, until the first process has ended."""
    counts = memoryview(mmap.mmap(-1, 2 * 8)).cast("q")
    with contextlib.closing(NodeWithDatagrams(tmp_path, services=5)) as node:
        node.want("userspace")
        node.start()
        node.wait_ready()
        with (
            child(node.bed.server, answer_forever),
            node.exchanging(),
            child(node.bed.client, lambda: ask_forever(node.bed, counts)),
        ):
            node.hold()
            first = node.succeed("userspace")
            time.sleep(1.0)
            node.let_go()
            assert first.wait(60) == 0
            time.sleep(0.5)
    assert counts[0] > 100
    assert counts[1] == 0


def test_a_second_process_in_another_mode_takes_the_node(node: SwitchingNode) -> None:
    """The first one lets its connections end, and only then its rules go."""
    node.want("userspace")
    node.start()
    node.wait_ready()
    with node.exchanging() as counts:
        node.hold()
        first = node.succeed("nftables")
        time.sleep(1.0)
        assert node.broken() == 0
        node.let_go()
        assert first.wait(60) == 0
        assert counts[1] == 0
    node.wait_gone(Mode.USERSPACE)


def test_a_signal_ends_a_relay_with_its_last_connection(node: SwitchingNode) -> None:
    """New clients are served until then; a second signal would end it at once."""
    node.want("userspace")
    node.start()
    node.wait_ready()
    with node.exchanging():
        node.hold()
        assert node.daemon is not None
        node.daemon.send(signal.SIGTERM)
        time.sleep(1.0)
        assert node.broken() == 0
        node.hold()
        assert node.daemon.is_running
        node.daemon.send(signal.SIGTERM)
        assert node.daemon.wait(30) == -signal.SIGTERM

# SPDX-License-Identifier: Apache-2.0
"""Mode iptables under load, through both kinds: changes, flushes, and taking over from kube-proxy's own iptables rules."""

import contextlib
import functools
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tables import SERVICES
from kproxy.dataplanes.contract import Difference
from kproxy.dataplanes.iptables.dataplane import IptablesDataplane
from kproxy.dataplanes.iptables.kind import CHOICE
from kproxy.kernel.xtables import Kind
from kproxy.lab.namespaces import inside
from kproxy.lab.processes import Program
from kproxy.objects.decode import convert
from kproxy.objects.events import Host, Synced, Upsert
from kproxy.objects.events import Kind as ObjectKind
from kproxy.routing.router import Router
from kproxy.routing.settings import Settings
from kproxy.table.terms import Family, Mode
from tests import lookalike
from tests.bed import child, echo_forever
from tests.faults.churn import churn
from tests.faults.daemon import ADDRESSES, FLAGS, NodeUnderTest
from tests.faults.test_takeover import FOREIGN, upstream_services

pytestmark = [pytest.mark.packets, pytest.mark.timeout(300)]

REPAIR = 2.0  # seconds until new connections work again
SCHEDULING = 4.0  # seconds more on a machine that does other things as well


@pytest.fixture(params=list(Kind))
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    """Both kinds, chosen by the environment for the daemon."""
    chosen: Kind = request.param
    monkeypatch.setenv(CHOICE, chosen)
    return chosen


class IptablesNode(NodeUnderTest):
    """A node whose daemon serves in mode iptables."""

    def start(self, *flags: str) -> None:
        """Start the daemon."""
        given = flags or (f"--manifests={self.manifests}",)
        mine = tuple(flag for flag in FLAGS if not flag.startswith("--proxy-mode="))
        self.daemon = Program(self.bed.node, self.log, "kproxy", *given, *mine, "--proxy-mode=iptables")

    def differences(self) -> list[Difference]:
        """Compare the node's kernel with a table resolved afresh from the manifests."""
        router = Router(
            Settings(mode=Mode.IPTABLES, node="node", cluster_cidrs=("10.128.0.0/9",), localhost_node_ports=True)
        )
        events = [Upsert(convert(ObjectKind(item["kind"]), item)) for item in (*self._still, self._moving)]
        changes = router.apply([*events, Host(ADDRESSES), *map(Synced, ObjectKind)])
        assert changes is not None
        with inside(self.bed.node.namespace), contextlib.closing(IptablesDataplane(Family.IPV4)) as plane:
            return list(plane.verify(plane.read_back(), changes.after))

    def iptables(self, kind: Kind, *arguments: str) -> str:
        """Run iptables on the node, as somebody else would."""
        return self.run(f"iptables-{kind}", *arguments).stdout


@contextlib.contextmanager
def connected(node: NodeUnderTest) -> Iterator[socket.socket]:
    """Hold a connection to Service 0 for a while."""
    with inside(node.bed.client.namespace), socket.create_connection((str(SERVICES[1]), 80), timeout=5) as connection:
        yield connection


def answers(connection: socket.socket) -> bool:
    """Tell whether a connection still carries bytes both ways."""
    connection.sendall(b"ping")
    return connection.recv(16) == b"ping"


@pytest.mark.parametrize("affinity", [0, 60])
def test_no_dial_is_refused_while_endpoints_change(kind: Kind, affinity: int) -> None:
    """Adding, taking away and replacing endpoints refuses nobody, with and without affinity."""
    make = functools.partial(IptablesDataplane, kind=kind)
    outcome = churn(make, services=100, changes=300, affinity=affinity)

    assert outcome.dials > outcome.changes
    assert (outcome.failures, outcome.slow, outcome.refused) == (0, 0, {})


@pytest.mark.parametrize("damage", ["-t nat -F", "-t nat -D PREROUTING 1", "-t filter -F"])
def test_a_flush_is_repaired(tmp_path: Path, kind: Kind, damage: str) -> None:
    """New connections work again soon after somebody's flush, an established one does not notice, and it is counted."""
    node = IptablesNode(tmp_path, 50)
    try:
        with child(node.bed.server, echo_forever):
            node.start()
            node.wait_ready()
            node.wait_equal(patience=10)
            with connected(node) as established:
                assert answers(established)
                node.iptables(kind, *damage.split())
                assert answers(established)
                taken = node.wait_equal(patience=20)
                assert node.dial()
                assert answers(established)
            assert taken < REPAIR + SCHEDULING
    finally:
        node.close()


def test_taking_over_from_iptables(tmp_path: Path, kind: Kind) -> None:
    """kube-proxy's rules go, ours stay, foreign ones as well, and no dial fails or waits meanwhile."""
    node = IptablesNode(tmp_path, 20)
    try:
        text = FOREIGN + lookalike.iptables(upstream_services(20))
        node.run(f"iptables-{kind}-restore", "--noflush", input=text)
        with node.dialling() as counts:
            time.sleep(0.5)
            node.start()
            node.wait_ready()
            deadline = time.monotonic() + 60
            while "KUBE-" in node.run(f"iptables-{kind}-save").stdout:
                assert time.monotonic() < deadline, node.log.read_text()[-3000:]
                time.sleep(0.1)
            time.sleep(1.2)
        dials, failures, slow = counts

        assert dials > 0
        assert (failures, slow) == (0, 0)
        assert node.differences() == []
        assert "-A FORWARD -j DOCKER-USER\n" in node.run(f"iptables-{kind}-save").stdout
    finally:
        node.close()

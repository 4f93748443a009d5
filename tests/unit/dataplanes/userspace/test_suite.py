# SPDX-License-Identifier: Apache-2.0
"""The userspace dataplane keeps the contract, over a real kernel and a real relay in a namespace of their own.

What outlives a dataplane here is the kernel's table and the relay: a second dataplane over both is what a process becomes
that takes over another's sockets. A process that begins with a relay of its own has to fill it, and the kernel notices
nothing.
"""

import contextlib
import subprocess
from collections.abc import Callable, Iterator

import pytest

from kproxy.dataplanes.userspace.dataplane import UserspaceDataplane
from kproxy.dataplanes.userspace.layout import LOOPBACK_ONLY, WORDS, Options
from kproxy.dataplanes.userspace.opening import open_userspace
from kproxy.dataplanes.userspace.relay import RelayHandle
from kproxy.lab.namespaces import ip, private
from kproxy.table.node import NodePortAddresses
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Family
from tests.unit.dataplanes.suite import Suite, applied
from tests.unit.dataplanes.tables import changes, endpoint, frontend, node, nodeport, route, table

pytestmark = pytest.mark.packets


def run(*command: str) -> None:
    """Do something to the kernel as somebody else would."""
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    """Work in a namespace of its own."""
    with private():
        ip(["link set lo up"])
        yield


class TestUserspace(Suite):
    """The contract."""

    @pytest.fixture
    def relay(self) -> Iterator[RelayHandle]:
        """Return a relay that outlives dataplanes."""
        relay = RelayHandle(Options(workers=1))
        relay.acquire()
        yield relay
        relay.stop()

    @pytest.fixture
    def opened(self, family: Family, relay: RelayHandle) -> Iterator[UserspaceDataplane]:
        """Return a dataplane over an empty kernel."""
        plane = UserspaceDataplane(family, relay)
        yield plane
        plane.close()

    @pytest.fixture
    def reopened(self, family: Family, relay: RelayHandle) -> Iterator[Callable[[], UserspaceDataplane]]:
        """Return another one over the same kernel and the same relay."""
        with contextlib.ExitStack() as planes:
            yield lambda: planes.enter_context(contextlib.closing(UserspaceDataplane(family, relay)))

    @pytest.fixture(
        params=[
            "nft flush ruleset",
            "nft flush table {table}",
            "nft delete table {table}",
            "nft flush chain {table} dispatch",
            "nft flush map {table} frontends",
            "ip {flag} rule delete pref 100",
        ]
    )
    def vandalised(self, request: pytest.FixtureRequest, family: Family, relay: RelayHandle) -> Callable[[], None]:
        """Let somebody destroy something of ours."""
        names = {"table": f"{WORDS[family].ip} {relay.options.table}", "flag": "-4" if family is Family.IPV4 else "-6"}
        return lambda: run(*request.param.format(**names).split())


V4 = Family.IPV4


def _one(**fields: object) -> RoutingTable:
    return table(node(V4, **fields), [route(V4, "web", [frontend(V4, 1), nodeport(30001)], [endpoint(V4, 1, local=True)])])


def test_a_new_process_fills_its_relay_and_leaves_the_kernel_alone() -> None:
    """Law 5: after a restart the rules are as they were, and only the relay, which is new, has to be told."""
    one = _one()
    (first,) = open_userspace([V4], Options(workers=1))
    applied(first, first.read_back(), None, one)
    first.close()
    (second,) = open_userspace([V4], Options(workers=1))
    committed = second.read_back()

    assert {difference.key for difference in second.verify(committed, one)} == {next(one.routes()).key}
    transaction = second.compile(committed, changes(None, one))
    assert transaction.kernel_operations == 0
    assert transaction.operations == 1
    committed = applied(second, committed, None, one)
    assert list(second.verify(committed, one)) == []
    second.close()


def test_loopback_alone_leaves_everything_else_untouched() -> None:
    """Beside another mode only NodePorts are known, only on loopback, and no packet is routed in another way."""
    one = _one(nodeports=NodePortAddresses(every=True, loopback=True))
    (plane,) = open_userspace([V4], LOOPBACK_ONLY)
    committed = applied(plane, plane.read_back(), None, one)

    assert list(plane.verify(committed, one)) == []
    assert {name for name, _, _ in committed.elements} == {"nodeports"}
    rules = subprocess.run(["ip", "rule"], capture_output=True, text=True, check=True).stdout
    assert "fwmark" not in rules
    plane.remove()
    assert not plane.found()
    plane.close()

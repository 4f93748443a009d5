# SPDX-License-Identifier: Apache-2.0
"""The ipvs dataplane: its table in a real kernel's nftables, its virtual servers in memory (in ``tests/vm`` in a kernel)."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from kproxy.dataplanes.contract import Applied, Dataplane, Refused
from kproxy.dataplanes.ipvs.dataplane import IpvsDataplane
from kproxy.dataplanes.ipvs.layout import RULE_PREFERENCE, WORDS
from kproxy.kernel.sysctl import Sysctls
from kproxy.lab.namespaces import ip, private
from kproxy.table.clock import FakeClock
from kproxy.table.route import Route
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Family, Method
from tests.unit.dataplanes.suite import Suite
from tests.unit.dataplanes.tables import changes, table
from tests.unit.kernel.memory_ipvs import MemoryIpvs

pytestmark = pytest.mark.packets


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    """Work in a namespace of its own."""
    with private():
        ip(["link set lo up"])
        yield


def nft(text: str) -> None:
    """Do something to the rules as somebody else would."""
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True, capture_output=True)


def sysctls_below(path: Path) -> Sysctls:
    """Return sysctls of which every one that is asked for exists, with value 0."""
    for name in (
        *(f"ipv4/vs/{each}" for each in ("conntrack", "conn_reuse_mode", "expire_nodest_conn", "expire_quiescent_template")),
        *("ipv4/ip_forward", "ipv4/conf/all/arp_ignore", "ipv4/conf/all/arp_announce"),
    ):
        file = path / "net" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("0\n", encoding="ascii")
    return Sysctls(path)


class TestContract(Suite):
    """The contract."""

    @pytest.fixture
    def door(self) -> MemoryIpvs:
        """Return an IPVS without a kernel."""
        return MemoryIpvs()

    @pytest.fixture
    def clock(self) -> FakeClock:
        """Return a clock that moves when told to."""
        return FakeClock()

    @pytest.fixture
    def reopened(
        self, family: Family, door: MemoryIpvs, clock: FakeClock, tmp_path: Path
    ) -> Iterator[Callable[[], IpvsDataplane]]:
        """Return another dataplane over the same kernel."""
        known = sysctls_below(tmp_path)
        with contextlib.ExitStack() as made:

            def reopen() -> IpvsDataplane:
                plane = IpvsDataplane(family, door=door, sysctls=known, clock=clock.monotonic)
                made.callback(plane.close)
                return plane

            yield reopen

    @pytest.fixture
    def opened(self, reopened: Callable[[], IpvsDataplane]) -> IpvsDataplane:
        """Return a dataplane over an empty kernel."""
        return reopened()

    @pytest.fixture(
        params=["flush ruleset", "flush table {}", "delete table {}", "flush chain {} dispatch", "servers", "rule"]
    )
    def vandalised(self, request: pytest.FixtureRequest, family: Family, door: MemoryIpvs) -> Callable[[], None]:
        """Let somebody destroy something of ours."""

        def destroy() -> None:
            if request.param == "servers":
                door.held.clear()
            elif request.param == "rule":
                option = "-4" if family is Family.IPV4 else "-6"
                subprocess.run(["ip", option, "rule", "del", "priority", str(RULE_PREFERENCE)], check=True)
            else:
                nft(request.param.format(WORDS[family].table))

        return destroy

    def test_a_method_it_lacks_is_replaced_and_told(self, opened: Dataplane, one: RoutingTable, web: Route) -> None:
        """A Service that asks for a scheduler this kernel does not have is served all the same, at the second attempt."""
        assert isinstance(opened, IpvsDataplane)
        assert isinstance(opened._door, MemoryIpvs)
        opened._door.schedulers -= {"lblcr"}
        after = table(one.node, [msgspec.structs.replace(web, method=Method.LBLCR)])
        refused = opened.commit(opened.compile(opened.read_back(), changes(None, after)))
        assert isinstance(refused, Refused)
        assert refused.retry
        answer = opened.commit(opened.compile(opened.read_back(), changes(None, after)))

        assert isinstance(answer, Applied)
        assert set(answer.limits) == {web.key}
        assert "ip_vs_lblcr" in answer.limits[web.key]

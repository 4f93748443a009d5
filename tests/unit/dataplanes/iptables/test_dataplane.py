# SPDX-License-Identifier: Apache-2.0
"""The iptables dataplane over a real kernel, in a namespace of its own, through both kinds of iptables."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator

import pytest

from kproxy.dataplanes.iptables.dataplane import IptablesDataplane
from kproxy.kernel.xtables import Kind
from kproxy.lab.namespaces import private
from kproxy.table.terms import Family
from tests.unit.dataplanes.suite import Suite

pytestmark = pytest.mark.packets

V4 = Family.IPV4


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    """Work in a namespace of its own."""
    with private():
        yield


def iptables(family: Family, kind: Kind, *arguments: str) -> str:
    """Do something to the rules as somebody else would."""
    name = f"{'iptables' if family is Family.IPV4 else 'ip6tables'}-{kind}"
    return subprocess.run([name, *arguments], capture_output=True, text=True, check=True).stdout


def _discard(_: str) -> None:
    """Let a result go."""


class TestNft(Suite):
    """The contract, over nf_tables."""

    kind = Kind.NFT

    @pytest.fixture
    def opened(self, family: Family) -> Iterator[IptablesDataplane]:
        """Return a dataplane over an empty kernel."""
        plane = IptablesDataplane(family, kind=self.kind)
        yield plane
        plane.close()

    @pytest.fixture
    def reopened(self, family: Family) -> Iterator[Callable[[], IptablesDataplane]]:
        """Return another one over the same kernel."""
        with contextlib.ExitStack() as planes:
            yield lambda: planes.enter_context(contextlib.closing(IptablesDataplane(family, kind=self.kind)))

    @pytest.fixture(
        params=[
            "-t nat -F",
            "-t filter -F FORWARD",
            "-t nat -F KPX-POSTROUTING",
            "-t nat -D PREROUTING 1",
            "-t nat -D KPX-POSTROUTING 2",
        ]
    )
    def vandalised(self, request: pytest.FixtureRequest, family: Family) -> Callable[[], None]:
        """Let somebody destroy something of ours."""
        return lambda: _discard(iptables(family, self.kind, *request.param.split()))


class TestLegacy(TestNft):
    """The contract, over legacy iptables."""

    kind = Kind.LEGACY

# SPDX-License-Identifier: Apache-2.0
"""The iptables dataplane over a real kernel, in a namespace of its own, through both kinds of iptables."""

import contextlib
import fcntl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from kproxy.dataplanes.contract import Applied, Refused
from kproxy.dataplanes.iptables.dataplane import IptablesDataplane
from kproxy.kernel.xtables import Kind
from kproxy.lab.namespaces import private
from kproxy.table.endpoint import Endpoint
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Family
from tests.unit.dataplanes.suite import Suite, applied
from tests.unit.dataplanes.tables import changes, endpoint, frontend, node, nodeport, route, table

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


@pytest.fixture(params=list(Kind))
def plane(request: pytest.FixtureRequest) -> Iterator[IptablesDataplane]:
    """Return a dataplane over an empty kernel, of either kind."""
    with contextlib.closing(IptablesDataplane(V4, kind=request.param)) as opened:
        yield opened


def _table(*hosts: int, port: int = 30001, **fields: object) -> RoutingTable:
    endpoints = [endpoint(V4, host) for host in hosts]
    web = route(V4, "web", [frontend(V4, 1), nodeport(port)], endpoints, **fields)
    return table(node(V4), [web, route(V4, "other", [frontend(V4, 2)], [endpoint(V4, 9)])])


def test_a_refused_line_names_its_service(plane: IptablesDataplane) -> None:
    """What the tool does not take is the fault of the Service whose line it is; nothing has changed then."""
    bad = Endpoint("10.244.0.300:8080", "10.244.0.3", 8080, "there")
    before = _table(1, 2)
    committed = applied(plane, plane.read_back(), None, before)
    web = next(iter(before.routes()))
    broken = table(before.node, [msgspec.structs.replace(web, all=(*web.all, bad)), *list(before.routes())[1:]])
    answer = plane.commit(plane.compile(committed, changes(before, broken)))

    assert isinstance(answer, Refused)
    assert answer.blame == {web.key}
    assert "shop/web" in answer.words
    assert list(plane.verify(plane.read_back(), before)) == []


def test_counts_survive_changes_and_restarts(plane: IptablesDataplane) -> None:
    """A chain that is written anew goes on counting, and so does a frontend whose endpoints have all been replaced."""
    before = _table(1, 2)
    committed = applied(plane, plane.read_back(), None, before)
    web = next(iter(before.routes()))
    saved = plane.xtables.save(counters=True)["nat"]
    counted = [f"[7:420] -A {rule.chain}{rule.text}" for rule in saved.rules if rule.chain.startswith("KPX-S-")]
    leaf = next(rule.chain for rule in saved.rules if rule.chain.startswith("KPX-S-"))
    plane.xtables.restore("\n".join(["*nat", f":{leaf} - [0:0]", *counted, "COMMIT", ""]), counters=True)
    assert plane.counters().frontends[web.key, str(web.frontends[0])].connections == 7
    assert plane.counters().endpoints[web.key, "10.244.0.2:8080"].connections == 7
    after = _table(2, 3)
    applied(plane, committed, before, after)
    assert plane.counters().frontends[web.key, str(web.frontends[0])].connections == 7
    assert plane.counters().endpoints[web.key, "10.244.0.2:8080"].connections == 7
    assert plane.counters().endpoints[web.key, "10.244.0.3:8080"].connections == 0
    with contextlib.closing(IptablesDataplane(V4, kind=plane.xtables.kind)) as second:
        applied(second, second.read_back(), None, after)
        assert second.counters().frontends[web.key, str(web.frontends[0])].connections == 7


def test_without_ipset_affinity_is_limited_and_told(plane: IptablesDataplane) -> None:
    """Each Service with affinity is told how many clients are remembered; with ipset nobody is."""
    after = _table(1, 2, affinity=30)
    answer = plane.commit(plane.compile(plane.read_back(), changes(None, after)))
    assert isinstance(answer, Applied)
    assert not answer.limits
    with contextlib.closing(IptablesDataplane(V4, kind=plane.xtables.kind, sets=False)) as without:
        answer = without.commit(without.compile(without.read_back(), changes(None, after)))
        assert isinstance(answer, Applied)
        without.settle()
        assert {key.name for key in answer.limits} == {"web"}
        assert "100 clients" in next(iter(answer.limits.values()))
        assert list(without.verify(without.read_back(), after)) == []


def test_the_rules_of_others_stay(plane: IptablesDataplane) -> None:
    """What somebody else has in the same tables is the same before and after, kube-proxy's own chains among it."""
    theirs = "*nat\n:KUBE-SERVICES - [0:0]\n-A KUBE-SERVICES -j RETURN\n-A PREROUTING -j KUBE-SERVICES\nCOMMIT\n"
    plane.xtables.restore(theirs)
    before = plane.xtables.save()["nat"]
    committed = applied(plane, plane.read_back(), None, _table(1, 2))
    applied(plane, committed, _table(1, 2), _table(2))
    assert "KUBE-SERVICES" in plane.xtables.save()["nat"].chains
    plane.remove()
    after = plane.xtables.save()["nat"]
    assert after.rules == before.rules
    assert set(after.chains) <= {*before.chains, "OUTPUT", "POSTROUTING"}


def test_an_edit_that_keeps_the_size_is_noticed(plane: IptablesDataplane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Legacy iptables tells of no change; a rule put in another's place shows when the rules themselves are looked at."""
    monkeypatch.setattr("kproxy.dataplanes.iptables.doors.SOONEST", 0.0)
    monkeypatch.setattr("kproxy.dataplanes.iptables.doors.SHARE", 1e9)
    applied(plane, plane.read_back(), None, _table(1, 2))
    assert not plane.foreign_changes()
    iptables(V4, plane.xtables.kind, "-t", "nat", "-R", "KPX-MASQUERADE", "1", "-j", "MARK", "--set-xmark", "0x0/0x8000")
    assert plane.foreign_changes()
    assert list(plane.verify(plane.read_back(), _table(1, 2))) != []


def test_the_lock_of_others_is_waited_for_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds the lock holds us up, and how long that was is counted."""
    path = tmp_path / "xtables.lock"
    monkeypatch.setenv("XTABLES_LOCKFILE", str(path))
    with contextlib.closing(IptablesDataplane(V4, kind=Kind.LEGACY)) as plane, path.open("w") as held:
        transaction = plane.compile(plane.read_back(), changes(None, _table(1)))
        fcntl.flock(held, fcntl.LOCK_EX)
        threading.Timer(0.3, fcntl.flock, (held, fcntl.LOCK_UN)).start()
        assert isinstance(plane.commit(transaction), Applied)
        assert plane.counters().lock.waited >= 0.2


def test_retired_leaves_its_chains_and_nothing_leads_to_them(plane: IptablesDataplane) -> None:
    """Established connections are the kernel's own business: the built-in chains of nat stay."""
    applied(plane, plane.read_back(), None, _table(1, 2))
    assert plane.retire()
    saved = plane.xtables.save()["nat"]
    assert not [rule for rule in saved.rules if rule.chain == "PREROUTING"]
    assert any(chain.startswith("KPX-") for chain in saved.chains)

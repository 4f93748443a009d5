# SPDX-License-Identifier: Apache-2.0
"""The nftables dataplane over a real kernel, in a namespace of its own."""

import subprocess
from collections.abc import Callable, Iterator

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kproxy.dataplanes.contract import Applied, Refused
from kproxy.dataplanes.nftables import layout
from kproxy.dataplanes.nftables.dataplane import NftablesDataplane
from kproxy.dataplanes.nftables.elements import schemas
from kproxy.lab.namespaces import private
from kproxy.table.endpoint import Endpoint
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Family
from tests.examples import examples
from tests.unit.dataplanes.suite import Suite, applied
from tests.unit.dataplanes.tables import changes, endpoint, frontend, node, nodeport, route, table, tables

pytestmark = pytest.mark.packets

V4 = Family.IPV4


def nft(text: str) -> None:
    """Do something to the rules as somebody else would."""
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True, capture_output=True)


def listing() -> str:
    """Return the namespace's rules."""
    return subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    """Work in a namespace of its own."""
    with private():
        yield


class TestNetlink(Suite):
    """The contract, elements going by netlink."""

    text = False

    @pytest.fixture
    def opened(self, family: Family) -> Iterator[NftablesDataplane]:
        """Return a dataplane over an empty kernel."""
        plane = NftablesDataplane(family, text=self.text)
        yield plane
        plane.close()

    @pytest.fixture
    def reopened(self, family: Family) -> Callable[[], NftablesDataplane]:
        """Return another one over the same kernel."""
        return lambda: NftablesDataplane(family, text=self.text)

    @pytest.fixture(
        params=["flush ruleset", "flush table {}", "delete table {}", "flush chain {} dispatch", "flush map {} slots"]
    )
    def vandalised(self, request: pytest.FixtureRequest, family: Family) -> Callable[[], None]:
        """Let somebody destroy something of ours."""
        ip = layout.WORDS[family].ip
        return lambda: nft(request.param.format(f"{ip} {layout.TABLE}"))


class TestText(TestNetlink):
    """The contract, elements going as text."""

    text = True


@pytest.fixture
def plane() -> NftablesDataplane:
    """Return a dataplane over an empty kernel."""
    return NftablesDataplane(V4)


def _set(*hosts: int) -> tuple[Endpoint, ...]:
    return tuple(sorted((endpoint(V4, host, local=host < 3) for host in hosts), key=lambda each: each.key))


def _one(*hosts: int) -> RoutingTable:
    return table(node(V4), [route(V4, "web", [frontend(V4, 1), nodeport(30001)], _set(*hosts))])


@settings(deadline=None, max_examples=examples(30), suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from(list(Family)))
def test_any_sequence_of_tables_ends_in_the_kernel(data: st.DataObject, family: Family) -> None:
    """Compile and read back are inverse: after each step the kernel holds the table, and a restart has nothing to do."""
    with private():
        plane = NftablesDataplane(family)
        committed, before = plane.read_back(), None
        for _ in range(data.draw(st.integers(1, 3))):
            after = data.draw(tables(family))
            committed = applied(plane, committed, before, after)
            assert list(plane.verify(committed, after)) == []
            second = NftablesDataplane(family)
            read = second.read_back()
            assert list(second.verify(read, after)) == []
            assert second.compile(read, changes(None, after)).operations == 0
            second.close()
            before = after
        plane.close()


@settings(deadline=None, max_examples=examples(30), suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_kill_between_two_phases_is_made_good(data: st.DataObject) -> None:
    """Whatever phase the process died after, the next one repairs the table, or takes it to another."""
    with private():
        plane = NftablesDataplane(V4)
        first, second, third = (data.draw(tables(V4)) for _ in range(3))
        committed = applied(plane, plane.read_back(), None, first)
        transaction = plane.compile(committed, changes(first, second))
        if transaction.prepare:
            plane._committer.structure(transaction.prepare)
        if data.draw(st.booleans()):
            for batch in transaction.batches:
                plane._committer._door.send(transaction.target, batch)
        plane.close()

        after = data.draw(st.sampled_from([first, second, third]))
        plane = NftablesDataplane(V4)
        applied(plane, plane.read_back(), None, after)
        committed = plane.read_back()
        assert list(plane.verify(committed, after)) == []
        assert plane.compile(committed, changes(None, after)).operations == 0
        plane.close()


@settings(deadline=None, max_examples=examples(20), suppress_health_check=list(HealthCheck))
@given(tables(V4), st.data())
def test_whatever_others_delete_is_put_back(after: RoutingTable, data: st.DataObject) -> None:
    """Any element, any set: the next compile adds what is missing."""
    with private():
        plane = NftablesDataplane(V4)
        applied(plane, plane.read_back(), None, after)
        names = [layout.SLOTS, layout.ENDPOINTS, layout.HAIRPIN, layout.CLUSTER_IPS, layout.GUARDED, layout.ALLOWED]
        names += [name for kind in layout.Kind for name in (kind.shapes, kind.sets, kind.locals)]
        for name in data.draw(st.lists(st.sampled_from(names), unique=True, min_size=1)):
            nft(f"flush {schemas(V4, plane.options)[name].noun} ip {layout.TABLE} {name}")
        applied(plane, plane.read_back(), None, after)
        committed = plane.read_back()
        assert list(plane.verify(committed, after)) == []
        assert plane.compile(committed, changes(None, after)).operations == 0
        plane.close()


def test_the_printed_form_is_what_is_done(plane: NftablesDataplane, monkeypatch: pytest.MonkeyPatch) -> None:
    """``nft -f`` of the text makes the same rules and elements; and what nft lists, it loads again."""
    monkeypatch.setattr("kproxy.dataplanes.nftables.dataplane.make_ahead", lambda *_: None)
    transaction = plane.compile(plane.read_back(), changes(None, _one(1, 2, 3)))
    assert isinstance(plane.commit(transaction), Applied)
    done = listing()
    assert _without_fingerprint(done)
    nft("flush ruleset")
    nft(str(transaction))
    assert _without_fingerprint(listing()) == _without_fingerprint(done)
    nft("flush ruleset")
    nft(done)
    assert listing() == done


def _without_fingerprint(text: str) -> list[str]:
    """Return lines in a stable order; the fingerprint is noted after a transaction."""
    words = text.replace(",", " ").split("map about", 1)
    return sorted((words[0] + words[1].split("}", 2)[2]).split())


def test_other_tables_are_left_alone(plane: NftablesDataplane) -> None:
    """Somebody's table with our kind of rules stays as it is, through everything."""
    theirs = "table ip theirs {\n\tmap slots {\n\t\ttype ipv4_addr : ipv4_addr\n\t}\n}\n"
    nft(theirs)
    applied(plane, plane.read_back(), None, _one(1, 2))
    nft("add element ip theirs slots { 192.0.2.1 : 192.0.2.2 }")
    assert not plane.foreign_changes()
    plane.remove()
    assert "192.0.2.2" in listing()
    assert "kproxy" not in listing()


def test_an_idle_restart_writes_nothing(plane: NftablesDataplane) -> None:
    """Not even the generation of the rule set moves."""
    applied(plane, plane.read_back(), None, _one(1, 2))
    before = plane._socket.generation()
    second = NftablesDataplane(V4)
    committed = applied(second, second.read_back(), None, _one(1, 2))

    assert list(second.verify(committed, _one(1, 2))) == []
    assert plane._socket.generation() == before


def test_an_element_put_there_by_somebody_else_is_named(plane: NftablesDataplane) -> None:
    """EEXIST: a sentence that names Service and element; reading back heals."""
    committed = applied(plane, plane.read_back(), None, _one(1, 2))
    nft(f"add element ip {layout.TABLE} slots {{ 0:2 . 2 : 0:7 }}")
    answer = plane.commit(plane.compile(committed, changes(_one(1, 2), _one(1, 2, 3))))

    assert isinstance(answer, Refused)
    assert "shop/web:http/TCP/IPv4: element slots { 0:2 . 2 } is there already, put there by somebody else" in answer.words
    assert plane.foreign_changes()
    applied(plane, plane.read_back(), None, _one(1, 2, 3))
    assert list(plane.verify(plane.read_back(), _one(1, 2, 3))) == []


def test_a_set_that_is_full_is_named_and_nothing_is_lost(plane: NftablesDataplane) -> None:
    """ENFILE: the route is blamed, and what was there is there still."""
    applied(plane, plane.read_back(), None, _one(1, 2))
    text = listing()
    plane.remove()
    nft(text.replace("map slots {\n", "map slots {\n\t\tsize 2\n"))
    committed = applied(plane, plane.read_back(), None, _one(1, 2))
    answer = plane.commit(plane.compile(committed, changes(_one(1, 2), _one(1, 2, 3))))

    assert isinstance(answer, Refused)
    assert "slots { 0:2 . 2 }: the set is full" in answer.words
    assert {key.name for key in answer.blame} == {"web"}
    assert list(plane.verify(plane.read_back(), _one(1, 2))) == []


def test_a_refused_load_takes_back_what_went_before(plane: NftablesDataplane) -> None:
    """A batch that fails after others have gone in leaves nothing of them."""
    many = [route(V4, f"s{each}", [nodeport(1000 + each)], _set(*range(1, 9))) for each in range(3000)]
    empty, full = table(node(V4), []), table(node(V4), many)
    committed = applied(plane, plane.read_back(), None, empty)
    nft(f"add element ip {layout.TABLE} nodeport-shapes {{ tcp . 3999 : 0:7 }}")
    transaction = plane.compile(committed, changes(empty, full))
    assert len(transaction.batches) > 1
    answer = plane.commit(transaction)
    assert isinstance(answer, Refused)
    nft(f"delete element ip {layout.TABLE} nodeport-shapes {{ tcp . 3999 }}")
    committed = plane.read_back()

    assert not [each for each in plane.verify(committed, empty) if "element" in each.what]
    applied(plane, committed, None, full)
    assert list(plane.verify(plane.read_back(), full)) == []


def test_a_table_of_another_layout_is_replaced(plane: NftablesDataplane) -> None:
    """Ours is built beside it and is in force before the other goes; the next one knows ours by either name."""
    nft(f"add table ip {layout.TABLE}\nadd chain ip {layout.TABLE} theirs\n")
    committed = plane.read_back()
    transaction = plane.compile(committed, changes(None, _one(1, 2)))
    assert str(transaction).endswith(f"delete table ip {layout.TABLE}\n")
    assert isinstance(plane.commit(transaction), Applied)
    assert f"table ip {layout.SPARE_TABLE} " in listing()
    assert "theirs" not in listing()
    second = NftablesDataplane(V4)
    assert second.compile(second.read_back(), changes(None, _one(1, 2))).operations == 0


def test_another_masquerade_bit_is_taken_over(plane: NftablesDataplane) -> None:
    """A restart with another bit rewrites the rules that hold it, and nothing else."""
    applied(plane, plane.read_back(), None, _one(1, 2))
    second = NftablesDataplane(V4, masquerade_bit=20)
    transaction = second.compile(second.read_back(), changes(None, _one(1, 2)))
    assert not transaction.batches
    assert isinstance(second.commit(transaction), Applied)
    assert "0x00100000" in listing()
    assert "0x00004000" not in listing()


def test_counts_survive_slot_moves_new_ids_and_restarts(plane: NftablesDataplane) -> None:
    """Counters are on the endpoint's id; where that changes, the old count is carried on."""
    web = route(V4, "web", [frontend(V4, 1), nodeport(30001)], _set(1, 2, 3), affinity=20)
    before = table(node(V4), [web])
    committed = applied(plane, plane.read_back(), None, before)
    nft(
        f"delete element ip {layout.TABLE} endpoints {{ 8000:2 }}\n"
        f"add element ip {layout.TABLE} endpoints {{ 8000:2 counter packets 5 bytes 300 : 10.244.0.3 . 8080 }}"
    )
    third = (web.key, "10.244.0.3:8080")
    assert plane.counters().endpoints[third].connections == 5
    moved = msgspec.structs.replace(web, all=web.all[1:], frontends=web.frontends[:1])
    committed = applied(plane, committed, before, table(before.node, [moved]))
    assert plane.counters().endpoints[third].connections == 5
    assert len(plane.counters().endpoints) == 2
    after = table(before.node, [msgspec.structs.replace(moved, affinity=0)])
    applied(plane, committed, table(before.node, [moved]), after)
    assert plane.counters().endpoints[third].connections == 5


def test_large_maps_are_read_back_by_key(plane: NftablesDataplane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what a kill between two phases has left behind the slots in use."""
    monkeypatch.setattr("kproxy.dataplanes.nftables.readback.DUMPED", 2)
    committed = applied(plane, plane.read_back(), None, _one(1, 2, 3, 4))
    transaction = plane.compile(committed, changes(_one(1, 2, 3, 4), _one(1, 3)))
    plane._committer.structure(transaction.prepare)
    for batch in transaction.batches:
        plane._committer._door.send(transaction.target, batch)
    plane.read_back()
    plane._reader.note_fingerprint(layout.TABLE, plane._reader.fingerprint(layout.TABLE))

    assert all("hairpin" in each.what for each in plane.verify(plane.read_back(), _one(1, 3)))
    applied(plane, plane.read_back(), None, _one(1, 2, 3, 4, 5))
    assert list(plane.verify(plane.read_back(), _one(1, 2, 3, 4, 5))) == []


def test_without_the_command_the_probe_says_what_to_install(
    plane: NftablesDataplane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence with the mend."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Exception, match="install the package nftables"):
        plane.probe()


def test_the_chains_of_the_next_counts_are_there_before_they_are_needed(plane: NftablesDataplane) -> None:
    """A set that grows one by one never waits for the nft command, and a restart finds nothing to add."""
    before = _one(1)
    committed = applied(plane, plane.read_back(), None, before)
    for size in range(2, 40):
        after = _one(*range(1, size + 1))
        transaction = plane.compile(committed, changes(before, after))
        assert not transaction.prepare
        assert isinstance(plane.commit(transaction), Applied)
        plane.settle()
        before = after
    generation = plane._socket.generation()
    second = NftablesDataplane(V4)
    applied(second, second.read_back(), None, before)
    assert plane._socket.generation() == generation


def test_chains_without_use_are_swept(plane: NftablesDataplane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pointers go first, chains a settle later; what is left still serves, and can be counted up again."""
    monkeypatch.setattr("kproxy.dataplanes.nftables.upkeep.IDLE", 20)
    web = route(V4, "web", [frontend(V4, 1)], _set(1, 2))
    before = table(node(V4), [web])
    committed = applied(plane, plane.read_back(), None, before)
    for seconds in (10, 20, 30, 40):
        after = table(node(V4), [msgspec.structs.replace(web, affinity=seconds)])
        committed = applied(plane, committed, before, after)
        before = after
    for _ in range(3):
        committed = applied(plane, committed, before, _one(1, 2))
        committed = applied(plane, committed, _one(1, 2), before)
    text = listing()
    assert "affinity-40" in text
    assert "affinity-10 {" not in text
    assert list(plane.verify(plane.read_back(), before)) == []
    again = table(node(V4), [msgspec.structs.replace(web, affinity=10)])
    applied(plane, plane.read_back(), None, again)
    assert list(plane.verify(plane.read_back(), again)) == []


def test_bytes_are_counted_when_asked_for_and_the_rules_go_with_the_wish() -> None:
    """Endpoints two Services share are one element; a restart without the option takes chains and elements away."""
    counting = NftablesDataplane(V4, count_bytes=True)
    twice = [route(V4, name, [frontend(V4, host)], _set(1, 2)) for name, host in (("a", 1), ("b", 2))]
    both = table(node(V4), twice)
    committed = applied(counting, counting.read_back(), None, both)
    assert list(counting.verify(counting.read_back(), both)) == []
    assert {(each.packets, each.bytes) for each in counting.counters().endpoints.values()} == {(0, 0)}
    committed = applied(counting, counting.read_back(), None, table(node(V4), twice[:1]))
    assert list(counting.verify(committed, table(node(V4), twice[:1]))) == []

    plain = NftablesDataplane(V4)
    transaction = plain.compile(plain.read_back(), changes(None, both))
    assert isinstance(plain.commit(transaction), Applied)
    plain.settle()
    assert list(plain.verify(plain.read_back(), both)) == []
    assert "count" not in [line.split()[1] for line in listing().splitlines() if line.startswith("\tchain")]
    assert {each.packets for each in plain.counters().endpoints.values()} == {None}
    again = NftablesDataplane(V4, count_bytes=True)
    applied(again, again.read_back(), None, both)
    assert list(again.verify(again.read_back(), both)) == []

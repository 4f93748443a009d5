# SPDX-License-Identifier: Apache-2.0
"""Transactions, against a simulation of the kernel's sets: no kernel is needed here."""

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.dataplanes.nftables import layout
from kproxy.dataplanes.nftables.committed import Committed
from kproxy.dataplanes.nftables.compile import compile_changes
from kproxy.dataplanes.nftables.elements import schemas
from kproxy.dataplanes.nftables.layout import Options
from kproxy.dataplanes.nftables.transaction import NftTransaction, Target
from kproxy.dataplanes.nftables.verify import differences, picture
from kproxy.table.endpoint import Endpoint
from kproxy.table.frontend import Sources
from kproxy.table.node import NodePortAddresses
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Family, Method
from tests.examples import examples
from tests.unit.dataplanes.nftables.simulated import Sets, Walk, stages
from tests.unit.dataplanes.tables import (
    EXTERNAL_LOCAL,
    address,
    balancer_ip,
    changes,
    endpoint,
    frontend,
    node,
    nodeport,
    route,
    table,
    tables,
)

OPTIONS = Options()
V4 = Family.IPV4


class Kernel:
    """A simulated kernel with the committed state beside it."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.target = Target(family, layout.TABLE, schemas(family, OPTIONS))
        self.committed = Committed()
        self.sets: Sets = {}
        self.table: RoutingTable | None = None

    def plan(self, after: RoutingTable) -> NftTransaction:
        """Compile a change."""
        return compile_changes(self.committed, changes(self.table, after), OPTIONS, self.target)

    def become(self, after: RoutingTable) -> NftTransaction:
        """Commit a change; at every moment of it whoever finds a frontend must find an endpoint."""
        transaction = self.plan(after)
        moments = list(stages(self.sets, transaction))
        self.committed.built(transaction.outcome)
        self.committed.advance(transaction.outcome)
        walk = Walk(self.family, self.committed)
        known = {each.claim: each for side in (self.table, after) if side for one in side.routes() for each in one.frontends}
        for pair in itertools.pairwise(moments):
            for each in known.values():
                assert walk.misses(pair, each) == []
        self.sets = moments[-1]
        self.table = after
        return transaction

    def elements(self) -> set[tuple[str, bytes, bytes | None]]:
        """Return every element that the committed state says there is, slots and endpoints too."""
        drawn = picture(self.committed, self.family).found
        return {
            *drawn.elements,
            *((layout.SLOTS, key, None) for name, key, _ in self.sets if name == layout.SLOTS),
            *((layout.ENDPOINTS, key, None) for name, key, _ in self.sets if name == layout.ENDPOINTS),
        }


def agrees(kernel: Kernel) -> None:
    """Hold what the simulated kernel holds against the committed state and the table."""
    assert kernel.table is not None
    assert list(differences(kernel.committed, kernel.table, kernel.target, OPTIONS)) == []
    drawn = picture(kernel.committed, kernel.family).found
    assert {
        name: data for name, data in kernel.sets.items() if name[0] not in {layout.SLOTS, layout.ENDPOINTS}
    } == drawn.elements
    assert sum(name == layout.SLOTS for name, _, _ in kernel.sets) == sum(map(len, drawn.slots.values()))
    assert sum(name == layout.ENDPOINTS for name, _, _ in kernel.sets) == len(drawn.endpoints)


@settings(deadline=None, max_examples=examples(150))
@given(st.data(), st.sampled_from(list(Family)))
def test_any_sequence_of_tables_is_followed_without_a_gap(data: st.DataObject, family: Family) -> None:
    """Whatever changes, no packet in flight is led to nothing, and in the end the sets are what the table says."""
    kernel = Kernel(family)
    for _ in range(data.draw(st.integers(1, 4))):
        kernel.become(data.draw(tables(family)))
        agrees(kernel)


@settings(deadline=None, max_examples=examples(40))
@given(tables(V4))
def test_the_same_table_again_is_nothing(after: RoutingTable) -> None:
    """Also when all of it is named."""
    kernel = Kernel(V4)
    kernel.become(after)

    assert kernel.plan(after).operations == 0
    assert compile_changes(kernel.committed, changes(None, after), OPTIONS, kernel.target).operations == 0


def _set(*hosts: int, weight: int = 1) -> tuple[Endpoint, ...]:
    return tuple(sorted((endpoint(V4, host, weight=weight) for host in hosts), key=lambda each: each.key))


@pytest.mark.parametrize(
    ("hosts", "bound"),
    [((1, 2, 3, 4), 4), ((1, 2), 6), ((2, 3), 6), ((1, 2, 9), 4)],
    ids=["add", "last", "first", "replace"],
)
def test_one_endpoint_costs_at_most_six_elements(hosts: tuple[int, ...], bound: int) -> None:
    """However many endpoints there are besides."""
    web = route(V4, "web", [frontend(V4, 1)], _set(1, 2, 3))
    kernel = Kernel(V4)
    kernel.become(table(node(V4), [web]))
    transaction = kernel.become(table(node(V4), [msgspec.structs.replace(web, all=_set(*hosts))]))

    assert sum(batch.operations for batch in transaction.batches) + transaction.later.operations <= bound
    agrees(kernel)


def test_deletions_of_what_packets_may_reach_come_later() -> None:
    """The phase a packet may be in the middle of deletes a dispatch element at most to put another in its place."""
    web = route(V4, "web", [frontend(V4, 1)], _set(1, 2, 3))
    kernel = Kernel(V4)
    kernel.become(table(node(V4), [web]))
    text = str(kernel.plan(table(node(V4), [msgspec.structs.replace(web, all=_set(1, 3))])))

    assert text.splitlines()[-6:] == [
        "delete element ip kproxy slots { 0:2 . 1 }",
        "add element ip kproxy slots { 0:2 . 1 : 8000:2 }",
        "delete element ip kproxy service-shapes { 10.96.0.1 . tcp . 80 }",
        "add element ip kproxy service-shapes { 10.96.0.1 . tcp . 80 : 720:2 }",
        "delete element ip kproxy endpoints { 8000:1 }",
        "delete element ip kproxy slots { 0:2 . 2 }",
    ]


def test_a_table_in_print() -> None:
    """Each kind of frontend, ranges and a NodePort address as elements."""
    sources = Sources(("192.0.2.0/24",), itself=True)
    web = route(
        V4,
        "web",
        [frontend(V4, 1), nodeport(30001), balancer_ip(V4, 1, sources)],
        [endpoint(V4, 1, local=True), endpoint(V4, 5)],
        external=EXTERNAL_LOCAL,
        affinity=20,
    )
    facts = node(V4, nodeports=NodePortAddresses(addresses=("192.0.2.1",)), service_cidrs=("10.96.0.0/16",))
    text = str(Kernel(V4).plan(table(facts, [web])))
    elements = [line.removeprefix("add element ip kproxy ") for line in text.splitlines() if " element " in line]
    ahead = [line for line in elements if "-balancers-" in line and "goto service-all-2-" not in line]

    assert len(ahead) > 4 * 16
    assert [line for line in elements if not line.startswith(("about", "refusals")) and line not in ahead] == [
        "service-policies { 720:0 : goto service-policy-all-allmasq-allmasq }",
        "service-balancers-all { 0:8001 : goto service-all-2-affinity-20 }",
        "nodeport-policies { 728:0 : goto nodeport-policy-all-allmasq-local }",
        "service-policies { 728:0 : goto service-policy-all-allmasq-local }",
        "endpoints { 8000:0 : 10.244.0.1 . 8080, 8000:1 : 10.244.0.5 . 8080, 8000:2 : 10.244.0.1 . 8080 }",
        "slots { 0:2 . 0 : 8000:0, 0:2 . 1 : 8000:1, 0:3 . 0 : 8000:2 }",
        "service-sets { 10.96.0.1 . tcp . 80 : 0:2, 10.203.0.1 . tcp . 80 : 0:2 }",
        "nodeport-sets { tcp . 30001 : 0:2 }",
        "nodeport-locals { tcp . 30001 : 0:8002 }",
        "service-locals { 10.203.0.1 . tcp . 80 : 0:8002 }",
        "guarded { 10.203.0.1 . tcp . 80 }",
        "allowed { 10.203.0.1 . tcp . 80 . 192.0.2.0/24, 10.203.0.1 . tcp . 80 . 10.203.0.1/32 }",
        "nodeport-addresses { 192.0.2.1 }",
        "hairpin { 10.244.0.1 . 10.244.0.1 }",
        "cluster-ips { 10.96.0.1 }",
        "service-shapes { 10.96.0.1 . tcp . 80 : 720:8001, 10.203.0.1 . tcp . 80 : 728:8001 }",
        "nodeport-shapes { tcp . 30001 : 728:8001 }",
    ]
    assert "add rule ip kproxy dispatch ip daddr @nodeport-addresses jump nodeports" in text
    assert "add rule ip kproxy dispatch ip daddr 10.96.0.0/16 goto drop-unallocated" in text


def test_the_first_elements_come_after_their_chains_and_before_the_hooks() -> None:
    """No frontend is visible before its endpoints, and nothing refuses before the frontends are there."""
    text = str(Kernel(V4).plan(table(node(V4), [route(V4, "web", [frontend(V4, 1)], _set(1, 2))])))
    order = [
        "add chain ip kproxy service-all-2",
        "add element ip kproxy endpoints",
        "add element ip kproxy slots",
        "add element ip kproxy service-shapes",
        "add rule ip kproxy dispatch",
        "type nat hook prerouting priority -100",
    ]

    assert sorted(order, key=text.index) == order


def test_services_of_high_priority_go_first() -> None:
    """DNS is dispatched before the crowd, in a batch of its own when the load is large."""
    many = [
        route(V4, f"s{host}-{each}", [nodeport(host * 200 + each)], _set(*range(1, 9)))
        for host in range(1, 9)
        for each in range(200)
    ]
    dns = route(V4, "dns", [frontend(V4, 9)], _set(1), priority=100)
    transaction = Kernel(V4).plan(table(node(V4), [*many, dns]))
    first = "\n".join(transaction.target.text(transaction.batches[0]))

    assert len(transaction.batches) > 1
    assert "10.96.0.9 . tcp . 80" in first


def test_affinity_is_forgotten_when_a_frontend_leaves_a_living_service() -> None:
    """Its clients are remembered by frontend: whoever gets that frontend next must not inherit them."""
    web = route(V4, "web", [frontend(V4, 1), nodeport(30001)], _set(1, 2), affinity=20)
    kernel = Kernel(V4)
    kernel.become(table(node(V4), [web]))
    before = {data for name, data in kernel.sets.items() if name[0] == layout.SLOTS}
    kernel.become(table(node(V4), [msgspec.structs.replace(web, frontends=web.frontends[:1])]))

    assert before.isdisjoint(data for name, data in kernel.sets.items() if name[0] == layout.SLOTS)
    agrees(kernel)


def test_maglev_moves_few_slots() -> None:
    """One of ten leaves: its slots are dealt out, hardly any other moves."""
    web = route(V4, "web", [frontend(V4, 1)], _set(*range(1, 11)), method=Method.MH)
    kernel = Kernel(V4)
    kernel.become(table(node(V4), [web]))
    size = sum(name == layout.SLOTS for name, _, _ in kernel.sets)
    transaction = kernel.become(table(node(V4), [msgspec.structs.replace(web, all=_set(*range(1, 10)))]))
    moved = sum(len(run) for run in transaction.batches[0].runs if run.name == layout.SLOTS and run.verb == "add")

    assert size == 1021
    assert moved < size * 0.13
    agrees(kernel)


def test_weights_are_shares_of_slots() -> None:
    """Divided by what they have in common; weight 0 takes none."""
    weighted = (*_set(1, weight=20), *_set(2, weight=40), *_set(3, weight=0))
    kernel = Kernel(V4)
    kernel.become(table(node(V4), [route(V4, "web", [frontend(V4, 1)], weighted)]))

    assert sum(name == layout.SLOTS for name, _, _ in kernel.sets) == 3
    assert sum(name == layout.ENDPOINTS for name, _, _ in kernel.sets) == 2
    agrees(kernel)


def test_all_weights_zero_refuses() -> None:
    """Nobody takes new connections, so a client is told at once."""
    kernel = Kernel(V4)
    kernel.become(table(node(V4), [route(V4, "web", [frontend(V4, 1)], _set(1, weight=0))]))

    assert "490:0" in str(kernel.plan(table(node(V4), []))) or kernel.sets
    agrees(kernel)


def test_the_address_helper_agrees_with_the_golden_text() -> None:
    """The small world's addresses are those printed above."""
    assert address(V4, 96, 1) == "10.96.0.1"

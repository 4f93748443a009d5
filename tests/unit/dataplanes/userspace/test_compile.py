# SPDX-License-Identifier: Apache-2.0
"""What is compiled: its phases, as packets in flight would meet them, and its printed form."""

from collections.abc import Iterator, Mapping

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.dataplanes.userspace import layout
from kproxy.dataplanes.userspace.committed import Committed
from kproxy.dataplanes.userspace.compile import compile_changes
from kproxy.dataplanes.userspace.elements import Elements, schemas
from kproxy.dataplanes.userspace.judging import digits
from kproxy.dataplanes.userspace.layout import WORDS, Options
from kproxy.dataplanes.userspace.services import ANY, Service
from kproxy.dataplanes.userspace.transaction import ADD, Operation, RelayTransaction, Target, Telling
from kproxy.kernel.nft_elements import Codec, read_number
from kproxy.table.frontend import Sources
from kproxy.table.route import Route
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Family, Method, Protocol
from tests.examples import examples
from tests.unit.dataplanes.tables import balancer_ip, changes, endpoint, frontend, node, nodeport, route, table, tables

V4 = Family.IPV4
OPTIONS = Options()
TARGETS = {family: Target(f"{WORDS[family].ip} {layout.TABLE}", layout.TABLE, schemas(family)) for family in Family}
Held = Mapping[str, Service]


def compiled(
    committed: Committed, held: Held, before: RoutingTable | None, after: RoutingTable, family: Family = V4
) -> RelayTransaction:
    """Compile a change."""
    return compile_changes(committed, held, changes(before, after), family, OPTIONS, TARGETS[family])


def told(held: Held, telling: Telling) -> Held:
    """Return what the relay holds after a telling."""
    return {key: service for key, service in {**held, **telling.upserts}.items() if key not in telling.removes}


def taken(elements: Elements, operations: Iterator[Operation] | tuple[Operation, ...]) -> Elements:
    """Return the kernel's elements after some operations; strict as the kernel is."""
    after = dict(elements)
    for one in operations:
        if one.verb == ADD:
            assert one.element not in after, f"EEXIST {one.element}"
            after[one.element] = one.data
        else:
            assert one.element in after, f"ENOENT {one.element}"
            del after[one.element]
    return after


def moments(elements: Elements, held: Held, transaction: RelayTransaction) -> Iterator[tuple[Elements, Held]]:
    """Yield what rules and relay hold at each moment at which a packet may be judged by the ones and meet the other."""
    yield elements, held
    held = told(held, transaction.fill)
    yield elements, held
    for batch in transaction.batches:
        elements = taken(elements, tuple(batch))
        yield elements, held
    elements = taken(elements, tuple(transaction.later))
    yield elements, told(held, transaction.relieve)


def lost(elements: Elements, held: Held, family: Family) -> list[str]:
    """Name every client that the rules would send to the relay and the relay would not know what to do with.

    A Service that has no endpoint at all turns clients away, as its rules do.
    """
    codec = Codec(family)
    known = {
        (address, port, service.protocol): service for service in held.values() for _, address, port in service.frontends
    }
    found = []
    for (name, key, _), data in elements.items():
        if name not in {layout.FRONTENDS, layout.NODEPORTS}:
            continue
        port, protocol = int.from_bytes(key[-4:-2], "big"), {6: "TCP", 17: "UDP"}.get(key[-8])
        address = ANY[family] if name == layout.NODEPORTS else codec.endpoint_text(key[:-8] + key[-4:]).rpartition(":")[0]
        service = known.get((address.strip("[]"), port, protocol or ""))
        for digit in digits(read_number(data or b"")):
            if digit > 2:
                backends = () if service is None else service.all if digit == 3 else service.local
                nobody = service is not None and not any(weight for _, weight, _ in (*service.all, *service.local))
                if not nobody and not any(weight for _, weight, _ in backends):
                    found.append(f"{address}:{port} {digit}")
    return found


@settings(deadline=None, max_examples=examples(25))
@given(st.data(), st.sampled_from(list(Family)))
def test_nobody_is_sent_to_a_relay_that_knows_nothing(data: st.DataObject, family: Family) -> None:
    """Law 1: whatever order packets and phases fall in, a taken client's Service has its frontend and an endpoint."""
    committed = Committed()
    held: Held = {}
    before = None
    for _ in range(2):
        after = data.draw(tables(family))
        transaction = compiled(committed, held, before, after, family)
        for elements, knows in moments(committed.elements, held, transaction):
            assert lost(elements, knows, family) == []
            held = knows
        elements = committed.elements
        for batch in transaction.batches:
            elements = taken(elements, tuple(batch))
        elements = taken(elements, tuple(transaction.later))
        committed.advance(transaction.outcome)
        assert committed.elements == elements
        before = after


@settings(deadline=None, max_examples=examples(25))
@given(st.data(), st.sampled_from(list(Family)))
def test_any_way_leads_to_the_same_end(data: st.DataObject, family: Family) -> None:
    """Small steps, or all at once: rules and relay hold the same in the end, and nothing is sent again."""
    first, second = data.draw(tables(family)), data.draw(tables(family))
    ends = []
    for way in ([first, second], [second]):
        committed = Committed()
        held: Held = {}
        before = None
        for after in way:
            transaction = compiled(committed, held, before, after, family)
            held = told(told(held, transaction.fill), transaction.relieve)
            committed.advance(transaction.outcome)
            before = after
        ends.append((committed.elements, held, committed.claims))
        assert compiled(committed, held, None, second, family).operations == 0
    assert ends[0] == ends[1]


def _web(**fields: object) -> Route:
    return route(V4, "web", [frontend(V4, 1), nodeport(30001)], [endpoint(V4, 1), endpoint(V4, 2)], **fields)


def test_an_endpoint_that_leaves_is_no_business_of_the_kernel() -> None:
    """A change of endpoints alone is one Service of the relay."""
    one = table(node(V4), [_web()])
    first = compiled(Committed(), {}, None, one)
    committed = Committed()
    committed.advance(first.outcome)
    held = told(told({}, first.fill), first.relieve)
    second = compiled(committed, held, one, table(one.node, [msgspec.structs.replace(_web(), all=(endpoint(V4, 2),))]))

    assert (second.kernel_operations, second.operations) == (0, 1)
    assert str(second) == "# relay: set shop/web:http/TCP/IPv4: 10.96.0.1:80/TCP, *:30001/TCP -> 10.244.0.2:8080 (random)\n"


def test_ranges_of_a_frontend_that_is_guarded_no_more_leave_later() -> None:
    """A packet that has met the guard still looks for its range."""
    guarded = balancer_ip(V4, 1, Sources(("10.0.0.0/8",)))
    one = table(node(V4), [route(V4, "web", [guarded], [endpoint(V4, 1)])])
    committed = Committed()
    first = compiled(committed, {}, None, one)
    committed.advance(first.outcome)
    open_ = table(one.node, [route(V4, "web", [balancer_ip(V4, 1)], [endpoint(V4, 1)])])
    second = compiled(committed, told({}, first.fill), one, open_)

    assert [each.element[0] for batch in second.batches for each in batch] == [layout.GUARDED]
    assert [each.element[0] for each in second.later] == [layout.ALLOWED]


def test_sctp_is_refused_and_told() -> None:
    """The relay has no SCTP: its frontends are rejected by rule, and an Event can say why."""
    sctp = frontend(V4, 1, protocol=Protocol.SCTP)
    key = msgspec.structs.replace(_web().key, protocol=Protocol.SCTP)
    after = table(node(V4), [msgspec.structs.replace(_web(), key=key, frontends=(sctp,))])
    transaction = compiled(Committed(), {}, None, after)

    assert "no SCTP" in transaction.limits[key]
    assert not transaction.fill
    (code,) = {read_number(each.data or b"") for each in transaction.batches[0] if each.element[0] == layout.FRONTENDS}
    assert set(digits(code)) == {2}


def test_methods_of_ipvs_become_the_relays() -> None:
    """Names are those of IPVS; what the relay lacks is balanced at random, and told."""
    got = {}
    for method in (Method.RR, Method.WLC, Method.MH, Method.LBLCR):
        transaction = compiled(Committed(), {}, None, table(node(V4), [_web(method=method)]))
        (service,) = transaction.fill.upserts.values()
        got[method] = (service.method, bool(transaction.limits))

    assert got == {
        Method.RR: ("round-robin", False),
        Method.WLC: ("least-connections", False),
        Method.MH: ("consistent", False),
        Method.LBLCR: ("random", True),
    }

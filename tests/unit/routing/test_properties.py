# SPDX-License-Identifier: Apache-2.0
"""What holds for every cluster and every history of it."""

import functools

from hypothesis import given
from hypothesis import strategies as st

from kproxy.dataplanes.contract import Applied
from kproxy.dataplanes.fake import FakeDataplane
from kproxy.objects.events import Event
from kproxy.routing.claims import Claims, claims_of, settled_table
from kproxy.routing.diff import changes_between, changes_from_nothing
from kproxy.routing.node_facts import node_view
from kproxy.routing.resolve import resolve, resolve_service
from kproxy.routing.router import Router
from kproxy.routing.settings import Settings
from kproxy.routing.store import Store
from kproxy.table.interpret import Interpreter, Packet
from kproxy.table.node import NodeFacts
from kproxy.table.route import Route, RouteKey
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Action, Client, EndpointSet, Family, Role
from tests.unit.routing.clusters import NODE, SYNCED, batches, family_addresses, histories, last_told, settings


def filled(history: list[Event]) -> Store:
    """Return a store that was told a history."""
    store = Store(NODE)
    for event in history:
        store.apply(event)
    return store


def table_of(configured: Settings, history: list[Event]) -> RoutingTable:
    """Return the table that a history leads to."""
    router = Router(configured)
    router.apply([*history, *SYNCED])
    return router.table


def routes_of(table: RoutingTable) -> dict[RouteKey, Route]:
    """Return a table's routes by key."""
    return {route.key: route for route in table.routes()}


@given(settings, batches(), st.randoms())
def test_any_history_ends_in_the_table_of_a_fresh_resolve(
    configured: Settings, cut: list[list[Event]], random: object
) -> None:
    """However events come, and in whatever batches, the table is that of the last word on each object, in any order."""
    router = Router(configured)
    for batch in cut:
        router.apply(batch)
    relisted = last_told([event for batch in cut for event in batch])
    random.shuffle(relisted)  # type: ignore[attr-defined]
    store = filled(relisted)
    view = node_view(configured, router.store.node, store.addresses, store.service_cidrs)

    assert router.table == resolve(store, view)


@given(settings, settings, batches())
def test_changes_lead_from_one_table_to_the_next(configured: Settings, other: Settings, cut: list[list[Event]]) -> None:
    """Whoever applies nothing but Changes, as dataplanes do, holds the table: new settings included."""
    router = Router(configured)
    routes: dict[RouteKey, Route] = {}
    planes = {family: FakeDataplane(family) for family in Family}
    told = RoutingTable()
    steps = [*(functools.partial(router.apply, batch) for batch in cut), functools.partial(router.reconfigure, other)]
    for changes in (step() for step in steps):
        if changes is None:
            assert router.table.services == {}
            continue
        assert changes.after is router.table
        for change in changes.routes:
            assert routes.get(change.key) == change.before
            routes.pop(change.key, None)
            if change.after:
                routes[change.key] = change.after
        for plane in planes.values():
            answer = plane.commit(plane.compile(plane.read_back(), changes))
            assert isinstance(answer, Applied), answer
        assert routes == routes_of(changes.after)
        names = changes.after.services.keys() | told.services.keys()
        assert set(changes.services) == {one for one in names if changes.after.services.get(one) != told.services.get(one)}
        assert changes.node == (changes.before is None or changes.before.node != changes.after.node)
        told = changes.after


@given(settings, batches(), histories)
def test_what_did_not_change_stays_the_same_object(configured: Settings, cut: list[list[Event]], again: list[Event]) -> None:
    """An object told twice is no change, and routes that are equal are shared from one table to the next."""
    router = Router(configured)
    for batch in cut:
        router.apply(batch)
    before = router.table
    relisted = last_told([event for batch in cut for event in batch])

    changes = router.apply(relisted)

    assert changes is not None
    assert not changes
    assert router.table is before
    router.apply(again)
    after = routes_of(router.table)
    for key, route in routes_of(before).items():
        assert after.get(key) != route or after[key] is route


@given(settings, histories, histories)
def test_diff_of_two_tables_leads_from_one_to_the_other(configured: Settings, one: list[Event], other: list[Event]) -> None:
    """Any two tables can be compared, not only neighbours."""
    before, after = table_of(configured, one), table_of(configured, other)
    routes = routes_of(before)
    for change in changes_between(before, after).routes:
        assert routes.pop(change.key, None) == change.before
        if change.after:
            routes[change.key] = change.after

    assert routes == routes_of(after)
    assert not changes_between(after, after)
    first = changes_from_nothing(after)
    assert {change.key: change.after for change in first.routes} == routes
    priorities = [change.after.priority for change in first.routes if change.after]
    assert priorities == sorted(priorities, reverse=True)


@given(settings, histories, st.lists(st.integers(0, 10), max_size=12), st.randoms())
def test_claims_are_settled_the_same_in_any_order(
    configured: Settings, history: list[Event], gone: list[int], random: object
) -> None:
    """Who gets a frontend depends on who claims it, not on who came first, nor on who was there in between."""
    store = filled(history)
    view = node_view(configured)
    asked = {name: resolve_service(shape, store.slices_of(name), view) for name, shape in store.services.items()}
    wanted = settled_table(NodeFacts(), asked)
    claims = Claims()
    granted = {}
    names = list(asked)
    for step in gone:
        name = names[step % len(names)] if names else ""
        if name:
            granted.update(claims.settle({name: None if claims.asked(name) else asked[name]}))
    random.shuffle(names)  # type: ignore[attr-defined]
    for name in names:
        granted.update(claims.settle({name: asked[name]}))

    assert granted == wanted.services
    assert claims.conflicts == wanted.conflicts
    every = [claim for routes in wanted.services.values() for claim in claims_of(routes)]
    assert len(every) == len(set(every))
    assert set(every) == {claim for routes in asked.values() for claim in claims_of(routes)}


@given(settings, histories)
def test_packets_meet_what_their_route_says(configured: Settings, history: list[Event]) -> None:
    """A dial of any frontend by any client meets that route's verdict, over the set it names, with shares that add up."""
    table = table_of(configured, history)
    interpreter = Interpreter(table)
    for route in table.routes():
        family = route.key.family
        facts = table.node.of(family)
        sources = [family_addresses(family), *facts.addresses, *(one.address for one in route.all)]
        for frontend in route.frontends:
            destinations = [frontend.address] if frontend.address else list(facts.addresses)
            for packet in (
                Packet(source, destination, frontend.port, frontend.protocol)
                for source in sources
                for destination in destinations
            ):
                meeting = interpreter.meet(packet)
                if meeting.frontend is None:
                    assert not frontend.address
                    assert meeting.action is Action.PASS
                    continue
                owner = table.get(meeting.key) if meeting.key else None
                assert owner is not None
                assert frontend.address == "" or owner == route
                verdict = owner.policy(meeting.frontend.role).of(meeting.client)
                if meeting.frontend.sources and meeting.action is Action.DROP:
                    continue
                assert meeting.action is verdict.action
                if meeting.action is Action.BALANCE:
                    assert [one.endpoint for one in meeting.candidates] == list(owner.endpoints(verdict.endpoints))
                    assert abs(sum(one.probability for one in meeting.candidates) - 1) < 1e-9
                    for one in meeting.candidates:
                        assert one.masquerade == (verdict.masquerade or one.endpoint.address == packet.source)


@given(settings, histories)
def test_an_endpoint_is_left_out_for_a_reason_or_used(configured: Settings, history: list[Event]) -> None:
    """The account of a Service names exactly the endpoints of each set as used, and gives every other a reason."""
    router = Router(configured)
    router.apply([*history, *SYNCED])
    for name, shape in router.store.services.items():
        traces = router.trace(name)
        asked = {route.key: route for route in resolve_service(shape, router.store.slices_of(name), router.view).routes}
        assert [trace.key for trace in traces] == list(asked)
        for trace in traces:
            route = asked[trace.key]
            for which, reasons in (
                (EndpointSet.ALL, [(one.endpoint, one.cluster) for one in trace.endpoints]),
                (EndpointSet.LOCAL, [(one.endpoint, one.local) for one in trace.endpoints]),
            ):
                used = tuple(endpoint for endpoint, reason in reasons if reason == "")
                if route.endpoints(which):
                    assert used == route.endpoints(which)
                elif any(route.policy(role).of(client).endpoints is which for role in Role for client in Client):
                    assert used == () or not any(
                        verdict.action is Action.BALANCE and verdict.endpoints is which
                        for role in Role
                        for verdict in map(route.policy(role).of, Client)
                    )
    assert router.trace("shop/nobody") == ()


@given(settings, histories)
def test_sets_hold_what_verdicts_use_and_nothing_else(configured: Settings, history: list[Event]) -> None:
    """A route carries an endpoint set exactly when some verdict balances over it."""
    for route in table_of(configured, history).routes():
        used = {
            verdict.endpoints
            for role in Role
            for verdict in map(route.policy(role).of, Client)
            if verdict.action is Action.BALANCE
        }
        for which in EndpointSet:
            assert bool(route.endpoints(which)) == (which in used)
            assert [one.key for one in route.endpoints(which)] == sorted({one.key for one in route.endpoints(which)})
        assert all(one.local for one in route.local)

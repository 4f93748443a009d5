# SPDX-License-Identifier: Apache-2.0
"""The workload generator: reproducible, and true to itself."""

import itertools

import hypothesis.strategies as some
import pytest
from hypothesis import given

from kproxy.lab.workload import Shape, Step, Workload, events, synced
from kproxy.objects.decode import key_of
from kproxy.objects.endpointslice import EndpointSlice
from kproxy.objects.events import Delete, Event, Kind, Object, Upsert
from kproxy.objects.service import Service

SHAPES = some.builds(
    Shape,
    services=some.integers(1, 4),
    endpoints=some.integers(1, 5),
    families=some.sampled_from((("IPv4",), ("IPv6",), ("IPv4", "IPv6"))),
    ports=some.integers(1, 2),
    slice_size=some.integers(1, 3),
    node_ports=some.sampled_from((0.0, 0.5)),
    affinity=some.sampled_from((0.0, 1.0)),
)


def follow(known: dict[tuple[str, str], Object], told: list[Event]) -> None:
    """Apply events to what is known."""
    for event in told:
        if isinstance(event, Upsert):
            known[type(event.object).__name__, key_of(event.object)] = event.object
        elif isinstance(event, Delete):
            del known[str(event.kind), event.key]


def serving(known: dict[tuple[str, str], Object]) -> int:
    """Count endpoints that are not terminating."""
    slices = [item for item in known.values() if isinstance(item, EndpointSlice)]
    return sum(
        not (endpoint.conditions and endpoint.conditions.terminating) for item in slices for endpoint in item.endpoints or ()
    )


@given(SHAPES, some.integers(0, 5), some.integers(0, 12))
def test_the_steps_lead_to_the_present_state(shape: Shape, seed: int, count: int) -> None:
    """Who follows every step knows what a fresh list would say."""
    workload = Workload(shape, seed=seed)
    known: dict[tuple[str, str], Object] = {}
    follow(known, list(events(workload.objects())))

    for step in itertools.islice(workload.changes(), count):
        follow(known, list(events(step)))
    for step in (*workload.roll(0), workload.remove(0), workload.restore(0)):
        follow(known, list(events(step)))

    fresh: dict[tuple[str, str], Object] = {}
    follow(fresh, list(events(workload.objects())))
    assert known == fresh


@given(SHAPES, some.integers(0, 3))
def test_the_same_seed_makes_the_same_cluster(shape: Shape, seed: int) -> None:
    """Objects and changes are reproducible."""
    one, two = Workload(shape, seed=seed), Workload(shape, seed=seed)

    assert list(one.objects()) == list(two.objects())
    assert list(itertools.islice(one.changes(), 8)) == list(itertools.islice(two.changes(), 8))


@given(SHAPES)
def test_the_numbers_are_as_asked(shape: Shape) -> None:
    """So many Services and endpoints a family, each endpoint with an address of its own, slices no larger than allowed."""
    known: dict[tuple[str, str], Object] = {}
    follow(known, list(events(Workload(shape).objects())))

    slices = [item for item in known.values() if isinstance(item, EndpointSlice)]
    addresses = [endpoint.addresses[0] for item in slices for endpoint in item.endpoints or ()]
    assert sum(isinstance(item, Service) for item in known.values()) == shape.services
    assert len(addresses) == len(set(addresses)) == shape.services * shape.endpoints * len(shape.families)
    assert max(len(item.endpoints or ()) for item in slices) <= shape.slice_size


def test_growing_shrinking_and_replacing_move_one_endpoint() -> None:
    """One more, one less, or one other; the others stay."""
    workload = Workload(Shape(services=1, endpoints=5, slice_size=3))

    before = set(workload.numbers(0))
    workload.grow(0)
    grown = set(workload.numbers(0))
    assert (len(grown - before), before - grown) == (1, set())
    workload.shrink(0)
    shrunk = set(workload.numbers(0))
    assert (len(grown - shrunk), shrunk - grown) == (1, set())
    workload.replace(0)
    replaced = set(workload.numbers(0))
    assert (len(shrunk - replaced), len(replaced - shrunk)) == (1, 1)


def test_a_rolling_update_never_has_fewer_endpoints() -> None:
    """A new endpoint is ready before an old one terminates; in the end all are new."""
    workload = Workload(Shape(services=1, endpoints=4))
    old = set(workload.numbers(0))
    known: dict[tuple[str, str], Object] = {}
    follow(known, list(events(workload.objects())))
    counts = []
    for step in workload.roll(0):
        follow(known, list(events(step)))
        counts.append(serving(known))

    assert set(counts) == {4, 5}
    assert len(counts) == 12
    assert not old & set(workload.numbers(0))
    assert len(workload.numbers(0)) == 4


def test_endpoints_can_live_at_given_addresses() -> None:
    """A test with real servers says where they are."""
    workload = Workload(Shape(services=1, endpoints=2), address=lambda _, number: f"10.9.9.{number % 2}")

    (told,) = workload.slices(0)
    assert {endpoint["addresses"][0] for endpoint in told["endpoints"]} == {"10.9.9.0", "10.9.9.1"}


def test_events_carry_the_time_they_came() -> None:
    """``received`` is passed on, deletions included; every kind is told synced."""
    workload = Workload(Shape(services=1))

    assert {event.received for event in events(workload.grow(0), 5.0) if isinstance(event, Upsert)} == {5.0}
    assert {event.received for event in events(workload.remove(0), 6.0) if isinstance(event, Delete)} == {6.0}
    assert list(events(Step())) == []
    assert [event.kind for event in synced() if hasattr(event, "kind")] == list(Kind)


@pytest.mark.parametrize("services", [[0], [1, 2]])
def test_changes_can_be_kept_to_some_services(services: list[int]) -> None:
    """Only the Services named change."""
    workload = Workload(Shape(services=4, endpoints=2))
    names = {
        put["metadata"]["labels"]["kubernetes.io/service-name"]
        for step in itertools.islice(workload.changes(services), 30)
        for put in step.puts
    }

    assert names == {f"svc-{service}" for service in services}

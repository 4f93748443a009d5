# SPDX-License-Identifier: Apache-2.0
"""Whatever a server does, what the reflector has told ends up as the server's state, and never passes through a clear."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.objects.events import Delete, Event, Synced, Upsert
from kproxy.sources.kubernetes.backoff import Backoff
from kproxy.sources.kubernetes.inventory import Inventory
from kproxy.sources.kubernetes.reflector import Reflector, Timing
from kproxy.sources.watches import SERVICES
from kproxy.table.clock import FakeClock
from tests.examples import examples
from tests.unit.sources.fake_server import FakeServer, Fault
from tests.unit.sources.told import Told

NAMES = st.sampled_from("abc")
STEPS = st.one_of(
    st.tuples(st.just("put"), NAMES),
    st.tuples(st.just("break"), NAMES),
    st.tuples(st.just("headless"), NAMES),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("compact"), st.none()),
    st.tuples(st.just("lose"), NAMES),
    st.tuples(st.just("streaming"), st.booleans()),
    st.tuples(st.just("fields"), st.booleans()),
    st.tuples(st.just("bookmarks"), st.booleans()),
    st.tuples(st.just("fault"), st.tuples(st.sampled_from(Fault), st.integers(0, 5))),
    st.tuples(st.just("turn"), st.none()),
    st.tuples(st.just("turn"), st.none()),
)


class Witness(Told):
    """Checks every single event against the server's history."""

    def __init__(self, server: FakeServer) -> None:
        super().__init__()
        self.server = server
        self.reasons: dict[str, list[int]] = {}  # versions at which an object ceased to be selected

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, Upsert):
            meta = event.object.metadata
            assert self.versions.get(meta.key) != meta.resource_version, f"{meta.key} was told twice"
        if isinstance(event, Delete) and event.key in self.versions:
            since = int(self.versions[event.key])
            reasons = self.server.deletions.get(event.key, []) + self.reasons.get(event.key, [])
            assert any(version > since for version in reasons), f"{event.key} was told as deleted and never was"
        if isinstance(event, Synced):
            assert not any(isinstance(earlier, Synced) for earlier in self.events), "synced twice"
        super().__call__(event)


def step(server: FakeServer, witness: Witness, what: str, value: Any) -> None:
    """Do one thing to the server."""
    match what:
        case "put":
            server.put(value, clusterIP="10.96.0.1")
        case "headless":
            server.put(value, clusterIP="None")
            witness.reasons.setdefault(f"shop/{value}", []).append(server.version)
        case "break":
            server.put(value, ports="none")
        case "delete":
            server.delete(value)
        case "compact":
            server.compact()
        case "lose":  # nobody will ever be told of the deletion
            server.delete(value)
            server.compact()
        case "fault":
            server.faults.append(value)
        case _:
            setattr(server, what, value)


@settings(max_examples=examples(400), deadline=None)
@given(st.lists(STEPS, min_size=10, max_size=60))
def test_the_told_converges_to_the_server_through_any_faults(steps: list[tuple[str, Any]]) -> None:
    """Objects are told exactly as the server has them; a broken one stays as it last was, if it ever was."""

    async def scenario() -> None:
        server = FakeServer()
        witness = Witness(server)
        backoff = Backoff(1.0, 30.0, chance=lambda: 1.0)
        reflector = Reflector(SERVICES, server, clock=FakeClock(), timing=Timing(page=2), backoff=backoff)
        inventory = Inventory(SERVICES, witness)
        for what, value in steps:
            if what == "turn":
                await reflector.turn(inventory)
            else:
                step(server, witness, what, value)
        server.faults.clear()
        for _ in range(5):  # the server is well again; a list and a watch may each need a turn, a 410 or fault one more
            await reflector.turn(inventory)
        good = {
            f"shop/{name}": item["metadata"]["resourceVersion"]
            for name, item in server.objects.items()
            if item["spec"].get("clusterIP") == "10.96.0.1"
        }
        broken = {f"shop/{name}" for name, item in server.objects.items() if "ports" in item["spec"]}
        assert {key: version for key, version in witness.versions.items() if key not in broken} == good
        assert any(isinstance(event, Synced) for event in witness.events)

    asyncio.run(scenario())

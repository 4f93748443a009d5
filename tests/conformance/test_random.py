# SPDX-License-Identifier: Apache-2.0
"""The model and the kernel agree on clusters that nobody thought of, and on the way from one to the next."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, assume, given, settings

from kproxy.dataplanes.contract import Applied, Committed, Dataplane
from kproxy.dataplanes.iptables.kind import CHOICE
from kproxy.objects.decode import key_of, kind_of
from kproxy.objects.events import Delete, Event, Upsert
from kproxy.routing.router import Router
from kproxy.table.interpret import Interpreter
from kproxy.table.routing_table import Changes
from kproxy.table.terms import Action, Mode
from tests.conformance.applies import flows_of
from tests.conformance.build import events_of, settings_of, table_of
from tests.conformance.model import packet_of
from tests.conformance.packets import flows
from tests.conformance.packets.diallers import dialler_of
from tests.conformance.packets.flows import Case, Flow
from tests.conformance.packets.node import playing_node
from tests.conformance.packets.program import open_dataplanes
from tests.conformance.packets.runner import faults
from tests.conformance.random_tables import histories

pytestmark = pytest.mark.packets

ANSWERS = {Action.REJECT: "REJECT", Action.DROP: "DROP", Action.PASS: "NONE"}
bounded = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(params=["nftables", "iptables nft", "iptables legacy", "userspace"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Mode:
    """Each mode; iptables through both of its kinds."""
    word, _, kind = request.param.partition(" ")
    monkeypatch.setenv(CHOICE, kind)
    return Mode(word)


def expected(case: Case, flow: Flow, interpreter: Interpreter) -> Flow:
    """Return a flow with what the model says it meets."""
    packet = packet_of(case, flow)
    meeting = interpreter.meet(packet)
    if meeting.action is not Action.BALANCE:
        return {**flow, "expect": ANSWERS[meeting.action], "masquerade": False}
    others = [one for one in meeting.candidates if one.endpoint.address != packet.source]
    masquerade = any(one.masquerade for one in (others or meeting.candidates))
    return {**flow, "expect": [one.endpoint.key for one in meeting.candidates], "masquerade": masquerade}


def foretold(case: Case, interpreter: Interpreter) -> Case:
    """Return a case whose flows all say what they meet."""
    return {**case, "flows": [expected(case, flow, interpreter) for flow in case["flows"]]}


@settings(bounded, max_examples=25)
@given(histories())
def test_model_and_packets_agree(mode: Mode, history: list[Case]) -> None:
    """Whatever the model says a packet meets, a real one meets, in both families and all protocols."""
    (case,) = history
    assume(flows_of(case, mode))

    assert faults(foretold(case, Interpreter(table_of(case, mode))), mode) == []


def news(before: Sequence[Event], after: Sequence[Event]) -> list[Event]:
    """Return what a source tells between two states of a cluster."""
    here = {(kind_of(event.object), key_of(event.object)) for event in after if isinstance(event, Upsert)}
    there = {(kind_of(event.object), key_of(event.object)) for event in before if isinstance(event, Upsert)}
    return [*(Delete(kind, key) for kind, key in sorted(there - here)), *after]


def carry(planes: Sequence[Dataplane], committed: dict[str, Committed], changes: Changes) -> None:
    """Commit changes in every family; afterwards the dataplane itself finds nothing wrong."""
    for plane in planes:
        answer = plane.commit(plane.compile(committed[plane.family], changes))
        assert isinstance(answer, Applied), answer
        committed[plane.family] = answer.committed
        assert plane.verify(answer.committed, changes.after) == []


@settings(bounded, max_examples=12)
@given(histories(longest=5))
def test_every_step_of_a_history_leads_where_the_model_says(mode: Mode, history: list[Case]) -> None:
    """Small changes from table to table end at what a fresh table would be, packet by packet."""
    everywhere = {**history[0], "flows": [flow for case in history for flow in case["flows"]]}
    everywhere["endpointslices"] = [slice_ for case in history for slice_ in case["endpointslices"]]
    around = flows.surroundings(everywhere)
    router = Router(settings_of(history[0], mode))
    with playing_node(history[0]["node"]["addresses"], around.behind, around.uplink) as node:
        flows.set_up(everywhere, node)
        dialler = dialler_of(mode, node)
        planes = open_dataplanes(router.settings)
        committed: dict[str, Committed] = {plane.family: plane.read_back() for plane in planes}
        told: list[Event] = []
        for case in history:
            before, told = told, events_of(case)
            changes = router.apply(news(before, told))
            assert changes is not None
            carry(planes, committed, changes)
            known = foretold(case, Interpreter(router.table))
            for flow in flows_of(known, mode):
                outcomes = flows.dial_flow(known, flow, around, dialler)
                assert (flow["name"], flows.faults(known, flow, outcomes)) == (flow["name"], [])
        for plane in planes:
            plane.close()

# SPDX-License-Identifier: Apache-2.0
"""The model and the kernel agree on clusters that nobody thought of."""

import pytest
from hypothesis import HealthCheck, given, settings

from kproxy.table.interpret import Interpreter
from kproxy.table.terms import Action, Mode
from tests.conformance.build import table_of
from tests.conformance.model import packet_of
from tests.conformance.packets.flows import Case, Flow
from tests.conformance.packets.runner import faults
from tests.conformance.random_tables import cases

pytestmark = pytest.mark.packets

ANSWERS = {Action.REJECT: "REJECT", Action.DROP: "DROP", Action.PASS: "NONE"}


def expected(case: Case, flow: Flow, interpreter: Interpreter) -> Flow:
    """Return a flow with what the model says it meets."""
    packet = packet_of(case, flow)
    meeting = interpreter.meet(packet)
    if meeting.action is not Action.BALANCE:
        return {**flow, "expect": ANSWERS[meeting.action], "masquerade": False}
    others = [one for one in meeting.candidates if one.endpoint.address != packet.source]
    masquerade = any(one.masquerade for one in (others or meeting.candidates))
    return {**flow, "expect": [one.endpoint.key for one in meeting.candidates], "masquerade": masquerade}


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(cases())
@pytest.mark.parametrize("mode", [Mode.NFTABLES])
def test_model_and_packets_agree(mode: Mode, case: Case) -> None:
    """Whatever the model says a packet meets, a real one meets, in both families and all protocols."""
    interpreter = Interpreter(table_of(case, mode))
    known = {**case, "flows": [expected(case, flow, interpreter) for flow in case["flows"]]}

    assert faults(known, mode) == []

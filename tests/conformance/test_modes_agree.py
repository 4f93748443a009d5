# SPDX-License-Identifier: Apache-2.0
"""One table through every mode: real packets meet the same in each of them, and what the model says.

The table is that of mode iptables, which refuses least: what it passes untouched, every mode can pass.
"""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from kproxy.daemon.modes import MODES
from kproxy.dataplanes.iptables.kind import CHOICE
from kproxy.table.interpret import Interpreter
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Mode
from tests.conformance.applies import compares_masquerade, flows_of
from tests.conformance.build import settings_of, table_of
from tests.conformance.packets import flows
from tests.conformance.packets.dial import Dialler, Met, Outcome
from tests.conformance.packets.flows import Case
from tests.conformance.packets.node import playing_node
from tests.conformance.packets.program import programmed
from tests.conformance.random_tables import histories
from tests.conformance.test_random import foretold

pytestmark = pytest.mark.packets

WAYS = ((Mode.NFTABLES, ""), (Mode.IPTABLES, "nft"), (Mode.IPTABLES, "legacy"))
bounded = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def shared_table(case: Case) -> RoutingTable:
    """Return a table that every mode can serve: without NodePorts on 127.0.0.1, which not all have."""
    table = table_of(case, Mode.IPTABLES)
    facts = table.node.ipv4
    ports = msgspec.structs.replace(facts.nodeports, loopback=False)
    node = msgspec.structs.replace(table.node, ipv4=msgspec.structs.replace(facts, nodeports=ports))
    return msgspec.structs.replace(table, node=node)


def outcomes(case: Case, table: RoutingTable, mode: Mode) -> dict[str, list[Outcome]]:
    """Dial every flow of a case through one mode."""
    around = flows.surroundings(case)
    with playing_node(case["node"]["addresses"], around.behind, around.uplink) as node:
        flows.set_up(case, node)
        with programmed(settings_of(case, mode), table):
            dialler = Dialler(node)
            return {flow["name"]: flows.dial_flow(case, flow, around, dialler) for flow in flows_of(case, mode)}


def summary(case: Case, dialled: list[Outcome], mode: Mode) -> set[tuple[Met, str, bool]]:
    """Say what was met: answers, endpoints, and whether the client's address was kept.

    Clients that are bound to endpoints are dealt different ones by each mode, so of them only the kind of answer counts.
    """
    if flows.bound(case):
        return {(outcome.met, "", True) for outcome in dialled}
    return {
        (outcome.met, outcome.endpoint, outcome.source in ("", outcome.dial.source) or not compares_masquerade(mode))
        for outcome in dialled
    }


def test_every_mode_that_translates_is_compared() -> None:
    """The ways are those that are built, as far as the kernel translates."""
    assert {mode for mode, _ in WAYS} <= set(MODES)


@settings(bounded, max_examples=8)
@given(histories())
def test_modes_agree(history: list[Case]) -> None:
    """No packet can tell which mode serves."""
    (case,) = history
    table = shared_table(case)
    case = foretold(case, Interpreter(table))
    seen: dict[str, dict[str, set[tuple[Met, str, bool]]]] = {}
    for mode, kind in WAYS:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv(CHOICE, kind)
            found = outcomes(case, table, mode)
        for flow in flows_of(case, mode):
            assert (mode, kind, flow["name"], flows.faults(case, flow, found[flow["name"]])) == (
                mode,
                kind,
                flow["name"],
                [],
            )
        seen[f"{mode} {kind}"] = {name: summary(case, dialled, mode) for name, dialled in found.items()}
    first, *others = seen.values()
    for other in others:
        assert other == first

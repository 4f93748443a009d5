# SPDX-License-Identifier: Apache-2.0
"""One table through every mode: real packets meet the same in each of them, and what the model says.

The table is that of mode iptables, which refuses least: what it passes untouched, every mode can pass.
"""

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings

from kproxy.daemon.modes import MODES
from kproxy.dataplanes.iptables.kind import CHOICE
from kproxy.table.interpret import Interpreter
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Mode
from tests.conformance.applies import compares_masquerade, flows_of
from tests.conformance.build import settings_of, table_of
from tests.conformance.packets import flows
from tests.conformance.packets.dial import Met, Outcome
from tests.conformance.packets.diallers import dialler_of
from tests.conformance.packets.flows import Case
from tests.conformance.packets.node import playing_node
from tests.conformance.packets.program import programmed
from tests.conformance.random_tables import histories
from tests.conformance.test_random import foretold

pytestmark = pytest.mark.packets

WAYS = ((Mode.NFTABLES, ""), (Mode.IPTABLES, "nft"), (Mode.IPTABLES, "legacy"), (Mode.USERSPACE, ""))
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
            dialler = dialler_of(mode, node)
            return {flow["name"]: flows.dial_flow(case, flow, around, dialler) for flow in flows_of(case, mode)}


def summary(case: Case, dialled: list[Outcome]) -> set[tuple[Met, str]]:
    """Say what was met: answers and endpoints.

    Clients that are bound to endpoints are dealt different ones by each mode, so of them only the kind of answer counts.
    """
    return {(outcome.met, "" if flows.bound(case) else outcome.endpoint) for outcome in dialled}


def kept(dialled: list[Outcome]) -> set[tuple[str, bool]]:
    """Say which endpoints saw the client's own address."""
    return {(outcome.endpoint, outcome.source in ("", outcome.dial.source)) for outcome in dialled}


def test_every_mode_this_kernel_has_is_compared() -> None:
    """The ways are those that are built; IPVS is compared with the model where there is a kernel that has it."""
    assert {mode for mode, _ in WAYS} == set(MODES) - {Mode.IPVS}


@settings(bounded, max_examples=8)
@given(histories())
def test_modes_agree(history: list[Case]) -> None:
    """No client can tell which mode serves, and no endpoint which of those that translate."""
    (case,) = history
    case = {**case, "flows": flows_of(case, Mode.USERSPACE)}
    assume(bool(case["flows"]))
    table = shared_table(case)
    case = foretold(case, Interpreter(table))
    met: dict[str, dict[str, set[tuple[Met, str]]]] = {}
    sources: dict[str, dict[str, set[tuple[str, bool]]]] = {}
    for mode, kind in WAYS:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv(CHOICE, kind)
            found = outcomes(case, table, mode)
        for flow in case["flows"]:
            faults = flows.faults(case, flow, found[flow["name"]])
            assert not faults, f"{mode} {kind}, {flow['name']}: {'; '.join(faults)}"
        way = f"{mode} {kind}"
        met[way] = {name: summary(case, dialled) for name, dialled in found.items()}
        if compares_masquerade(mode) and not flows.bound(case):
            sources[way] = {name: kept(dialled) for name, dialled in found.items()}
    for seen in (list(met.values()), list(sources.values())):
        assert all(one == seen[0] for one in seen)

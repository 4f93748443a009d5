# SPDX-License-Identifier: Apache-2.0
"""The packet suite's verdicts: what counts as met, how often is enough, and that each kind of fault is found."""

from typing import Any

import pytest

from kproxy.table.terms import Protocol
from tests.conformance.packets import flows
from tests.conformance.packets.dial import Dial, Met, Outcome
from tests.conformance.packets.node import LOCAL

ONE, TWO, NODE, CLIENT = "10.180.0.1:80", "10.180.0.2:80", "192.168.0.2", "203.0.113.2"


def case(**spec: Any) -> flows.Case:
    """Return a case with one Service."""
    return {
        "id": "X",
        "node": {"name": "n", "addresses": [NODE]},
        "config": {"clusterCIDR": "10.0.0.0/8"},
        "services": [{"spec": spec}],
        "endpointslices": [],
        "flows": [],
    }


def flow(expect: Any, *, masquerade: bool = False, **more: Any) -> flows.Flow:
    """Return a flow from outside."""
    return {
        "from": "external",
        "src_ip": CLIENT,
        "dst_ip": "172.30.0.1",
        "dst_port": 80,
        "protocol": "TCP",
        "expect": expect,
        "masquerade": masquerade,
        **more,
    }


def met(
    endpoint: str = "",
    verdict: Met = Met.ENDPOINT,
    *,
    source: str = CLIENT,
    where: str = "eth0",
    client: str = CLIENT,
    **more: Any,
) -> Outcome:
    """Return what one dial met."""
    return Outcome(
        Dial(client, where, "172.30.0.1", 80, Protocol.TCP), verdict, endpoint, source if endpoint else "", **more
    )


@pytest.mark.parametrize(
    ("wanted", "outcomes", "fault"),
    [
        (flow([ONE]), [met(ONE)], None),
        (flow([ONE, TWO]), [met(ONE), met(TWO)], None),
        (flow([ONE, TWO]), [met(ONE), met(ONE)], "never met 10.180.0.2:80 in 2 dials"),
        (flow([ONE]), [met(ONE), met(TWO)], "met 10.180.0.2:80"),
        (flow([ONE]), [met(ONE), met(verdict=Met.REJECT)], "met REJECT"),
        (flow([ONE]), [met(ONE, odd="the answer did not come back")], "the answer did not come back"),
        (flow([ONE]), [met(ONE, source=NODE)], "10.180.0.1:80 saw 192.168.0.2: masqueraded"),
        (flow([ONE], masquerade=True), [met(ONE, source=NODE)], None),
        (flow([ONE], masquerade=True), [met(ONE)], "10.180.0.1:80 saw 203.0.113.2: not masqueraded"),
        (flow([ONE], masquerade=True), [met(ONE, source="10.9.9.9")], "10.180.0.1:80 saw 10.9.9.9: not masqueraded"),
        (flow([ONE], masquerade=True), [met(ONE, source=NODE, client=NODE, where=LOCAL)], None),
        (flow([ONE]), [met(ONE, source=NODE, client=NODE, where=LOCAL)], None),
        (
            flow([ONE]),
            [met(ONE, source=NODE, client=NODE, where=LOCAL, port_kept=False)],
            "the endpoints saw other source ports: masqueraded",
        ),
        (flow([f"{NODE}:80"], masquerade=True), [met(f"{NODE}:80")], None),
        (
            flow([f"{NODE}:80"], masquerade=True),
            [met(f"{NODE}:80", source=NODE)],
            "192.168.0.2:80 saw 192.168.0.2: masqueraded",
        ),
        (flow([ONE, f"{CLIENT}:80"]), [met(ONE), met(f"{CLIENT}:80", source=NODE)], None),
        (flow([ONE, f"{CLIENT}:80"]), [met(ONE), met(f"{CLIENT}:80")], "203.0.113.2:80 saw 203.0.113.2: not masqueraded"),
        (flow("REJECT"), [met(verdict=Met.REJECT)], None),
        (flow("REJECT"), [met(verdict=Met.DROP)], "met DROP"),
        (flow("DROP"), [met(verdict=Met.NONE)], "met NONE"),
        (flow("NONE"), [met(ONE)], "met 10.180.0.1:80"),
        (flow("ACCEPT"), [met(verdict=Met.NONE)], None),
        (flow("BLOCKED"), [met(verdict=Met.REJECT), met(verdict=Met.NONE), met(verdict=Met.DROP)], None),
        (flow("BLOCKED"), [met(ONE)], "reached 10.180.0.1:80"),
    ],
)
def test_each_kind_of_fault_is_found(wanted: flows.Flow, outcomes: list[Outcome], fault: str | None) -> None:
    """A verdict that differs is named; one that does not is no fault."""
    assert flows.faults(case(), wanted, outcomes) == ([fault] if fault else [])


def test_a_bound_client_may_meet_one_endpoint_only() -> None:
    """Affinity counts the endpoints of one client, and does not ask of few clients that they see all endpoints."""
    wanted = flow([ONE, TWO], affinity={"connections": 2, "distinct_backends": 1})
    bound = case(sessionAffinity="ClientIP")

    assert flows.faults(bound, wanted, [met(ONE), met(ONE), met(TWO, client="203.0.113.3", source="203.0.113.3")]) == []
    assert flows.faults(bound, wanted, [met(ONE), met(TWO)]) == [
        "one client met 2 endpoints in 2 connections: 10.180.0.1:80, 10.180.0.2:80"
    ]


def test_clients_stand_in_for_each_other_only_where_nothing_tells_them_apart() -> None:
    """A source range or an endpoint within the block makes its addresses different."""
    dial = Dial(CLIENT, "eth0", "172.30.0.1", 80, Protocol.TCP)

    assert len(flows.neighbours(case(), dial, 54)) == 54
    assert CLIENT not in flows.neighbours({**case(), "flows": [flow([ONE])]}, dial, 54)
    assert flows.neighbours(case(loadBalancerSourceRanges=["203.0.113.0/28"]), dial, 54) == []
    assert len(flows.neighbours(case(loadBalancerSourceRanges=["203.0.113.0/25"]), dial, 54)) == 54


@pytest.mark.parametrize("choices", [2, 3, 10, 60])
def test_enough_is_enough(choices: int) -> None:
    """The chance that a fair choice hides one endpoint is below what we allow, by the union bound."""
    assert choices * (1 - 1 / choices) ** flows.enough(choices) <= flows.CONFIDENCE
    assert choices * (1 - 1 / choices) ** (flows.enough(choices) - 1) > flows.CONFIDENCE

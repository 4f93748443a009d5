# SPDX-License-Identifier: Apache-2.0
"""One case after the other: a namespace of its own, the table into it, packets through it."""

import time
import traceback
from collections.abc import Sequence
from typing import Final

from kproxy.dataplanes.contract import Dataplane
from kproxy.table.errors import KproxyError
from kproxy.table.terms import Mode
from tests.conformance.applies import flows_of
from tests.conformance.build import settings_of, table_of
from tests.conformance.packets import flows
from tests.conformance.packets.dial import Met, Outcome
from tests.conformance.packets.diallers import dialler_of
from tests.conformance.packets.node import playing_node
from tests.conformance.packets.program import programmed, restart_is_silent
from tests.conformance.result import Result

COUNTED_WITHIN: Final = 15.0  # seconds: IPVS adds its counts up every two, on a machine that may be slow


def run(cases: Sequence[flows.Case], mode: str) -> list[Result]:
    """Run traffic cases as real packets through a mode's dataplanes. Needs root; without, each case says so."""
    return [_run(case, Mode(mode)) for case in cases]


def _run(case: flows.Case, mode: Mode) -> Result:
    try:
        words = faults(case, mode)
    except KproxyError as error:
        words = [str(error)]
    except Exception:  # noqa: BLE001 - one broken case must not hide the verdicts of the others
        words = [traceback.format_exc()]
    return Result(case["id"], not words, "; ".join(words), mode)


def faults(case: flows.Case, mode: Mode) -> list[str]:
    """Return what is wrong with a case in a mode, one sentence each."""
    table, settings = table_of(case, mode), settings_of(case, mode)
    around = flows.surroundings(case)
    found = []
    outcomes: list[Outcome] = []
    with playing_node(case["node"]["addresses"], around.behind, around.uplink) as node:
        flows.set_up(case, node)
        with programmed(settings, table) as planes:
            dialler = dialler_of(mode, node)
            for flow in flows_of(case, mode):
                met = flows.dial_flow(case, flow, around, dialler)
                found += [f"{flow['name']}: {fault} (expected {flow['expect']})" for fault in flows.faults(case, flow, met)]
                outcomes += met
            found += _miscounted(planes, outcomes)
            restart_is_silent(settings, table)
        if not node.sent:
            found.append("no packet was sent")
    return found


def _miscounted(planes: Sequence[Dataplane], outcomes: Sequence[Outcome]) -> list[str]:
    """Hold the counters against the dials, for as long as the kernel may take to add them up."""
    deadline = time.monotonic() + COUNTED_WITHIN
    while (found := _compared(planes, outcomes)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _compared(planes: Sequence[Dataplane], outcomes: Sequence[Outcome]) -> list[str]:
    """Say which counters differ from the dials.

    Each new connection is counted once at its frontend and once at its endpoint, each refused packet once.
    """
    counters = [plane.counters() for plane in planes]
    connections = sum(outcome.met is Met.ENDPOINT for outcome in outcomes)
    counted = {
        "connections were made, the frontends count": (
            connections,
            sum(traffic.connections for each in counters for traffic in each.frontends.values()),
        ),
        "connections were made, the endpoints count": (
            connections,
            sum(traffic.connections for each in counters for traffic in each.endpoints.values()),
        ),
        "packets were refused, the dataplane counts": (
            sum(outcome.met in (Met.REJECT, Met.DROP) for outcome in outcomes),
            sum(count for each in counters for count in each.refused.values()),
        ),
    }
    return [f"{seen} {words} {count}" for words, (seen, count) in counted.items() if seen != count]

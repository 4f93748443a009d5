# SPDX-License-Identifier: Apache-2.0
"""Traffic cases against the table's own interpreter."""

from typing import Any

from kproxy.table.addresses import canonical_address
from kproxy.table.interpret import Candidate, Interpreter, Meeting, Packet
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Action, Mode, Protocol
from tests.conformance.applies import compares_masquerade, flows_of
from tests.conformance.build import settings_of, table_of
from tests.conformance.result import Result

Case = dict[str, Any]


def run_case(case: Case, mode: str) -> Result:
    """Run every flow of one case in one mode."""
    interpreter = Interpreter(table_of(case, Mode(mode)))
    words = []
    for flow in flows_of(case, mode):
        packet = packet_of(case, flow)
        meeting = interpreter.meet(packet)
        wrong = disagreement(interpreter.table, packet, meeting, flow, masquerade=compares_masquerade(mode))
        if wrong:
            words.append(f"{flow.get('name', packet)}: {wrong} ({packet}: {meeting.reason})")
    return Result(case["id"], not words, "; ".join(words), mode)


def packet_of(case: Case, flow: Case) -> Packet:
    """Return a flow's first packet: pods come in by an interface that the case's detector knows, if it knows any."""
    settings = settings_of(case, Mode.NFTABLES)
    interface = flow.get("in_iface")
    if interface is None and flow["from"] == "pod-local":
        interface = settings.bridge_interface or f"{settings.interface_name_prefix or 'pod'}0"
    elif interface is None:
        interface = "" if flow["from"] == "node" else "eth0"
    return Packet(
        canonical_address(flow["src_ip"]),
        canonical_address(flow["dst_ip"]),
        flow["dst_port"],
        Protocol(flow["protocol"]),
        interface,
    )


def disagreement(table: RoutingTable, packet: Packet, meeting: Meeting, flow: Case, *, masquerade: bool) -> str:
    """Say in what a meeting is not what the flow expects; empty when it is."""
    expected = flow["expect"]
    if isinstance(expected, list):
        return _balance_disagreement(packet, meeting, flow, masquerade=masquerade)
    if _answer_fits(table, packet, meeting, expected):
        return ""
    return f"expected {expected}, met {_shown(meeting)}"


def _answer_fits(table: RoutingTable, packet: Packet, meeting: Meeting, expected: str) -> bool:
    match expected:
        case "REJECT":
            return meeting.action is Action.REJECT
        case "DROP":
            return meeting.action is Action.DROP
        case "NONE":
            return meeting.action is Action.PASS
        case "BLOCKED":
            return meeting.action is not Action.BALANCE
        case "ACCEPT":
            return meeting.action is Action.PASS and _is_health_port(table, packet)
        case _:
            return False


def _is_health_port(table: RoutingTable, packet: Packet) -> bool:
    ports = {routes.health.port for routes in table.services.values() if routes.health}
    return packet.protocol is Protocol.TCP and packet.port in ports


def _balance_disagreement(packet: Packet, meeting: Meeting, flow: Case, *, masquerade: bool) -> str:
    wanted = set(flow["expect"])
    met = {candidate.endpoint.key for candidate in meeting.candidates}
    if meeting.action is not Action.BALANCE or met != wanted:
        return f"expected one of {sorted(wanted)}, met {_shown(meeting)}"
    if abs(sum(candidate.probability for candidate in meeting.candidates) - 1) > 1e-9:
        return "the probabilities do not add up to 1"
    affinity = flow.get("affinity") or {}
    if affinity and bool(meeting.affinity) is not (affinity.get("distinct_backends", 1) == 1):
        return f"expected {affinity}, and the affinity is {meeting.affinity}"
    if masquerade and "masquerade" in flow:
        wrong = [one for one in meeting.candidates if one.masquerade != _masquerade(packet, one, flow)]
        if wrong:
            return f"expected masquerade {flow['masquerade']}, and {wrong[0].endpoint.key} has {wrong[0].masquerade}"
    return ""


def _masquerade(packet: Packet, candidate: Candidate, flow: Case) -> bool:
    """Tell what is expected of one candidate: where others can be chosen too, only the hairpin itself is sure of it."""
    if len(flow["expect"]) > 1 and candidate.endpoint.address == packet.source:
        return True
    return bool(flow["masquerade"])


def _shown(meeting: Meeting) -> str:
    if meeting.action is Action.BALANCE:
        return str(sorted(candidate.endpoint.key for candidate in meeting.candidates))
    return meeting.action.upper()

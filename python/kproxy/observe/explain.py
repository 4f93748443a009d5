# SPDX-License-Identifier: Apache-2.0
"""What a packet meets on this node, and why: the table's own reading, and for each endpoint left out the reason."""

from collections.abc import Iterable, Mapping

import msgspec

from kproxy.routing.trace import RouteTrace
from kproxy.table.endpoint import Endpoint
from kproxy.table.interpret import Interpreter, Meeting, Packet
from kproxy.table.route import Route, RouteKey
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Action, Client, EndpointSet, Method

CLIENTS = {
    Client.LOOPBACK: "a dial of a loopback address",
    Client.POD: "a Pod on this node",
    Client.NODE: "this node itself",
    Client.OUTSIDE: "from outside of this node",
}


class LeftOut(msgspec.Struct, frozen=True):
    """An endpoint the packet cannot be sent to, and why."""

    endpoint: Endpoint
    why: str


class Explanation(msgspec.Struct, frozen=True):
    """All that can be said of one packet.

    ``shares`` of candidates are those of a random choice; ``method`` says how the choice is really made. ``notes`` are
    sentences on what this mode cannot do, or on what the kernel does not hold yet.
    """

    packet: Packet
    meeting: Meeting
    method: Method = Method.RANDOM
    topology: str = ""
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()


def explain(
    packet: Packet, table: RoutingTable, traces: Mapping[RouteKey, RouteTrace], notes: Iterable[str] = ()
) -> Explanation:
    """Work it out. ``traces`` are those of the Service that is met, or of more. Raises ValueError for mixed families."""
    meeting = Interpreter(table).meet(packet)
    route = table.get(meeting.key) if meeting.key else None
    if route is None or meeting.frontend is None:
        return Explanation(packet, meeting, notes=tuple(notes))
    trace = traces.get(route.key)
    return Explanation(
        packet,
        meeting,
        route.method,
        str(trace.topology) if trace else "",
        _left_out(meeting, route, trace) if trace else (),
        tuple(notes),
    )


def _left_out(meeting: Meeting, route: Route, trace: RouteTrace) -> tuple[LeftOut, ...]:
    """Name every endpoint that is not a candidate. A dropped packet is held against the set its policy wanted."""
    assert meeting.frontend is not None  # noqa: S101 - asked for routes that were met only
    verdict = route.policy(meeting.frontend.role).of(meeting.client)
    local = verdict.action is Action.DROP or (verdict.action is Action.BALANCE and verdict.endpoints is EndpointSet.LOCAL)
    used = {candidate.endpoint.key for candidate in meeting.candidates}
    found = []
    for one in trace.endpoints:
        why = one.local if local else one.cluster
        if why or one.endpoint.key not in used:
            found.append(LeftOut(one.endpoint, why or "no verdict balances over it here"))
    return tuple(found)


def service_of(packet: Packet, table: RoutingTable) -> str:
    """Return ``namespace/name`` of the Service a packet meets, empty if none."""
    key = Interpreter(table).meet(packet).key
    return key.service if key else ""


def as_text(explanation: Explanation) -> str:
    """Write it for a person."""
    packet, meeting = explanation.packet, explanation.meeting
    rows = [("client", f"{CLIENTS[meeting.client]} ({meeting.client})")]
    if meeting.key:
        rows.append(("route", str(meeting.key)))
    if meeting.frontend:
        role = f"{meeting.frontend.role} policy"
        rows.append(("frontend", f"{meeting.frontend.kind} {meeting.frontend}, {role}"))
        if meeting.frontend.sources is not None:
            rows.append(("sources", ", ".join(meeting.frontend.sources.ranges) or "nobody"))
    rows.append(("outcome", f"{meeting.action}: {meeting.reason}"))
    if meeting.candidates:
        rows.append(("method", explanation.method))
        sticky = f"by client address, for {meeting.affinity} s after the last connection"
        rows.append(("affinity", sticky if meeting.affinity else "none"))
    if explanation.topology:
        rows.append(("topology", explanation.topology))
    lines = [str(packet), *(f"  {name:<9} {words}" for name, words in rows)]
    if meeting.candidates:
        lines.append("  candidates")
        for one in meeting.candidates:
            masquerade = "masqueraded" if one.masquerade else "source kept"
            lines.append(f"    {one.probability:7.2%}  {_about(one.endpoint)}, {masquerade}")
    if explanation.left_out:
        lines.append("  left out")
        lines += [f"    {_about(one.endpoint)}: {one.why}" for one in explanation.left_out]
    lines += [f"  note      {words}" for words in explanation.notes]
    return "\n".join(lines) + "\n"


def _about(endpoint: Endpoint) -> str:
    facts = [f"Pod {endpoint.pod}" if endpoint.pod else "", f"node {endpoint.node}" if endpoint.node else ""]
    facts += ["local" if endpoint.local else "", f"zone {endpoint.zone}" if endpoint.zone else ""]
    facts += [f"weight {endpoint.weight}" if endpoint.weight != 1 else ""]
    named = ", ".join(filter(None, facts))
    return f"{endpoint.key} ({named})" if named else endpoint.key

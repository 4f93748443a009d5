# SPDX-License-Identifier: Apache-2.0
"""Dial a node many times and say what each dial met."""

import enum
import itertools
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from kproxy.table import terms
from kproxy.table.addresses import join_port
from tests.conformance.packets.node import LOCAL, Node, Sighting
from tests.conformance.packets.wire import Kind, Packet

BATCH = 64  # first packets on the way at once: far below what a socket buffer holds


class Dial(msgspec.Struct, frozen=True):
    """One new connection to make. ``where`` is the interface it enters by, ``LOCAL`` for a process of the node."""

    source: str
    where: str
    destination: str
    port: int
    protocol: terms.Protocol
    source_port: int = 0  # 0: one that was never used


class Met(enum.Enum):
    """What the first packet of a connection met."""

    ENDPOINT = "endpoint"
    REJECT = "REJECT"
    DROP = "DROP"
    NONE = "NONE"


class Outcome(msgspec.Struct, frozen=True):
    """What a dial met; for ENDPOINT which one and the source it saw. ``odd``: what should never happen, if it did.

    ``source`` is empty where the endpoint saw a connection of a proxy's own.
    """

    dial: Dial
    met: Met
    endpoint: str = ""
    source: str = ""
    port_kept: bool = True
    odd: str = ""


class Dials(Protocol):
    """Whatever can dial a node."""

    def dial(self, dials: Sequence[Dial]) -> list[Outcome]:
        """Make all the connections and return their outcomes in order."""


class Dialler:
    """Dials a node that translates. Every connection is answered, and the answer must come from the dialled address."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._ports = itertools.cycle(range(20000, 60000))

    def dial(self, dials: Sequence[Dial]) -> list[Outcome]:
        """Make all the connections and return their outcomes in order."""
        outcomes: list[Outcome] = []
        for start in range(0, len(dials), BATCH):
            outcomes += self._batch(dials[start : start + BATCH])
        return outcomes

    def _batch(self, dials: Sequence[Dial]) -> list[Outcome]:
        firsts = {}
        for dial in dials:
            port = dial.source_port or next(self._ports)
            packet = Packet(Kind.FIRST, dial.protocol, dial.source, port, dial.destination, dial.port, self._node.token())
            firsts[packet.token] = (dial, packet)
            self._node.send(packet, dial.where)
        seen = by_token(self._node.settle())
        outcomes = {token: _judge(dial, packet, seen.get(token, [])) for token, (dial, packet) in firsts.items()}
        for token, outcome in outcomes.items():
            if outcome.met is Met.ENDPOINT and not outcome.odd:
                self._answer(seen[token])
        answered = by_token(self._node.settle())
        return [
            _judge_answer(outcome, firsts[token][1], [*seen.get(token, []), *answered.get(token, [])])
            for token, outcome in outcomes.items()
        ]

    def _answer(self, seen: Sequence[Sighting]) -> None:
        """Play the endpoint. For TCP to the node itself the kernel's own listener has already answered."""
        arrived = next(sighting for sighting in seen if sighting.packet.kind is Kind.FIRST)
        if arrived.where is not LOCAL or arrived.packet.protocol is not terms.Protocol.TCP:
            self._node.send(arrived.packet.reply(), arrived.where)


def by_token(seen: Iterable[Sighting]) -> dict[int, list[Sighting]]:
    """Sort sightings by the dial they belong to."""
    sorted_: dict[int, list[Sighting]] = {}
    for sighting in seen:
        sorted_.setdefault(sighting.packet.token, []).append(sighting)
    return sorted_


def _judge(dial: Dial, sent: Packet, seen: Sequence[Sighting]) -> Outcome:
    """Say what became of a first packet."""
    arrived = [sighting.packet for sighting in seen if sighting.packet.kind is Kind.FIRST]
    kinds = {sighting.packet.kind for sighting in seen}
    if len(arrived) > 1:
        return Outcome(dial, Met.NONE, odd=f"the first packet went to {len(arrived)} places")
    if not arrived:
        if Kind.UNROUTED in kinds:
            return Outcome(dial, Met.DROP, odd="the node had no route for it: the test's own mistake")
        return Outcome(dial, Met.REJECT if kinds & {Kind.REFUSED, Kind.RESET} else Met.DROP)
    (packet,) = arrived
    target, dialled = (packet.destination, packet.destination_port), (sent.destination, sent.destination_port)
    if target == dialled:
        unchanged = (packet.source, packet.source_port) == (sent.source, sent.source_port)
        return Outcome(dial, Met.NONE, odd="" if unchanged else f"not translated, but its source became {packet.source}")
    return Outcome(dial, Met.ENDPOINT, join_port(*target), packet.source, packet.source_port == sent.source_port)


def _judge_answer(outcome: Outcome, sent: Packet, seen: Sequence[Sighting]) -> Outcome:
    """Hold the answer to a translated connection against what the client dialled."""
    if outcome.met is not Met.ENDPOINT or outcome.odd:
        return outcome
    want = (sent.destination, sent.destination_port, sent.source, sent.source_port)
    answers = [
        (packet.source, packet.source_port, packet.destination, packet.destination_port)
        for packet in (sighting.packet for sighting in seen)
        if packet.kind is Kind.ANSWER
    ]
    if want in answers:
        return outcome
    got = f"came from {join_port(*answers[0][:2])}" if answers else "did not come back"
    return msgspec.structs.replace(outcome, odd=f"the answer of {outcome.endpoint} {got}")

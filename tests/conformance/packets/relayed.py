# SPDX-License-Identifier: Apache-2.0
"""Dial a node that ends connections and opens its own: a client by hand, an endpoint by hand, and what goes between them.

The first packet tells, as it does anywhere, whether it was refused, dropped, let alone or taken. If it was taken, the client
goes on: it says its token, and whoever gets to hear the token is the endpoint that was met. The endpoint says it back, and
the client must hear that from the address it has dialled. A process of the node itself dials by a socket of its own, since
the kernel would cut a connection that it knows nothing of.
"""

import contextlib
import itertools
import socket
import time
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from kproxy.table.addresses import join_port
from kproxy.table.terms import Protocol
from tests.conformance.packets.dial import Dial, Met, Outcome, by_token
from tests.conformance.packets.node import LOCAL, PATIENCE, Node, Sighting
from tests.conformance.packets.wire import ANSWER, ANSWER_SEQUENCE, ASK, Kind, Packet

BATCH: Final = 64  # connections under way at once
SAID: Final = 8  # bytes of a token that is said
NAP: Final = 0.01  # seconds between two looks at sockets of our own


class Call:
    """One dial on its way to an outcome."""

    def __init__(self, dial: Dial, first: Packet) -> None:
        self.dial = dial
        self.first = first
        self.outcome: Outcome | None = None
        self.endpoint: Packet | None = None  # what the endpoint that was met has heard
        self.socket: socket.socket | None = None  # of a process of the node
        self.heard = b""  # by it

    @property
    def is_done(self) -> bool:
        """Tell whether there is nothing to wait for."""
        return self.outcome is not None

    def met(self, what: Met, odd: str = "") -> None:
        """Come to an end without an endpoint."""
        self.outcome = Outcome(self.dial, what, odd=odd)

    def answered(self, by: tuple[str, int]) -> None:
        """Come to an end with the endpoint's answer, which came from somewhere."""
        assert self.endpoint is not None
        endpoint = join_port(self.endpoint.destination, self.endpoint.destination_port)
        wrong = by != (self.first.destination, self.first.destination_port)
        odd = f"the answer of {endpoint} came from {join_port(*by)}" if wrong else ""
        self.outcome = Outcome(self.dial, Met.ENDPOINT, endpoint, odd=odd)


class RelayedDialler:
    """Dials a node that relays."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._ports = itertools.cycle(range(20000, 60000))
        self._accepted: list[socket.socket] = []

    def dial(self, dials: Sequence[Dial]) -> list[Outcome]:
        """Make all the connections and return their outcomes in order."""
        return [outcome for start in range(0, len(dials), BATCH) for outcome in self._batch(dials[start : start + BATCH])]

    def _batch(self, dials: Sequence[Dial]) -> list[Outcome]:
        calls: dict[int, Call] = {}
        for dial in dials:
            port = dial.source_port or next(self._ports)
            first = Packet(Kind.FIRST, dial.protocol, dial.source, port, dial.destination, dial.port, self._node.token())
            calls[first.token] = Call(dial, first)
            self._node.send(first, dial.where)
        seen = self._node.settle()
        sorted_ = by_token(seen)
        for token, call in calls.items():
            _judge(call, sorted_.get(token, []))
            if not call.is_done and call.dial.protocol is Protocol.TCP:
                self._say(call, sorted_[token])
        self._listen(calls, seen)
        outcomes = [call.outcome for call in calls.values() if call.outcome]
        self._hang_up(calls.values())
        return outcomes

    def _say(self, call: Call, seen: Sequence[Sighting]) -> None:
        """Go on with a TCP connection that was accepted: say the token."""
        first = call.first
        if call.dial.where is LOCAL:
            call.socket = self._connected(call)
            call.socket.send(first.token.to_bytes(4, "big") + ASK)
            return
        accepted = next(one.packet for one in seen if one.packet.kind is Kind.ANSWER)
        acknowledged = accepted.sequence + 1 & 0xFFFFFFFF
        said = msgspec.structs.replace(first, kind=Kind.SAID, sequence=first.token + 1, acknowledged=acknowledged)
        self._node.send(said, call.dial.where)

    @staticmethod
    def _connected(call: Call) -> socket.socket:
        family = socket.AF_INET6 if ":" in call.dial.source else socket.AF_INET
        dialling = socket.socket(family, socket.SOCK_STREAM)
        dialling.settimeout(PATIENCE)
        dialling.bind((call.dial.source, call.dial.source_port))
        dialling.connect((call.dial.destination, call.dial.port))
        dialling.setblocking(False)
        return dialling

    def _listen(self, calls: dict[int, Call], seen: Iterable[Sighting]) -> None:
        """Play the endpoints, and hear what comes back, until every call has come to an end."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for sighting in seen:
                self._hear(calls, sighting)
            self._serve()
            for call in calls.values():
                self._read(call)
            if all(call.is_done for call in calls.values()):
                return
            if time.monotonic() > deadline:
                break
            self._node.wait(NAP)
            seen = list(self._node.drain())
        for call in calls.values():
            if not call.is_done:
                _lost(call)

    def _hear(self, calls: dict[int, Call], sighting: Sighting) -> None:
        packet = sighting.packet
        call = calls.get(packet.token)
        if packet.protocol is Protocol.TCP and packet.kind is Kind.FIRST and sighting.where and call is None:
            self._node.send(packet.reply(), sighting.where)  # a dial of the relay: be the endpoint
        elif call is None or call.is_done:
            return
        elif _is_endpoints(packet, call):
            self._be_endpoint(call, sighting)
        elif call.endpoint and _is_to_client(packet, call):
            call.answered((packet.source, packet.source_port))

    def _be_endpoint(self, call: Call, sighting: Sighting) -> None:
        """Answer what an endpoint has heard, once. On the node itself a socket of its own answers TCP."""
        packet = sighting.packet
        if call.endpoint is not None:
            return
        call.endpoint = packet
        if packet.protocol is not Protocol.TCP:
            self._node.send(packet.reply(), sighting.where)
        elif sighting.where:
            echo = msgspec.structs.replace(
                packet.reply(), kind=Kind.ECHO, sequence=ANSWER_SEQUENCE + 1, acknowledged=packet.sequence + SAID
            )
            self._node.send(echo, sighting.where)

    def _serve(self) -> None:
        """Be the endpoints on the node itself."""
        for listener in self._node.listeners:
            with contextlib.suppress(BlockingIOError):
                while True:
                    accepted, _ = listener.accept()
                    accepted.setblocking(False)
                    self._accepted.append(accepted)
        for accepted in self._accepted:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                said = accepted.recv(SAID)
                if len(said) == SAID:
                    accepted.send(said[:4] + ANSWER)

    @staticmethod
    def _read(call: Call) -> None:
        """Hear, as a process of the node, what comes back."""
        if call.socket is None or call.is_done:
            return
        with contextlib.suppress(BlockingIOError):
            try:
                call.heard += call.socket.recv(SAID)
            except ConnectionError as error:
                call.met(Met.NONE, odd=f"the connection was taken and then cut: {error}")
                return
        if call.endpoint and call.heard == call.first.token.to_bytes(4, "big") + ANSWER:
            call.answered((call.first.destination, call.first.destination_port))

    def _hang_up(self, calls: Iterable[Call]) -> None:
        """Cut every connection, so that none of them lingers."""
        for call in calls:
            if call.socket:
                call.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                call.socket.close()
            elif call.endpoint and call.dial.protocol is Protocol.TCP:
                cut = msgspec.structs.replace(call.first, kind=Kind.CUT, sequence=call.first.token + 1 + SAID)
                self._node.send(cut, call.dial.where)
        for accepted in self._accepted:
            accepted.close()
        self._accepted = []


def _judge(call: Call, seen: Sequence[Sighting]) -> None:
    """Say what became of a first packet, unless it was taken."""
    first = call.first
    kinds = {sighting.packet.kind for sighting in seen}
    if call.dial.protocol is Protocol.TCP and Kind.ANSWER in kinds:
        return
    arrived = [sighting for sighting in seen if sighting.packet.kind is Kind.FIRST]
    passed = [one for one in arrived if one.packet == first]
    refused = bool(kinds & {Kind.REFUSED, Kind.RESET})
    if any(one.where for one in passed) or (passed and refused):
        call.met(Met.NONE)  # it went on, or reached this node and nobody was there
    elif arrived and call.dial.protocol is Protocol.UDP:
        return  # it is with the relay, or with an endpoint already
    elif arrived:
        call.met(Met.NONE, odd="it was neither refused nor accepted")
    elif Kind.UNROUTED in kinds:
        call.met(Met.DROP, odd="the node had no route for it: the test's own mistake")
    else:
        call.met(Met.REJECT if refused else Met.DROP)


def _is_endpoints(packet: Packet, call: Call) -> bool:
    """Tell whether somebody else than the dialled address has heard the token."""
    if packet.kind is not (Kind.SAID if packet.protocol is Protocol.TCP else Kind.FIRST):
        return False
    return (packet.destination, packet.destination_port) != (call.first.destination, call.first.destination_port)


def _is_to_client(packet: Packet, call: Call) -> bool:
    """Tell whether an endpoint's answer has come to the client."""
    to_client = (packet.destination, packet.destination_port) == (call.first.source, call.first.source_port)
    return to_client and packet.kind in {Kind.ECHO, Kind.ANSWER}


def _lost(call: Call) -> None:
    """Come to an end without an answer."""
    if call.endpoint:
        endpoint = join_port(call.endpoint.destination, call.endpoint.destination_port)
        call.outcome = Outcome(call.dial, Met.ENDPOINT, endpoint, odd=f"the answer of {endpoint} did not come back")
    else:
        call.met(Met.NONE, odd="it was taken, and no endpoint has heard of it")

# SPDX-License-Identifier: Apache-2.0
"""The trees there are, what stands in them, and how their chains are named and matched.

Addresses, and ports of each protocol, in table nat; the same in table filter for those who are refused; and the addresses of
endpoints that may dial themselves through this node.
"""

import socket
from collections.abc import Iterator
from typing import Final

import msgspec

from kproxy.dataplanes.iptables import layout
from kproxy.dataplanes.iptables.layout import LONGEST_NAME, PREFIX, WORDS, Chain, hashed, word
from kproxy.dataplanes.iptables.rules import Match, Rule
from kproxy.dataplanes.iptables.tree import ROOT, Prefix, Tree, Way
from kproxy.table.frontend import Frontend
from kproxy.table.route import Route
from kproxy.table.terms import EndpointSet, Family, FrontendKind, Protocol

_PORT_BITS: Final = 16
_INET: Final = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


class Space(msgspec.Struct, frozen=True):
    """One tree: the letter its chains begin with, the chain that leads into it, and for ports their protocol.

    A packet that finds nothing goes on behind the root. In ``nat`` it leaves all other nodes at once (``-g``), since no
    other way can fit. In ``filter`` it comes back to each (``-j``): there a node may for a while hold old ways beside new.
    """

    letter: str
    root: Chain
    protocol: Protocol | None = None

    def bits(self, family: Family) -> int:
        """Return the width of its places."""
        return _PORT_BITS if self.protocol else WORDS[family].bits

    def chain(self, prefix: Prefix, family: Family) -> Chain:
        """Return the chain of a leaf or node."""
        if self.protocol:
            name = f"{PREFIX}{self.letter}-{word(self.protocol)}-{prefix.start}/{prefix.length}"
        else:
            where = f"{text(prefix.start, family)}/{prefix.length}"
            name = f"{PREFIX}{self.letter}-{where.replace(':', '_')}"
            if len(name) > LONGEST_NAME:
                name = f"{PREFIX}{self.letter}-{hashed(where)}"
        return (self.root[0], name)

    def rule(self, node: Prefix, way: Way, family: Family) -> Rule:
        """Return the rule of a node that leads on."""
        jump = "-j" if node == ROOT or self.root[0] == layout.FILTER else "-g"
        return Rule(f"{self._match(way.narrow, family).text} {jump} {self.chain(way.prefix, family)[1]}")

    def _match(self, prefix: Prefix, family: Family) -> Match:
        if self.protocol:
            last = prefix.start | ((1 << (_PORT_BITS - prefix.length)) - 1)
            ports = str(prefix.start) if last == prefix.start else f"{prefix.start}:{last}"
            return Match(protocol=self.protocol, port=ports if prefix.length else "")
        return Match(destination=f"{text(prefix.start, family)}/{prefix.length}" if prefix.length else "")


ADDRESSES: Final = Space("S", layout.SERVICES)
HAIRPINS: Final = Space("H", layout.HAIRPIN)
REFUSED_ADDRESSES: Final = Space("R", layout.REFUSE)
NODE_PORTS: Final = {protocol: Space("N", layout.NODEPORTS, protocol) for protocol in Protocol}
REFUSED_NODE_PORTS: Final = {protocol: Space("Q", layout.REFUSE_NODEPORTS, protocol) for protocol in Protocol}
SPACES: Final = (ADDRESSES, *NODE_PORTS.values(), HAIRPINS, REFUSED_ADDRESSES, *REFUSED_NODE_PORTS.values())


class Held(msgspec.Struct, frozen=True, gc=False):
    """One thing at a place: a frontend of a route, or (None) an endpoint that may dial itself."""

    route: Route
    frontend: Frontend | None

    @property
    def order(self) -> tuple[str, str]:
        """Where it stands among others at one place."""
        return (str(self.frontend or ""), str(self.route.key))


def number(address: str, family: Family) -> int:
    """Return an address as the number of its place."""
    return int.from_bytes(socket.inet_pton(_INET[family], address), "big")


def text(place: int, family: Family) -> str:
    """Return the address of a place."""
    return socket.inet_ntop(_INET[family], place.to_bytes(WORDS[family].bits // 8, "big"))


def positions(route: Route, *, refuses: frozenset[Frontend]) -> Iterator[tuple[Space, int, Held]]:
    """Yield where a route stands: space, place and what is there. ``refuses``: its frontends that ever refuse anybody."""
    family = route.key.family
    for frontend in route.frontends:
        held = Held(route, frontend)
        if frontend.kind is FrontendKind.NODE_PORT:
            yield NODE_PORTS[frontend.protocol], frontend.port, held
            if frontend in refuses:
                yield REFUSED_NODE_PORTS[frontend.protocol], frontend.port, held
        else:
            place = number(frontend.address, family)
            yield ADDRESSES, place, held
            if frontend in refuses:
                yield REFUSED_ADDRESSES, place, held
    own = Held(route, None)
    endpoints = (each for which in EndpointSet for each in route.endpoints(which))
    for address in {each.address for each in endpoints if (each.local or not each.node) and each.weight}:
        yield HAIRPINS, number(address, family), own


class Grown:
    """A tree with what its places hold. Never changed once it is made."""

    def __init__(self, tree: Tree, held: dict[int, tuple[Held, ...]]) -> None:
        self.tree = tree
        self.held = held

    def changed(self, come: list[tuple[int, Held]], gone: list[tuple[int, Held]]) -> "Grown":
        """Return it with some things more and some fewer."""
        held = dict(self.held)
        for place, item in gone:
            held[place] = tuple(each for each in held[place] if each is not item and each != item)
        for place, item in come:
            held[place] = tuple(sorted((*held.get(place, ()), item), key=lambda each: each.order))
        touched = {place for place, _ in (*come, *gone)}
        empty = {place for place in touched if not held[place]}
        for place in empty:
            del held[place]
        new = {place for place in touched if place in held and place not in self.held}
        return Grown(self.tree.changed(new, {place for place in empty if place in self.held}), held)

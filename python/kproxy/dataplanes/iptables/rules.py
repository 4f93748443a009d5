# SPDX-License-Identifier: Apache-2.0
"""One rule, as ``iptables-save`` prints it, with whose it is and what its packets are counted as.

Rules are written in exactly the form in which both kinds of iptables print them, so that what is read back can be compared
as text.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from kproxy.dataplanes.iptables.layout import Chain, word
from kproxy.table.route import RouteKey
from kproxy.table.terms import Protocol


class Count(msgspec.Struct, frozen=True, gc=False):
    """What a rule's packets are: new connections of a frontend or endpoint of a route, or packets refused for a reason."""

    kind: str  # FRONTEND, ENDPOINT or REFUSED
    name: str
    key: RouteKey | None = None


EVERYWHERE: Final = ("0.0.0.0/0", "::/0")  # matches everything, so it is not printed
FRONTEND: Final = "frontend"
ENDPOINT: Final = "endpoint"
REFUSED: Final = "refused"


class Rule(msgspec.Struct, frozen=True, gc=False):
    """``text`` is what stands behind the chain's name, with a blank in front."""

    text: str
    key: RouteKey | None = None
    count: Count | None = None


Chains: TypeAlias = Mapping[Chain, tuple[Rule, ...]]


class Match(msgspec.Struct, frozen=True):
    """What a packet must be like. ``text`` puts the parts in iptables' own order.

    ``source``, ``destination`` and ``interface`` may begin with ``! ``; ``port`` is a port or ``first:last`` and needs a
    protocol; ``more`` are further matches.
    """

    source: str = ""
    destination: str = ""
    interface: str = ""
    protocol: Protocol | None = None
    comment: str = ""
    port: str = ""
    more: str = ""

    @property
    def text(self) -> str:
        """Return the match as text, with a blank in front; empty when anything fits."""
        parts = ""
        for flag, value in (("-s", self.source), ("-d", self.destination), ("-i", self.interface)):
            if value and value not in EVERYWHERE:
                parts += f" ! {flag} {value[2:]}" if value.startswith("! ") else f" {flag} {value}"
        if self.protocol:
            parts += f" -p {word(self.protocol)}"
        if self.comment:
            parts += f' -m comment --comment "{self.comment}"'
        if self.protocol and self.port:
            parts += f" -m {word(self.protocol)} --dport {self.port}"
        return parts + self.more

    def also(self, other: "Match") -> "Match":
        """Return a match for packets that fit both. No part but ``more`` may be set in both."""
        return Match(
            self.source or other.source,
            self.destination or other.destination,
            self.interface or other.interface,
            self.protocol or other.protocol,
            self.comment or other.comment,
            self.port or other.port,
            self.more + other.more,
        )


def translation(key: RouteKey, endpoint: str, matches: str) -> Rule:
    """Return the rule that sends a packet to an endpoint."""
    return Rule(f"{matches} -j DNAT --to-destination {endpoint}", key, Count(ENDPOINT, endpoint, key))

# SPDX-License-Identifier: Apache-2.0
"""Matches that tell the classes of clients apart.

Each is exact, whatever stands before it in a chain: a rule for clients from outside does not rely on Pods having left
already. Classes that meet the same are matched together.
"""

import functools
from collections.abc import Iterable
from typing import Final

from kproxy.dataplanes.iptables.layout import WORDS
from kproxy.dataplanes.iptables.rules import EVERYWHERE, Match
from kproxy.table.addresses import parse_network
from kproxy.table.node import FamilyFacts, PodTest
from kproxy.table.terms import Client, Family

_HERE: Final = " -m addrtype --src-type LOCAL"
_NOT_HERE: Final = " -m addrtype ! --src-type LOCAL"


class Clients:
    """The classes that can be told apart at one kind of frontend of one node."""

    def __init__(self, family: Family, facts: FamilyFacts, *, node_port: bool) -> None:
        self._pods = facts.pods
        self._loopback = WORDS[family].loopback if node_port and facts.nodeports.loopback else ""
        known = {Client.NODE, Client.OUTSIDE}
        if self._pods:
            known = {Client.POD} if self._pods.cidr in EVERYWHERE else known | {Client.POD}
        self.known = frozenset(known | {Client.LOOPBACK} if self._loopback else known)

    def matches(self, classes: Iterable[Client]) -> tuple[Match, ...]:
        """Return matches that together fit exactly these classes. One match that fits all has no text."""
        return self._matches(frozenset(classes) & self.known)

    @functools.cache  # noqa: B019 - there are at most sixteen answers, and the object goes with its compilation
    def _matches(self, classes: frozenset[Client]) -> tuple[Match, ...]:
        if classes == self.known:
            return (Match(),)
        elsewhere = classes - {Client.LOOPBACK}
        found = [Match(destination=self._loopback)] if Client.LOOPBACK in classes else []
        around = Match(destination=f"! {self._loopback}") if self._loopback else Match()
        if elsewhere == self.known - {Client.LOOPBACK}:
            return (*found, around)
        if Client.POD in elsewhere and self._pods:
            found.append(around.also(pod_match(self._pods)))
        if self._pods:
            around = around.also(pod_match(self._pods, negated=True))
        if {Client.NODE, Client.OUTSIDE} <= elsewhere:
            found.append(around)
        elif Client.NODE in elsewhere:
            found.append(around.also(Match(more=_HERE)))
        elif Client.OUTSIDE in elsewhere:
            found.append(around.also(Match(more=_NOT_HERE)))
        return tuple(found)


def pod_match(pods: PodTest, *, negated: bool = False) -> Match:
    """Return the match that a packet of a Pod on this node fits, or every other one."""
    no = "! " if negated else ""
    if pods.cidr:
        return Match(source=f"{no}{parse_network(pods.cidr)}")
    return Match(interface=no + (pods.interface or f"{pods.interface_prefix}+"))

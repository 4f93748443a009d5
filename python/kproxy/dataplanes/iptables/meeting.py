# SPDX-License-Identifier: Apache-2.0
"""What each class of clients meets at a frontend, with the classes that meet the same put together."""

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from kproxy.dataplanes.iptables.clients import Clients
from kproxy.table.frontend import Frontend
from kproxy.table.node import FamilyFacts
from kproxy.table.route import Policy, Route, Verdict
from kproxy.table.terms import Action, Client, EndpointSet, Family, FrontendKind

Classes: TypeAlias = frozenset[Client]

NOBODY: Final[Classes] = frozenset()
MANY: Final = 4096


class Meeting(msgspec.Struct, frozen=True):
    """``scopes``: endpoint set -> classes that it is balanced for; ``refused``: action -> classes.

    ``balanced`` are all that reach an endpoint, ``marked`` those of them whose source is rewritten. ``whole`` is the one set
    that everybody is balanced over, if there is one.
    """

    clients: Clients
    scopes: Mapping[EndpointSet, Classes]
    refused: Mapping[Action, Classes]
    balanced: Classes
    marked: Classes
    whole: EndpointSet | None


class Meetings:
    """Tells what is met at any frontend of one node. Clusters have a handful of policies, so answers are kept."""

    def __init__(self, family: Family, facts: FamilyFacts) -> None:
        self._address = Clients(family, facts, node_port=False)
        self._node_port = Clients(family, facts, node_port=True)
        self._known: dict[tuple[int, bool, bool, bool], tuple[Policy, Meeting]] = {}  # by the policy's identity

    def of(self, route: Route, frontend: Frontend) -> Meeting:
        """Return what is met at a frontend. A set without a usable endpoint counts as empty, and refuses."""
        is_node_port = frontend.kind is FrontendKind.NODE_PORT
        usable = any(each.weight for each in route.all), any(each.weight for each in route.local)
        policy = route.policy(frontend.role)
        name = (id(policy), is_node_port, *usable)
        known = self._known.get(name)
        if known is None:
            clients = self._node_port if is_node_port else self._address
            known = (policy, _meeting(policy, clients, dict(zip(EndpointSet, usable, strict=True))))
            if len(self._known) < MANY:  # what is kept holds its policy, so nobody else has its identity
                self._known[name] = known
        return known[1]


def _meeting(policy: Policy, clients: Clients, usable: Mapping[EndpointSet, bool]) -> Meeting:
    scopes: dict[EndpointSet, Classes] = {}
    refused: dict[Action, Classes] = {}
    marked = NOBODY
    for client in clients.known:
        verdict = _effective(policy.of(client), usable)
        if verdict.action is Action.BALANCE:
            scopes[verdict.endpoints] = scopes.get(verdict.endpoints, NOBODY) | {client}
            marked |= {client} if verdict.masquerade else NOBODY
        elif verdict.action is not Action.PASS:
            refused[verdict.action] = refused.get(verdict.action, NOBODY) | {client}
    balanced = NOBODY.union(*scopes.values())
    whole = next(iter(scopes)) if len(scopes) == 1 and balanced == clients.known else None
    return Meeting(clients, scopes, refused, balanced, marked, whole)


def _effective(verdict: Verdict, usable: Mapping[EndpointSet, bool]) -> Verdict:
    if verdict.action is not Action.BALANCE or usable[verdict.endpoints]:
        return verdict
    return Verdict(Action.REJECT if verdict.endpoints is EndpointSet.ALL else Action.DROP)

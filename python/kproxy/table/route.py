# SPDX-License-Identifier: Apache-2.0
"""One Service port in one family: who may dial it, where, and what they meet."""

from typing import Final

import msgspec

from kproxy.table.endpoint import Endpoint
from kproxy.table.frontend import Frontend
from kproxy.table.terms import Action, Client, EndpointSet, Family, Method, Protocol, Role


class RouteKey(msgspec.Struct, frozen=True, order=True, cache_hash=True, gc=False):
    """The name of a route: Service, port name (may be empty), protocol, family."""

    namespace: str
    name: str
    port: str
    protocol: Protocol
    family: Family

    @property
    def service(self) -> str:
        """Return ``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    def __str__(self) -> str:
        """Return ``shop/web:http/TCP/IPv4``."""
        return f"{self.namespace}/{self.name}:{self.port}/{self.protocol}/{self.family}"


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What one class of client meets at one role of frontend.

    ``endpoints`` and ``masquerade`` count for ``balance`` only. A client that is sent to itself (hairpin) is masqueraded
    whatever ``masquerade`` says: a law of every balance.
    """

    action: Action
    endpoints: EndpointSet = EndpointSet.ALL
    masquerade: bool = False


REJECT: Final = Verdict(Action.REJECT)
DROP: Final = Verdict(Action.DROP)
PASS: Final = Verdict(Action.PASS)


class Policy(msgspec.Struct, frozen=True, gc=False):
    """The verdict for each class of client. ``loopback`` counts for NodePorts only."""

    pod: Verdict
    node: Verdict
    outside: Verdict
    loopback: Verdict = PASS

    def of(self, client: Client) -> Verdict:
        """Return the verdict for one class of client."""
        verdict: Verdict = getattr(self, client.value)
        return verdict


class Route(msgspec.Struct, frozen=True, gc=False):
    """A Service port in one family.

    ``all`` and ``local`` are the two endpoint sets, each ordered by ``Endpoint.key`` and free of duplicates; ``local`` is
    empty unless a verdict balances over it. ``affinity`` is the ClientIP time-out in seconds, 0 for none.
    """

    key: RouteKey
    internal: Policy
    external: Policy
    frontends: tuple[Frontend, ...] = ()
    all: tuple[Endpoint, ...] = ()
    local: tuple[Endpoint, ...] = ()
    affinity: int = 0
    method: Method = Method.RANDOM
    priority: int = 0  # higher is committed first
    proxy_protocol: bool = False  # the endpoints expect the client's address in a PROXY protocol header

    def policy(self, role: Role) -> Policy:
        """Return the verdicts of one role."""
        return self.internal if role is Role.INTERNAL else self.external

    def endpoints(self, which: EndpointSet) -> tuple[Endpoint, ...]:
        """Return one of the two endpoint sets."""
        return self.all if which is EndpointSet.ALL else self.local

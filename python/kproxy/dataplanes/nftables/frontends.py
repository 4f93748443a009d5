# SPDX-License-Identifier: Apache-2.0
"""The elements a route's frontends have, worked out from its record.

They are never stored: comparing what a record had with what its successor has costs a few microseconds a frontend.
"""

from typing import Final

import msgspec

from kproxy.dataplanes.nft_tables import intervals
from kproxy.dataplanes.nftables import layout
from kproxy.dataplanes.nftables.committed import ElementKey, Record
from kproxy.dataplanes.nftables.layout import Kind, Scope
from kproxy.dataplanes.nftables.shapes import Balancer, Meeting, meeting
from kproxy.kernel.nft_elements import Codec, number
from kproxy.table.frontend import Frontend
from kproxy.table.route import Route
from kproxy.table.terms import FrontendKind, Role

Elements = dict[ElementKey, bytes | None]


def kind_of(frontend: Frontend) -> Kind:
    """Tell by what a frontend is looked up."""
    return Kind.NODEPORT if frontend.kind is FrontendKind.NODE_PORT else Kind.SERVICE


def balancer_of(record: Record, scope: Scope) -> Balancer:
    """Return how a slot of one of the record's sets is picked."""
    slots = record.slots(scope)
    return Balancer(len(slots.keys), record.route.affinity, slots.hashed)


def usable_scopes(record: Record) -> tuple[Scope, ...]:
    """Return the sets that have a slot."""
    return _USABLE[bool(record.all.keys), bool(record.local.keys)]


_USABLE: Final[dict[tuple[bool, bool], tuple[Scope, ...]]] = {
    (True, True): tuple(Scope),
    (True, False): (Scope.ALL,),
    (False, True): (Scope.LOCAL,),
    (False, False): (),
}


class Appearance(msgspec.Struct, frozen=True):
    """A record's elements, and the shapes they need: what clients meet by kind, which sets each kind balances over."""

    elements: Elements
    meetings: dict[tuple[Role, Kind], Meeting]

    @property
    def balanced(self) -> set[tuple[Kind, Scope]]:
        """Return which balancers are pointed to."""
        return {(kind, scope) for (_, kind), meets in self.meetings.items() for scope in meets.scopes}


def appearance(record: Record, codec: Codec, codes: dict[Scope, int]) -> Appearance:
    """Work out what a record looks like in the kernel. ``codes`` are the balancer codes of its usable sets."""
    route = record.route
    usable = frozenset(usable_scopes(record))
    set_id = number(record.set_id)
    meetings: dict[tuple[Role, Kind], Meeting] = {}
    elements: Elements = {}
    for frontend in route.frontends:
        kind = kind_of(frontend)
        role = frontend.role
        meets = meetings.get((role, kind))
        if meets is None:
            meets = meetings[role, kind] = meeting(route.policy(role), usable)
        name = codec.frontend(frontend)
        scopes = meets.scopes
        elements[kind.sets, name, None] = set_id
        elements[kind.shapes, name, None] = number(meets.code << 16 | (codes[Scope.ALL] if Scope.ALL in scopes else 0))
        if Scope.LOCAL in scopes:
            elements[kind.locals, name, None] = number(codes[Scope.LOCAL])
        if frontend.sources is not None:
            elements[layout.GUARDED, name, None] = None
            for first, last in intervals(codec, frontend):
                elements[layout.ALLOWED, name + first, name + last] = None
    return Appearance(elements, meetings)


def cluster_ips(route: Route) -> set[str]:
    """Return the addresses whose other ports are wrong ones."""
    return {frontend.address for frontend in route.frontends if frontend.kind is FrontendKind.CLUSTER_IP}


def looks_alike(before: Record, after: Record) -> bool:
    """Tell, cheaply, that two records of one set id have the same elements."""
    one, other = before.route, after.route
    return (
        len(before.all.keys) == len(after.all.keys)
        and len(before.local.keys) == len(after.local.keys)
        and before.all.hashed is after.all.hashed
        and before.local.hashed is after.local.hashed
        and one.affinity == other.affinity
        and (one.frontends is other.frontends or one.frontends == other.frontends)
        and (one.internal is other.internal or one.internal == other.internal)
        and (one.external is other.external or one.external == other.external)
    )

# SPDX-License-Identifier: Apache-2.0
"""The sets and maps of the table, and the elements a route has in them."""

import functools
from typing import Final, TypeAlias

from kproxy.dataplanes.nft_tables import intervals
from kproxy.dataplanes.userspace import layout
from kproxy.dataplanes.userspace.judging import code, usable_sets
from kproxy.dataplanes.userspace.layout import Options
from kproxy.kernel.nft_elements import ID, PORT, PROTOCOL, Codec, Schema, addresses, number
from kproxy.table.frontend import Frontend
from kproxy.table.route import Route
from kproxy.table.terms import Family, FrontendKind

ElementKey: TypeAlias = tuple[str, bytes, bytes | None]  # set, key, last key of an interval
Elements: TypeAlias = dict[ElementKey, bytes | None]

SHARED: Final = frozenset({layout.CLUSTER_IPS})  # the only elements that several routes may have in common


@functools.cache
def schemas(family: Family) -> dict[str, Schema]:
    """Return every set and map of the table, by name."""
    source, destination = addresses(family)
    frontend = (destination, PROTOCOL, PORT)
    found = [
        Schema(layout.FRONTENDS, frontend, (ID,)),
        Schema(layout.NODEPORTS, (PROTOCOL, PORT), (ID,)),
        Schema(layout.POLICIES, (ID,), verdict=True),
        Schema(layout.GUARDED, frontend),
        Schema(layout.ALLOWED, (*frontend, source), interval=True),
        Schema(layout.CLUSTER_IPS, (destination,)),
        Schema(layout.NODEPORT_ADDRESSES, (destination,)),
        Schema(layout.REFUSALS, (ID,), counter=True),
        Schema(layout.ABOUT, (ID,), (ID,)),
    ]
    return {schema.name: schema for schema in found}


def served_frontends(route: Route, options: Options) -> tuple[Frontend, ...]:
    """Return the frontends that this dataplane has to do with."""
    if options.serves_all:
        return route.frontends
    return tuple(one for one in route.frontends if one.kind is FrontendKind.NODE_PORT)


def shared_elements(route: Route, codec: Codec, options: Options) -> set[ElementKey]:
    """Return those elements of a route that others may have, too."""
    return {
        (layout.CLUSTER_IPS, codec.address(frontend.address), None)
        for frontend in served_frontends(route, options)
        if frontend.kind is FrontendKind.CLUSTER_IP
    }


def elements_of(route: Route, codec: Codec, options: Options) -> Elements:
    """Work out the elements a route has, those shared with others among them."""
    usable = usable_sets(route)
    found: Elements = dict.fromkeys(shared_elements(route, codec, options))
    for frontend in served_frontends(route, options):
        name = codec.frontend(frontend)
        kind = layout.NODEPORTS if frontend.kind is FrontendKind.NODE_PORT else layout.FRONTENDS
        found[kind, name, None] = number(code(route, frontend, usable, options))
        if frontend.sources is not None:
            found[layout.GUARDED, name, None] = None
            for first, last in intervals(codec, frontend):
                found[layout.ALLOWED, name + first, name + last] = None
    return found


def node_elements(addresses_: tuple[str, ...], codec: Codec) -> Elements:
    """Return the elements of the addresses that serve NodePorts."""
    return {(layout.NODEPORT_ADDRESSES, codec.address(address), None): None for address in addresses_}

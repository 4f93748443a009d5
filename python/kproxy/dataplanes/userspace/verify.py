# SPDX-License-Identifier: Apache-2.0
"""Compares what is committed with a table: chains, elements, policy routing, and the relay's Services."""

from collections.abc import Iterator, Mapping

from kproxy.dataplanes.contract import Difference
from kproxy.dataplanes.nft_tables import Facts
from kproxy.dataplanes.userspace.committed import Committed
from kproxy.dataplanes.userspace.elements import ElementKey, elements_of, node_elements, served_frontends
from kproxy.dataplanes.userspace.judging import facts_of
from kproxy.dataplanes.userspace.layout import WORDS, Options
from kproxy.dataplanes.userspace.services import Service, service_of
from kproxy.dataplanes.userspace.structure import Structure
from kproxy.dataplanes.userspace.transaction import Target
from kproxy.kernel.nft_elements import Codec
from kproxy.table.route import RouteKey
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Family


def differences(
    committed: Committed, held: Mapping[str, Service], table: RoutingTable, family: Family, options: Options, target: Target
) -> Iterator[Difference]:
    """Yield everything that is not as the table says."""
    facts = facts_of(table.node, family, options)
    yield from _rules(committed, facts, family, options)
    yield from _elements(committed, facts, table, Codec(family), options, target)
    yield from _services(held, table, family, options)


def _rules(committed: Committed, facts: Facts, family: Family, options: Options) -> Iterator[Difference]:
    if committed.structure is None:
        yield Difference("the rules are missing, or are not as they were written")
    elif committed.structure != Structure(WORDS[family], options, facts, committed.codes).digest:
        yield Difference("the rules are not as the table says")
    if options.serves_all and not committed.is_routed:
        yield Difference("policy routing does not bring taken packets to this node")


def _elements(
    committed: Committed, facts: Facts, table: RoutingTable, codec: Codec, options: Options, target: Target
) -> Iterator[Difference]:
    wanted: dict[ElementKey, tuple[bytes | None, RouteKey | None]] = dict.fromkeys(
        node_elements(facts.family.nodeports.addresses, codec), (None, None)
    )
    for route in table.routes(codec.family):
        wanted.update((name, (data, route.key)) for name, data in elements_of(route, codec, options).items())
    held = committed.elements
    for (name, start, end), (data, key) in wanted.items():
        if (name, start, end) not in held:
            yield Difference(f"element {target.schemas[name].key_text(start, end)} of {name} is missing", key)
        elif held[name, start, end] != data:
            yield Difference(f"element {target.schemas[name].key_text(start, end)} of {name} leads elsewhere", key)
    for name, start, end in held.keys() - wanted.keys():
        yield Difference(f"element {target.schemas[name].key_text(start, end)} of {name} is surplus")


def _services(held: Mapping[str, Service], table: RoutingTable, family: Family, options: Options) -> Iterator[Difference]:
    wanted: dict[str, RouteKey] = {}
    for route in table.routes(family):
        service = service_of(route, options)
        if service is None:
            continue
        wanted[service.key] = route.key
        if held.get(service.key) != service:
            frontends = ", ".join(map(str, served_frontends(route, options)))
            words = "does not know" if service.key not in held else "has something else for"
            yield Difference(f"frontend {frontends}: the relay {words} {route.key}", route.key)
    for key in held:
        if key not in wanted:
            yield Difference(f"the relay has {key}, which nobody wants")

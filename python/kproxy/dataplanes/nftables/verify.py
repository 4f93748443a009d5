# SPDX-License-Identifier: Apache-2.0
"""Compares what is committed with a table, the way a packet would find out.

For each frontend the look-ups are followed through the elements: shape, set id, slots, endpoints. Ids and slot numbers are
the dataplane's own and do not count, except where the method gives slots a meaning.
"""

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from kproxy.dataplanes.contract import Difference
from kproxy.dataplanes.nft_tables import Facts, intervals
from kproxy.dataplanes.nftables import layout
from kproxy.dataplanes.nftables.committed import Committed, ElementKey, Found, Record
from kproxy.dataplanes.nftables.frontends import (
    appearance,
    balancer_of,
    cluster_ips,
    kind_of,
    usable_scopes,
)
from kproxy.dataplanes.nftables.layout import LOCAL_SET, WORDS, Kind, Options, Scope
from kproxy.dataplanes.nftables.shapes import (
    Balancer,
    Meeting,
    dispatch_chain,
    facts_of,
    meeting,
    policy_chain,
    scopes_wanted,
)
from kproxy.dataplanes.nftables.slots import maglev_keys, repeats
from kproxy.dataplanes.nftables.transaction import Target
from kproxy.kernel.nft_elements import Codec, read_number
from kproxy.kernel.nft_rules import digest
from kproxy.table.endpoint import Endpoint
from kproxy.table.frontend import Frontend
from kproxy.table.route import Route, RouteKey
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Family, Method


class Picture(msgspec.Struct, frozen=True):
    """The elements of a table, as read or as worked out from the records, with the balancers that codes stand for."""

    found: Found
    balancers: Mapping[int, Balancer]

    def balancer(self, code: int) -> Balancer:
        """Return what a code stands for."""
        return self.balancers.get(code) or Balancer(code)

    def keys(self, set_id: int, count: int) -> list[str | None]:
        """Return the endpoints in the first slots of a set; None where a look-up would find nothing."""
        held = self.found.slots.get(set_id, ())
        return [self.found.endpoints.get(held[index]) if index < len(held) else None for index in range(count)]


def picture(committed: Committed, family: Family) -> Picture:
    """Return what is committed as elements."""
    balancers = {code: balancer for balancer, code in committed.codes.items()}
    if committed.found is not None:
        return Picture(committed.found, balancers)
    codec = Codec(family)
    found = Found(elements=dict.fromkeys(committed.references))
    for record in committed.records.values():
        _draw(record, found, codec, committed)
    return Picture(found, balancers)


def _draw(record: Record, found: Found, codec: Codec, committed: Committed) -> None:
    codes = {}
    for scope in usable_scopes(record):
        balancer = balancer_of(record, scope)
        codes[scope] = balancer.plain_code or committed.codes[balancer]
        slots = record.slots(scope)
        set_id = record.set_id | (LOCAL_SET if scope is Scope.LOCAL else 0)
        found.slots[set_id] = array("I", [slots.ids[key] if key else 0 for key in slots.keys])
        found.endpoints.update((identifier, key) for key, identifier in slots.ids.items())
    found.elements.update(appearance(record, codec, codes).elements)


def differences(committed: Committed, table: RoutingTable, target: Target, options: Options) -> Sequence[Difference]:
    """Return everything that is not as the table says."""
    comparison = _Comparison(committed, target, options)
    return [*_rules(committed, facts_of(table.node, target.family), target, options), *comparison.run(table)]


def _rules(committed: Committed, facts: Facts, target: Target, options: Options) -> Iterator[Difference]:
    if not committed.chains:
        yield Difference("the rules are missing, or are not as they were written")
        return
    words = WORDS[target.family]
    wanted = {name: ("", *rules) for name, rules in layout.static_chains(words)}
    wanted |= {name: (hook, *rules) for name, hook, rules in layout.base_chains(words, options)}
    wanted["dispatch"] = ("", *dispatch_chain(words, facts))
    for kind in Kind:
        for (name, code), chain in committed.verdicts.items():
            if name == kind.policies:
                wanted[chain] = ("", *policy_chain(Meeting.of_code(code >> 16), kind, words, options, facts.family.pods))
    for name, rules in wanted.items():
        if committed.chains.get(name) != digest(rules):
            yield Difference(f"chain {name} is missing, or is not as the table says")


class _Comparison:
    def __init__(self, committed: Committed, target: Target, options: Options) -> None:
        self.committed = committed
        self.options = options
        self.target = target
        self.codec = Codec(target.family)
        self.picture = picture(committed, target.family)

    def run(self, table: RoutingTable) -> Iterator[Difference]:
        """Yield the differences: elements that are missing or surplus, then frontends that lead elsewhere."""
        elements = self.picture.found.elements
        wanted: dict[ElementKey, RouteKey | None] = {
            (layout.NODEPORT_ADDRESSES, self.codec.address(address), None): None
            for address in table.node.of(self.target.family).nodeports.addresses
        }
        routes = list(table.routes(self.target.family))
        for route in routes:
            wanted.update(dict.fromkeys(self._elements(route), route.key))
        yield from (self._told(element, "is missing", key) for element, key in wanted.items() if element not in elements)
        yield from (self._told(element, "is surplus", None) for element in elements if element not in wanted)
        for route in routes if self.committed.chains else ():
            for frontend in route.frontends:
                for words in self._frontend(route, frontend):
                    yield Difference(f"frontend {frontend}: {words}", route.key)

    def _told(self, element: ElementKey, words: str, key: RouteKey | None) -> Difference:
        name, start, end = element
        return Difference(f"element {self.target.schemas[name].key_text(start, end)} of {name} {words}", key)

    def _elements(self, route: Route) -> Iterator[ElementKey]:
        """Yield the keys of all elements the route must have."""
        for frontend in route.frontends:
            kind, name = kind_of(frontend), self.codec.frontend(frontend)
            yield (kind.shapes, name, None)
            yield (kind.sets, name, None)
            if Scope.LOCAL in _met(route, frontend).scopes:
                yield (kind.locals, name, None)
            if frontend.sources is not None:
                yield (layout.GUARDED, name, None)
                for first, last in intervals(self.codec, frontend):
                    yield (layout.ALLOWED, name + first, name + last)
        for address in cluster_ips(route):
            yield (layout.CLUSTER_IPS, self.codec.address(address), None)
        for scope in scopes_wanted(route):
            for endpoint in _endpoints(route, scope):
                if endpoint.local or not endpoint.node:
                    yield (layout.HAIRPIN, self.codec.hairpin(endpoint.address), None)
                if self.options.count_bytes:
                    yield (layout.TRAFFIC, self.codec.traffic(route.key.protocol, endpoint.key), None)

    def _frontend(self, route: Route, frontend: Frontend) -> Iterator[str]:
        """Follow a frontend's look-ups."""
        kind, name = kind_of(frontend), self.codec.frontend(frontend)
        elements = self.picture.found.elements
        shape, set_id = elements.get((kind.shapes, name, None)), elements.get((kind.sets, name, None))
        if shape is None or set_id is None:
            return
        met, wanted = Meeting.of_code(read_number(shape) >> 16), _met(route, frontend)
        if met != wanted:
            yield f"clients meet {met}, not {wanted}"
        elif (kind.policies, wanted.code << 16) not in self.committed.verdicts:
            yield f"no chain tells the clients of {wanted} apart"
        for scope in sorted(wanted.scopes):
            code = read_number(shape) & 0xFFFF
            if scope is Scope.LOCAL:
                code = read_number(elements.get((kind.locals, name, None)) or bytes(4))
            if (kind.balancers(scope), code) not in self.committed.verdicts:
                yield f"no chain picks {scope} endpoints"
            yield from self._set(route, scope, read_number(set_id), self.picture.balancer(code))

    def _set(self, route: Route, scope: Scope, set_id: int, balancer: Balancer) -> Iterator[str]:
        hashed = route.method is Method.MH
        if (balancer.affinity, balancer.hashed) != (route.affinity, hashed):
            yield f"{scope} endpoints are picked as {balancer}"
        usable = [endpoint for endpoint in _endpoints(route, scope) if endpoint.weight]
        held = self.picture.keys(set_id | (LOCAL_SET if scope is Scope.LOCAL else 0), balancer.slots)
        counts = dict(zip(usable, repeats([endpoint.weight for endpoint in usable]), strict=True)) if usable else {}
        wanted = maglev_keys(usable) if hashed else [e.key for e, count in counts.items() for _ in range(count)]
        if (held != wanted) if hashed else (Counter(held) != Counter(wanted)):
            shares, due = Counter[str | None](held), Counter[str | None](wanted)
            for key in sorted((shares | due).keys(), key=str):
                if shares[key] != due[key]:
                    yield f"{scope} endpoint {key or '(none)'} has {shares[key]} of {len(held)} slots, not {due[key]}"
            if shares == due:
                yield f"{scope} endpoints stand in other slots than Maglev gives them"


def _endpoints(route: Route, scope: Scope) -> tuple[Endpoint, ...]:
    return route.all if scope is Scope.ALL else route.local


def _met(route: Route, frontend: Frontend) -> Meeting:
    usable = frozenset(scope for scope in Scope if any(endpoint.weight for endpoint in _endpoints(route, scope)))
    return meeting(route.policy(frontend.role), usable)

# SPDX-License-Identifier: Apache-2.0
"""An EndpointSlice, read once when it arrives: its endpoints by port, ready to be merged with those of other slices.

The slice object itself is not kept. An endpoint that has not changed since the slice's last version stays the same Python
object, so that everything downstream compares it by identity.
"""

import sys
from collections.abc import Mapping
from typing import Final

import msgspec

from kproxy.objects.endpointslice import HEADLESS_LABEL, SERVICE_LABEL, EndpointSlice, Hint, SliceEndpoint, SlicePort
from kproxy.routing.annotations import weight_of
from kproxy.table.addresses import canonical_address, family_of
from kproxy.table.endpoint import Endpoint
from kproxy.table.terms import Family, Protocol

PortName = tuple[str, Protocol]
_FAMILIES: Final = {family.value: family for family in Family}
_PROTOCOLS: Final = {None: Protocol.TCP, "": Protocol.TCP} | {protocol.value: protocol for protocol in Protocol}


class SlicePart(msgspec.Struct, frozen=True, gc=False):
    """One port of a slice: its endpoints by key, sorted by it.

    ``plain``: every one is ready, weighs something and has no hints. ``local``: one at least is on this node.
    """

    endpoints: dict[str, Endpoint]
    plain: bool
    local: bool


class SliceRecord(msgspec.Struct, frozen=True, gc=False):
    """A slice that counts: its own key, its Service's, its family and its ports."""

    name: str
    service: str
    family: Family
    parts: dict[PortName, SlicePart]


class _Facts(msgspec.Struct, frozen=True, gc=False):
    """What an endpoint's object says, whatever the port."""

    address: str
    node: str
    local: bool
    pod: str
    zone: str
    ready: bool
    serving: bool
    terminating: bool
    zone_hints: tuple[str, ...]
    node_hints: tuple[str, ...]


def service_of(slice_: EndpointSlice) -> str | None:
    """Return the key of the Service a slice belongs to. None: it does not count (headless, or of no Service)."""
    meta = slice_.metadata
    name = meta.label(SERVICE_LABEL)
    if not name or not meta.namespace or meta.label(HEADLESS_LABEL) is not None:
        return None
    return f"{meta.namespace}/{name}"


def read_slice(
    slice_: EndpointSlice, node: str, complaints: list[str], *, previous: SliceRecord | None = None
) -> SliceRecord | None:
    """Read a slice as the node of that name sees it. None: it does not count.

    Whatever of it cannot be used is left out, with a complaint where somebody should mend it.
    """
    service = service_of(slice_)
    family = _FAMILIES.get(slice_.address_type)
    if service is None or family is None:
        return None
    weight = weight_of(slice_.metadata, complaints)
    facts = [fact for endpoint in slice_.endpoints or () if (fact := _facts(endpoint, family, node, complaints)) is not None]
    before = previous.parts if previous else {}
    parts: dict[PortName, SlicePart] = {}
    for port in slice_.ports or ():
        named = _port_name(port, complaints)
        if named is None or port.port is None:
            continue
        shared = before[named].endpoints if named in before else {}
        own = parts[named].endpoints if named in parts else {}
        parts[named] = _part(facts, port.port, family, weight, own, shared)
    return SliceRecord(slice_.metadata.key, service, family, parts)


def preferred(one: Endpoint, other: Endpoint) -> Endpoint:
    """Choose between two endpoints of one key: a Pod that moved between slices, or an address that was used again.

    The one that stays beats the one that terminates; then ready, then serving. Among equals the first one stays.
    """
    rank = (not one.terminating, one.ready, one.serving)
    return one if rank >= (not other.terminating, other.ready, other.serving) else other


def part_of(found: Mapping[str, Endpoint]) -> SlicePart:
    """Put endpoints in order and note what holds for all of them."""
    endpoints = {key: found[key] for key in sorted(found)}
    values = endpoints.values()
    return SlicePart(
        endpoints,
        plain=all(one.ready and one.weight and not one.zone_hints and not one.node_hints for one in values),
        local=any(one.local for one in values),
    )


def _part(
    facts: list[_Facts],
    port: int,
    family: Family,
    weight: int,
    own: Mapping[str, Endpoint],
    shared: Mapping[str, Endpoint],
) -> SlicePart:
    found = dict(own)
    before, after = ("", ":") if family is Family.IPV4 else ("[", "]:")
    for fact in facts:
        key = f"{before}{fact.address}{after}{port}"
        endpoint = Endpoint(
            key, fact.address, port, fact.node, fact.local, fact.pod, fact.zone, fact.ready, fact.serving,
            fact.terminating, weight, fact.zone_hints, fact.node_hints,
        )  # fmt: skip
        known = shared.get(key)
        if known == endpoint and known is not None:
            endpoint = known
        if key in found:
            endpoint = preferred(found[key], endpoint)
        found[key] = endpoint
    return part_of(found)


def _facts(endpoint: SliceEndpoint, family: Family, node: str, complaints: list[str]) -> _Facts | None:
    if not endpoint.addresses:
        return None
    text = endpoint.addresses[0]
    try:
        address = canonical_address(text)
    except ValueError:
        complaints.append(f"endpoint {text!r} is left out: it is not an IP address")
        return None
    if family_of(address) is not family:
        complaints.append(f"endpoint {text!r} is left out: the slice is one of {family} addresses")
        return None
    conditions = endpoint.conditions
    hints = endpoint.hints
    name = endpoint.node_name or ""
    pod = endpoint.target_ref.name if endpoint.target_ref and endpoint.target_ref.kind == "Pod" else ""
    return _Facts(
        address=address,
        node=sys.intern(name),
        local=bool(name) and name == node,
        pod=pod,
        zone=sys.intern(endpoint.zone or ""),
        ready=conditions is None or conditions.ready is not False,
        serving=conditions is None or conditions.serving is not False,
        terminating=conditions is not None and conditions.terminating is True,
        zone_hints=_names(hints.for_zones) if hints else (),
        node_hints=_names(hints.for_nodes) if hints else (),
    )


def _names(hints: tuple[Hint, ...] | None) -> tuple[str, ...]:
    return tuple(sys.intern(hint.name) for hint in hints) if hints else ()


def _port_name(port: SlicePort, complaints: list[str]) -> PortName | None:
    """Return a port's name and protocol. None: it names no port of a Service, or no number."""
    if port.name is None or not port.port:
        return None
    protocol = _PROTOCOLS.get(port.protocol)
    if protocol is None or not 0 < port.port < 1 << 16:
        complaints.append(f"port {port.name!r} is left out: {port.port}/{port.protocol} does not exist")
        return None
    return (sys.intern(port.name), protocol)

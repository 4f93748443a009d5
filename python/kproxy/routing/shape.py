# SPDX-License-Identifier: Apache-2.0
"""What of a Service decides anything: read once when it arrives, and the only copy that is kept.

Two Services of one shape are the same to every packet, so an update that leaves the shape as it was is no change.
"""

import sys
from typing import Final

import msgspec

from kproxy.objects.service import HEADLESS, PROXY_NAME_LABEL, Service, ServicePort, ServiceSpec
from kproxy.routing import annotations
from kproxy.routing.frontends import addresses_of, frontends_of
from kproxy.routing.source_ranges import allowed_sources
from kproxy.table.frontend import Frontend
from kproxy.table.route import RouteKey
from kproxy.table.terms import Family, Method, Protocol

CLIENT_IP: Final = "ClientIP"
LOCAL: Final = "Local"
DEFAULT_AFFINITY: Final = 10_800  # seconds; what the API server puts in, which manifests may lack
API_SERVER: Final = "default/kubernetes"
API_SERVER_PRIORITY: Final = 2_000
DNS_PORT: Final = 53
DNS_PRIORITY: Final = 1_000
_MAXIMUM_PORT: Final = 65_535


class PortShape(msgspec.Struct, frozen=True, gc=False):
    """One port in one family: its route's name, and the frontends it asks for (the ClusterIP first)."""

    key: RouteKey
    frontends: tuple[Frontend, ...]


class ServiceShape(msgspec.Struct, frozen=True, gc=False):
    """A Service that is proxied.

    ``external_local`` is the external traffic policy as far as the type lets it count; whether it matters to a port depends
    on that port's frontends. ``health_port`` is 0 for none, ``method`` None for the mode's default.
    """

    service: str
    ports: tuple[PortShape, ...]
    uid: str = ""
    created: str = ""
    internal_local: bool = False
    external_local: bool = False
    affinity: int = 0
    method: Method | None = None
    priority: int = 0
    health_port: int = 0
    proxy_protocol: bool = False


def is_proxied(service: Service) -> bool:
    """Tell whether a Service is ours: not headless, no ExternalName, not handed to another proxy by its label."""
    spec = service.spec
    first = spec.cluster_ip or (spec.cluster_ips or ("",))[0]
    return first not in ("", HEADLESS) and spec.type != "ExternalName" and service.metadata.label(PROXY_NAME_LABEL) is None


def shape_of(service: Service, complaints: list[str]) -> ServiceShape | None:
    """Read a Service. None: it is not ours, or has nothing to proxy. What cannot be used is complained of and left out."""
    if not is_proxied(service):
        return None
    spec = service.spec
    ports = _port_shapes(service, complaints)
    if not ports:
        return None
    external_local = _external_local(spec)
    annotated = annotations.priority_of(service.metadata, complaints)
    health_port = (spec.health_check_node_port or 0) if external_local and spec.type == "LoadBalancer" else 0
    return ServiceShape(
        service=service.metadata.key,
        ports=ports,
        uid=service.metadata.uid,
        created=service.metadata.creation_timestamp or "",
        internal_local=spec.internal_traffic_policy == LOCAL,
        external_local=external_local,
        affinity=_affinity(spec),
        method=annotations.method_of(service.metadata, complaints),
        priority=_built_in_priority(service) if annotated is None else annotated,
        health_port=health_port if health_port <= _MAXIMUM_PORT else 0,
        proxy_protocol=annotations.proxy_protocol_of(service.metadata, complaints),
    )


def _port_shapes(service: Service, complaints: list[str]) -> tuple[PortShape, ...]:
    namespace, name = sys.intern(service.metadata.namespace), service.metadata.name
    shapes = []
    usable = [(port, protocol) for port in service.spec.ports or () if (protocol := _protocol(port, complaints))]
    for family in Family:
        addresses = addresses_of(service, family, complaints)
        if addresses is None:
            continue
        sources = allowed_sources(service.spec.load_balancer_source_ranges, family, complaints)
        for port, protocol in usable:
            key = RouteKey(namespace, name, sys.intern(port.name or ""), protocol, family)
            shapes.append(PortShape(key, frontends_of(port, protocol, addresses, sources)))
    return tuple(_distinct(shapes, complaints))


def _distinct(shapes: list[PortShape], complaints: list[str]) -> list[PortShape]:
    """Drop a port whose name or frontend an earlier one has: the API server allows neither, a manifest may hold both."""
    names: set[RouteKey] = set()
    claims: set[tuple[Family, tuple[str, Protocol, int]]] = set()
    kept = []
    for shape in shapes:
        family = shape.key.family
        frontends = tuple(frontend for frontend in shape.frontends if (family, frontend.claim) not in claims)
        if shape.key in names or not frontends:
            complaints.append(f"port {shape.key.port or shape.frontends[0].port} is left out: an earlier port is the same")
            continue
        names.add(shape.key)
        claims.update((family, frontend.claim) for frontend in frontends)
        kept.append(shape if len(frontends) == len(shape.frontends) else PortShape(shape.key, frontends))
    return kept


def _protocol(port: ServicePort, complaints: list[str]) -> Protocol | None:
    """Return the protocol of a port that can be proxied."""
    try:
        protocol = Protocol(port.protocol or Protocol.TCP)
    except ValueError:
        complaints.append(f"port {port.port} is left out: protocol {port.protocol!r} is none of TCP, UDP and SCTP")
        return None
    if not 0 < port.port <= _MAXIMUM_PORT or not 0 <= (port.node_port or 0) <= _MAXIMUM_PORT:
        complaints.append(f"port {port.port} is left out: it or its nodePort {port.node_port} does not exist")
        return None
    return protocol


def _external_local(spec: ServiceSpec) -> bool:
    """Tell whether the external policy is Local; a plain ClusterIP Service has none, whatever the field says."""
    by_type = spec.type in ("LoadBalancer", "NodePort") or bool(spec.external_ips)
    return by_type and spec.external_traffic_policy == LOCAL


def _affinity(spec: ServiceSpec) -> int:
    if spec.session_affinity != CLIENT_IP:
        return 0
    config = spec.session_affinity_config
    seconds = config.client_ip.timeout_seconds if config and config.client_ip else None
    return seconds if seconds and seconds > 0 else DEFAULT_AFFINITY


def _built_in_priority(service: Service) -> int:
    """Without the API server nothing is learnt, without DNS nothing is found: these go first."""
    if service.metadata.key == API_SERVER:
        return API_SERVER_PRIORITY
    return DNS_PRIORITY if any(port.port == DNS_PORT for port in service.spec.ports or ()) else 0

# SPDX-License-Identifier: Apache-2.0
"""From a Service's shape and slices to its routes: all semantics in one pure function, its steps in modules of their own."""

from collections.abc import Iterable, Sequence

from kproxy.routing.categorize import Usable, categorize
from kproxy.routing.claims import settled_table
from kproxy.routing.endpoints import Merged, merge, parts_of
from kproxy.routing.node_facts import NodeView
from kproxy.routing.policies import NOWHERE, external_policy, internal_policy, sets_used
from kproxy.routing.shape import PortShape, ServiceShape
from kproxy.routing.slices import SliceRecord
from kproxy.routing.source_ranges import with_node
from kproxy.routing.store import Store
from kproxy.table.frontend import Frontend
from kproxy.table.route import Route
from kproxy.table.routing_table import HealthPort, RoutingTable, ServiceRoutes, Serving
from kproxy.table.terms import EndpointSet, FrontendKind, Protocol


def resolve(store: Store, view: NodeView) -> RoutingTable:
    """Return the table that the store's whole content leads to."""
    claimed = {service: resolve_service(shape, store.slices_of(service), view) for service, shape in store.services.items()}
    return settled_table(view.facts, claimed)


def resolve_service(shape: ServiceShape, slices: Sequence[SliceRecord], view: NodeView) -> ServiceRoutes:
    """Return what one Service asks for; claims of other Services on its frontends are settled elsewhere.

    ``slices`` are its own, sorted by name.
    """
    routes: list[Route] = []
    serving: list[Serving] = []
    local_ready: set[str] = set()
    for port in shape.ports:
        merged = merge(parts_of(slices, port.key.family, (port.key.port, port.key.protocol)))
        frontends = frontends_in_force(port, view)
        routes.append(resolve_port(shape, port, frontends, merged, view))
        if port.key.protocol is Protocol.UDP:
            serving.append(_serving(port, frontends, merged))
        if shape.health_port and merged.local:
            local_ready.update(one.address for one in merged.endpoints if one.local and one.ready and one.weight)
    health = HealthPort(shape.service, shape.health_port, len(local_ready)) if shape.health_port else None
    return ServiceRoutes(shape.service, shape.created, tuple(routes), health, tuple(serving))


def resolve_port(
    shape: ServiceShape, port: PortShape, frontends: tuple[Frontend, ...], merged: Merged, view: NodeView
) -> Route:
    """Return one route."""
    here = view.of(port.key.family)
    reachable = is_reachable(frontends)
    usable = usable_endpoints(shape, merged, view, reachable=reachable)
    internal = internal_policy(
        anywhere=usable.anywhere,
        local=shape.internal_local,
        own=bool(usable.local),
        masquerade_all=view.masquerade_all,
        detects_pods=here.detects_pods,
    )
    external = NOWHERE
    if reachable:
        external = external_policy(
            anywhere=usable.anywhere, local=shape.external_local, own=bool(usable.local), loopback=here.loopback
        )
    used = sets_used(internal, external)
    return Route(
        key=port.key,
        internal=internal,
        external=external,
        frontends=frontends,
        all=(usable.cluster or ()) if EndpointSet.ALL in used else (),
        local=(usable.local or ()) if EndpointSet.LOCAL in used else (),
        affinity=shape.affinity,
        method=shape.method or view.method,
        priority=shape.priority,
        proxy_protocol=shape.proxy_protocol,
    )


def usable_endpoints(shape: ServiceShape, merged: Merged, view: NodeView, *, reachable: bool) -> Usable:
    """Choose a port's endpoints. External addresses need the cluster's under either policy: pods take the short way."""
    return categorize(
        merged,
        cluster=reachable or not shape.internal_local,
        local=shape.internal_local or (shape.external_local and reachable),
        node=view.name,
        zone=view.zone,
    )


def frontends_in_force(port: PortShape, view: NodeView) -> tuple[Frontend, ...]:
    """Return a port's frontends as this node serves them."""
    address = view.of(port.key.family).address
    frontends = port.frontends
    if not view.external_ips:
        frontends = tuple(one for one in frontends if one.kind is not FrontendKind.EXTERNAL_IP)
    if any(one.sources is not None for one in frontends):
        frontends = tuple(_with_node(one, address) for one in frontends)
    return frontends


def is_reachable(frontends: Iterable[Frontend]) -> bool:
    """Tell whether a port has an address beside its ClusterIP."""
    return any(frontend.kind is not FrontendKind.CLUSTER_IP for frontend in frontends)


def _with_node(frontend: Frontend, address: str) -> Frontend:
    if frontend.sources is None:
        return frontend
    return Frontend(frontend.kind, frontend.protocol, frontend.address, frontend.port, with_node(frontend.sources, address))


def _serving(port: PortShape, frontends: tuple[Frontend, ...], merged: Merged) -> Serving:
    return Serving(
        key=port.key,
        frontends=tuple(frontend.claim for frontend in frontends),
        endpoints=frozenset([endpoint.key for endpoint in merged.endpoints if endpoint.serving]),
    )

# SPDX-License-Identifier: Apache-2.0
"""Why each endpoint of a Service is used or left out, for ``kproxy explain``.

Nothing of this is stored: the one Service is resolved again, by the same steps, and every endpoint is held against the
outcome. A property test holds that an endpoint without a reason is in the set, and one with a reason is not.
"""

from collections.abc import Sequence

import msgspec

from kproxy.routing.categorize import Topology, Usable, is_draining
from kproxy.routing.endpoints import Merged, merge, parts_of
from kproxy.routing.node_facts import NodeView
from kproxy.routing.resolve import frontends_in_force, is_reachable, usable_endpoints
from kproxy.routing.shape import PortShape, ServiceShape
from kproxy.routing.slices import SlicePart, SliceRecord
from kproxy.table.endpoint import Endpoint
from kproxy.table.route import RouteKey


class EndpointTrace(msgspec.Struct, frozen=True):
    """One endpoint and why it is not in a set: a sentence, empty where it is in, None where no policy asks for that set.

    ``cluster`` is the set of all nodes, ``local`` that of this node.
    """

    endpoint: Endpoint
    cluster: str | None
    local: str | None


class RouteTrace(msgspec.Struct, frozen=True):
    """One route's endpoints, in use or not, and how far hints count."""

    key: RouteKey
    topology: Topology
    endpoints: tuple[EndpointTrace, ...]


def trace_service(shape: ServiceShape, slices: Sequence[SliceRecord], view: NodeView) -> tuple[RouteTrace, ...]:
    """Account for every endpoint of a Service's ports. The arguments are those of ``resolve_service``."""
    return tuple(_trace_port(shape, port, slices, view) for port in shape.ports)


def _trace_port(shape: ServiceShape, port: PortShape, slices: Sequence[SliceRecord], view: NodeView) -> RouteTrace:
    parts = parts_of(slices, port.key.family, (port.key.port, port.key.protocol))
    merged = merge(parts)
    reachable = is_reachable(frontends_in_force(port, view))
    usable = usable_endpoints(shape, merged, view, reachable=reachable)
    anyone_ready = any(one.ready and one.weight for one in merged.endpoints)
    anyone_ready_here = any(one.ready and one.weight and one.local for one in merged.endpoints)
    traces = [
        EndpointTrace(
            one,
            None if usable.cluster is None else _why_not(one, anyone_ready) or _why_not_meant(one, usable, view),
            None if usable.local is None else _why_not_here(one, view) or _why_not(one, anyone_ready_here),
        )
        for one in merged.endpoints
    ]
    traces += [_superseded(one, usable) for one in duplicates(parts, merged)]
    return RouteTrace(port.key, usable.topology, tuple(traces))


def duplicates(parts: Sequence[SlicePart], merged: Merged) -> list[Endpoint]:
    """Return the endpoints that another slice's endpoint of the same address and port goes before."""
    chosen = {one.key: one for one in merged.endpoints}
    return [one for part in parts for one in part.endpoints.values() if one != chosen[one.key]]


def _superseded(endpoint: Endpoint, usable: Usable) -> EndpointTrace:
    words = "duplicate: another slice has the same address in a better state"
    return EndpointTrace(endpoint, None if usable.cluster is None else words, None if usable.local is None else words)


def _why_not(endpoint: Endpoint, anyone_ready: bool) -> str:
    """Tell why its state keeps an endpoint out. ``anyone_ready``: of those it competes with, one is ready."""
    if not endpoint.weight:
        return "its weight is 0: it takes no new connections"
    if endpoint.ready:
        return ""
    if not is_draining(endpoint):
        return "terminating and not serving any more" if endpoint.terminating else "not ready"
    return "terminating, and others are ready" if anyone_ready else ""


def _why_not_here(endpoint: Endpoint, view: NodeView) -> str:
    if endpoint.local:
        return ""
    return (
        f"on {f'node {endpoint.node}' if endpoint.node else 'no known node'}: policy Local takes those of {view.name} only"
    )


def _why_not_meant(endpoint: Endpoint, usable: Usable, view: NodeView) -> str:
    """Tell why hints keep a ready endpoint out; they do not count for one that is used because nothing is ready."""
    if not endpoint.ready:
        return ""
    match usable.topology:
        case Topology.SAME_NODE if view.name not in endpoint.node_hints:
            return f"hinted for node {_listed(endpoint.node_hints)}, not for {view.name}"
        case Topology.SAME_ZONE if view.zone not in endpoint.zone_hints:
            return f"hinted for zone {_listed(endpoint.zone_hints)}, not for {view.zone}"
        case _:
            return ""


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(names)

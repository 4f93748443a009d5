# SPDX-License-Identifier: Apache-2.0
"""Which endpoints of a port are used: topology, traffic policies, and what happens when none is ready.

The algorithm is that of kube-proxy's ``CategorizeEndpoints`` (``pkg/proxy/topology.go``). Hints in the slices alone decide
on topology. An endpoint of weight 0 takes no new connections, so to all of this it does not exist.
"""

import enum
from collections.abc import Sequence

import msgspec

from kproxy.routing.endpoints import Merged
from kproxy.table.endpoint import Endpoint


class Topology(enum.StrEnum):
    """How far hints narrow the endpoints of the whole cluster."""

    ANYWHERE = "anywhere"
    SAME_ZONE = "same zone"
    SAME_NODE = "same node"


class Usable(msgspec.Struct, frozen=True, gc=False):
    """What is used: of the whole cluster, and of this node. None: no policy asks for that set.

    ``anywhere``: the port has an endpoint that could be used by somebody, somewhere. So a set that is empty means DROP
    (others can serve) or REJECT (nobody can).
    """

    cluster: tuple[Endpoint, ...] | None = None
    local: tuple[Endpoint, ...] | None = None
    anywhere: bool = False
    topology: Topology = Topology.ANYWHERE

    @property
    def reachable(self) -> dict[str, Endpoint]:
        """Every endpoint that some client on this node may be sent to, by key."""
        return {endpoint.key: endpoint for endpoint in (*(self.cluster or ()), *(self.local or ()))}


def categorize(merged: Merged, *, cluster: bool, local: bool, node: str = "", zone: str = "") -> Usable:
    """Choose the endpoints. ``cluster`` and ``local`` say which sets the port's policies ask for."""
    if merged.plain:
        everyone = merged.endpoints
        own = tuple([one for one in everyone if one.local]) if local and merged.local else ()
        return Usable(everyone if cluster else None, own if local else None, bool(everyone))
    weighty = [endpoint for endpoint in merged.endpoints if endpoint.weight]
    ready = [endpoint for endpoint in weighty if endpoint.ready]
    draining = [] if ready else [endpoint for endpoint in weighty if is_draining(endpoint)]
    topology = topology_of(ready, node, zone)
    return Usable(
        cluster=tuple(narrow(ready, topology, node, zone) or draining) if cluster else None,
        local=_local(weighty) if local else None,
        anywhere=bool(ready or draining),
        topology=topology,
    )


def is_draining(endpoint: Endpoint) -> bool:
    """Tell whether an endpoint may still be used when nothing is ready."""
    return endpoint.serving and endpoint.terminating


def topology_of(ready: Sequence[Endpoint], node: str, zone: str) -> Topology:
    """Decide how far hints count: only where every ready endpoint has one, and one of them is meant for us."""
    if all(one.node_hints for one in ready) and any(node in one.node_hints for one in ready):
        return Topology.SAME_NODE
    if zone and all(one.zone_hints for one in ready) and any(zone in one.zone_hints for one in ready):
        return Topology.SAME_ZONE
    return Topology.ANYWHERE


def narrow(ready: list[Endpoint], topology: Topology, node: str, zone: str) -> list[Endpoint]:
    """Keep the endpoints that are meant for us."""
    if topology is Topology.SAME_NODE:
        return [endpoint for endpoint in ready if node in endpoint.node_hints]
    if topology is Topology.SAME_ZONE:
        return [endpoint for endpoint in ready if zone in endpoint.zone_hints]
    return ready


def _local(weighty: list[Endpoint]) -> tuple[Endpoint, ...]:
    """Choose this node's endpoints: its ready ones, else its draining ones, whatever there is elsewhere."""
    own = [endpoint for endpoint in weighty if endpoint.local]
    return tuple([one for one in own if one.ready] or [one for one in own if is_draining(one)])

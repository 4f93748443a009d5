# SPDX-License-Identifier: Apache-2.0
"""Clusters by the thousand, and how they change: for benches and fault tests.

A ``Workload`` is deterministic by its seed. It knows the present state of its Services, so that every change it makes is one
a real cluster could make: a Service grows and shrinks by one, an endpoint is replaced, a Deployment rolls (a new endpoint
ready first, the old one terminating, then gone). Everything is told as JSON objects, ready for an API server or a manifest;
``events`` turns the same objects into what a source would tell.
"""

import ipaddress
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from kproxy.objects.decode import decode
from kproxy.objects.endpointslice import SERVICE_LABEL
from kproxy.objects.events import Delete, Event, Kind, Synced, Upsert
from kproxy.objects.node import ZONE_LABEL

JsonObject = dict[str, Any]
NAMESPACE: Final = "load"
_CLUSTER_IPS: Final = {"IPv4": ipaddress.ip_address("10.96.1.0"), "IPv6": ipaddress.ip_address("fd00:96::100")}
_ENDPOINTS: Final = {"IPv4": ipaddress.ip_address("10.128.0.1"), "IPv6": ipaddress.ip_address("fd00:128::1")}


class Shape(msgspec.Struct, frozen=True):
    """What a cluster looks like.

    ``slice_size``: endpoints a slice (upstream's default 100). ``node_ports``: share of Services of type NodePort.
    ``affinity``: share of Services with ClientIP affinity. ``ports``: ports a Service.
    """

    services: int = 100
    endpoints: int = 2
    families: tuple[str, ...] = ("IPv4",)
    nodes: int = 3
    zones: int = 2
    ports: int = 1
    slice_size: int = 100
    node_ports: float = 0.0
    affinity: float = 0.0


class Step(msgspec.Struct, frozen=True):
    """One change of the cluster: objects to write, and what to delete by kind and key."""

    puts: tuple[JsonObject, ...] = ()
    deletes: tuple[tuple[Kind, str], ...] = ()


class _Endpoint(msgspec.Struct):
    number: int
    terminating: bool = False


def _nth(base: ipaddress.IPv4Address | ipaddress.IPv6Address, number: int) -> str:
    return str(base + number)


def endpoint_address(family: str, number: int) -> str:
    """Return the address of the numbered endpoint: each has its own, millions fit."""
    return _nth(_ENDPOINTS[family], number)


class Workload:
    """A cluster and its changes. ``address``: where the numbered endpoint of a family lives, for tests with real servers."""

    def __init__(self, shape: Shape, *, seed: int = 0, address: Callable[[str, int], str] = endpoint_address) -> None:
        self.shape = shape
        self._random = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self._address = address
        self._born = 0
        self._gone: set[int] = set()
        self._slices: list[list[list[_Endpoint]]] = [[] for _ in range(shape.services)]
        for service in range(shape.services):
            for _ in range(shape.endpoints):
                self._add(service)

    def nodes(self) -> Iterator[JsonObject]:
        """Yield every Node."""
        for number in range(self.shape.nodes):
            zone = {ZONE_LABEL: f"zone-{number % max(1, self.shape.zones)}"}
            addresses = [{"type": "InternalIP", "address": f"192.0.2.{number + 1}"}]
            yield {
                "kind": "Node",
                "apiVersion": "v1",
                "metadata": {"name": f"node-{number}", "labels": {"kubernetes.io/hostname": f"node-{number}", **zone}},
                "spec": {"podCIDRs": [f"10.{128 + number}.0.0/16"]},
                "status": {"addresses": addresses},
            }

    def objects(self) -> Iterator[JsonObject]:
        """Yield everything there is now: Nodes, then each Service with its slices."""
        yield from self.nodes()
        for service in range(self.shape.services):
            if service not in self._gone:
                yield self.service(service)
                yield from self.slices(service)

    def service(self, service: int) -> JsonObject:
        """Return a Service."""
        shape = self.shape
        addresses = [_nth(_CLUSTER_IPS[family], service) for family in shape.families]
        node_port = service < shape.services * shape.node_ports
        ports = []
        for index in range(shape.ports):
            port: JsonObject = {"name": f"p{index}", "port": 80 + index, "protocol": "TCP", "targetPort": 8080 + index}
            if node_port:
                port["nodePort"] = 30_000 + (service * shape.ports + index) % 2768
            ports.append(port)
        spec: JsonObject = {
            "type": "NodePort" if node_port else "ClusterIP",
            "clusterIP": addresses[0],
            "clusterIPs": addresses,
            "ipFamilies": list(shape.families),
            "ipFamilyPolicy": "RequireDualStack" if len(addresses) > 1 else "SingleStack",
            "ports": ports,
            "selector": {"app": f"svc-{service}"},
            "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
        }
        if service % 1000 < 1000 * shape.affinity:
            spec |= {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10_800}}}
        return {
            "kind": "Service",
            "apiVersion": "v1",
            "metadata": {"name": f"svc-{service}", "namespace": NAMESPACE, "labels": {"app": f"svc-{service}"}},
            "spec": spec,
            "status": {"loadBalancer": {}},
        }

    def slices(self, service: int) -> Iterator[JsonObject]:
        """Yield all slices of a Service."""
        for index in range(len(self._slices[service])):
            yield from self._slice(service, index)

    def numbers(self, service: int) -> list[int]:
        """Return the numbers of a Service's endpoints, terminating ones left out."""
        return [item.number for members in self._slices[service] for item in members if not item.terminating]

    def grow(self, service: int) -> Step:
        """Let one endpoint be born."""
        return self._told(service, self._add(service))

    def shrink(self, service: int) -> Step:
        """Let one endpoint, chosen by chance, go at once."""
        index, member = self._pick(service)
        self._slices[service][index].remove(member)
        return self._told(service, index)

    def replace(self, service: int) -> Step:
        """Let one endpoint, chosen by chance, give its place to a new one: the number stays."""
        index, member = self._pick(service)
        self._slices[service][index][self._slices[service][index].index(member)] = self._bear()
        return self._told(service, index)

    def roll(self, service: int) -> Iterator[Step]:
        """Replace every endpoint of a Service as a Deployment does: one born, one terminating, one gone, and again."""
        old = [(index, item) for index, members in enumerate(self._slices[service]) for item in members]
        for index, member in old:
            yield self.grow(service)
            member.terminating = True
            yield self._told(service, index)
            self._slices[service][index].remove(member)
            yield self._told(service, index)

    def remove(self, service: int) -> Step:
        """Delete a Service and its slices."""
        self._gone.add(service)
        slices = [item["metadata"]["name"] for item in self.slices(service)]
        keys = [(Kind.ENDPOINT_SLICE, f"{NAMESPACE}/{name}") for name in slices]
        return Step(deletes=(*keys, (Kind.SERVICE, f"{NAMESPACE}/svc-{service}")))

    def restore(self, service: int) -> Step:
        """Create a deleted Service again."""
        self._gone.discard(service)
        return Step(puts=(self.service(service), *self.slices(service)))

    def changes(self, services: Iterable[int] | None = None) -> Iterator[Step]:
        """Yield changes for ever: N to N+1, back to N, or one endpoint replaced, at Services chosen by chance."""
        chosen = tuple(range(self.shape.services) if services is None else services)
        while True:
            service = self._random.choice(chosen)
            present, wanted = len(self.numbers(service)), self.shape.endpoints
            if present > wanted:
                yield self.shrink(service)
            elif self._random.random() < 0.5 or not present:
                yield self.grow(service)
            else:
                yield self.replace(service)

    def _bear(self) -> _Endpoint:
        self._born += 1
        return _Endpoint(self._born)

    def _add(self, service: int) -> int:
        """Put a new endpoint where there is room, as the controller does. Returns the slice's index."""
        slices = self._slices[service]
        for index, members in enumerate(slices):
            if len(members) < self.shape.slice_size:
                members.append(self._bear())
                return index
        slices.append([self._bear()])
        return len(slices) - 1

    def _pick(self, service: int) -> tuple[int, _Endpoint]:
        found = [
            (index, item) for index, members in enumerate(self._slices[service]) for item in members if not item.terminating
        ]
        return self._random.choice(found)

    def _told(self, service: int, index: int) -> Step:
        return Step(puts=tuple(self._slice(service, index)))

    def _slice(self, service: int, index: int) -> Iterator[JsonObject]:
        for family in self.shape.families:
            ports = [{"name": f"p{port}", "port": 8080 + port, "protocol": "TCP"} for port in range(self.shape.ports)]
            yield {
                "kind": "EndpointSlice",
                "apiVersion": "discovery.k8s.io/v1",
                "metadata": {
                    "name": f"svc-{service}-{family.lower()}-{index}",
                    "namespace": NAMESPACE,
                    "labels": {SERVICE_LABEL: f"svc-{service}", "endpointslice.kubernetes.io/managed-by": "workload"},
                },
                "addressType": family,
                "ports": ports,
                "endpoints": [self._endpoint(service, family, item) for item in self._slices[service][index]],
            }

    def _endpoint(self, service: int, family: str, item: _Endpoint) -> JsonObject:
        node = item.number % max(1, self.shape.nodes)
        return {
            "addresses": [self._address(family, item.number)],
            "conditions": {"ready": not item.terminating, "serving": True, "terminating": item.terminating},
            "nodeName": f"node-{node}",
            "zone": f"zone-{node % max(1, self.shape.zones)}",
            "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": f"svc-{service}-{item.number}"},
        }


def events(step: Step | Iterable[JsonObject], received: float = 0.0) -> Iterator[Event]:
    """Turn a step, or objects, into what a source would tell. ``received``: monotonic seconds."""
    puts = step.puts if isinstance(step, Step) else step
    for value in puts:
        yield Upsert(decode(Kind(value["kind"]), msgspec.json.encode(value)), received)
    if isinstance(step, Step):
        yield from (Delete(kind, key, received) for kind, key in step.deletes)


def synced() -> Iterator[Event]:
    """Yield that all kinds have been told once."""
    return (Synced(kind) for kind in Kind)

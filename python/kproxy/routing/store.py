# SPDX-License-Identifier: Apache-2.0
"""What the cluster says, in the only form that is kept: shapes of Services, and endpoints by slice and port."""

from typing import Final

import msgspec

from kproxy.objects.decode import kind_of
from kproxy.objects.endpointslice import EndpointSlice
from kproxy.objects.events import Broken, Delete, Event, Host, HostAddress, Kind, Object, Synced, Upsert
from kproxy.objects.node import Node
from kproxy.objects.service import Service
from kproxy.objects.servicecidr import ServiceCIDR
from kproxy.routing.shape import ServiceShape, shape_of
from kproxy.routing.slices import SliceRecord, read_slice
from kproxy.routing.triggers import Triggers


class Touched(msgspec.Struct, frozen=True):
    """What an event changed: Services that must be resolved again, and whether the node must be looked at again."""

    services: tuple[str, ...] = ()
    node: bool = False

    def __bool__(self) -> bool:
        """Tell whether anything changed."""
        return bool(self.services) or self.node


NOTHING: Final = Touched()


class Store:
    """The cluster, as events told it. An object that is told again with the same content is no change.

    ``node`` is this node's name: endpoints are local or not from the moment they arrive. Only its Node object counts. When
    that is deleted the last one stays in force, for a node that is registered anew must not close its NodePorts meanwhile.
    """

    def __init__(self, node: str, *, started: float = 0.0) -> None:
        self.services: dict[str, ServiceShape] = {}
        self.node: Node | None = None
        self.addresses: tuple[HostAddress, ...] = ()
        self.complaints: dict[tuple[Kind, str], tuple[str, ...]] = {}
        self.synced: set[Kind] = set()
        self.triggers = Triggers(started)
        self._name = node
        self._slices: dict[str, dict[str, SliceRecord]] = {}
        self._service_of: dict[str, str] = {}
        self._service_cidrs: dict[str, tuple[str, ...]] = {}

    def copy(self) -> "Store":
        """Return a second store that knows the same, and learns by itself from then on. What it holds is never changed."""
        other = Store(self._name, started=self.triggers.started)
        other.node, other.addresses = self.node, self.addresses
        other.services, other.complaints, other.synced = dict(self.services), dict(self.complaints), set(self.synced)
        other._slices = {service: dict(slices) for service, slices in self._slices.items()}
        other._service_of, other._service_cidrs = dict(self._service_of), dict(self._service_cidrs)
        return other

    def slices_of(self, service: str) -> list[SliceRecord]:
        """Return a Service's slices, sorted by name."""
        slices = self._slices.get(service)
        if not slices:
            return []
        return [slices[name] for name in sorted(slices)] if len(slices) > 1 else list(slices.values())

    @property
    def service_cidrs(self) -> list[str]:
        """Every ServiceCIDR as it is written, in no order and perhaps twice."""
        return [cidr for cidrs in self._service_cidrs.values() for cidr in cidrs]

    def apply(self, event: Event) -> Touched:
        """Take in one event."""
        match event:
            case Upsert(object=item):
                return self._upsert(item)
            case Delete(kind=kind, key=key):
                return self._delete(kind, key)
            case Host(addresses=addresses):
                if addresses == self.addresses:
                    return NOTHING
                self.addresses = addresses
                return Touched(node=True)
            case Synced(kind=kind):
                self.synced.add(kind)
            case Broken():
                pass  # what was known of it stays in force
        return NOTHING

    def _upsert(self, item: Object) -> Touched:
        match item:
            case EndpointSlice():
                return self._put_slice(item)
            case Service():
                return self._put_service(item)
            case Node():
                return self._put_node(item)
            case ServiceCIDR():
                return self._put_service_cidr(item.metadata.name, item.spec.cidrs or ())

    def _delete(self, kind: Kind, key: str) -> Touched:
        self.complaints.pop((kind, key), None)
        match kind:
            case Kind.SERVICE:
                return Touched((key,)) if self.services.pop(key, None) else NOTHING
            case Kind.ENDPOINT_SLICE:
                return self._drop_slice(key)
            case Kind.SERVICE_CIDR:
                return self._put_service_cidr(key, ())
            case Kind.NODE:
                return NOTHING

    def _put_service(self, service: Service) -> Touched:
        complaints: list[str] = []
        shape = shape_of(service, complaints)
        key = service.metadata.key
        self._complain(service, complaints)
        if self.services.get(key) == shape:
            return NOTHING
        if shape is None:
            del self.services[key]
        else:
            self.services[shape.service] = shape
        return Touched((key,))

    def _put_slice(self, slice_: EndpointSlice) -> Touched:
        complaints: list[str] = []
        key = slice_.metadata.key
        owner = self._service_of.get(key)
        previous = self._slices[owner][key] if owner else None
        record = read_slice(slice_, self._name, complaints, previous=previous)
        self._complain(slice_, complaints)
        if record == previous:
            return NOTHING
        if record is None:
            return self._drop_slice(key)
        touched = self._drop_slice(key) if previous and record.service != previous.service else NOTHING
        self._slices.setdefault(record.service, {})[record.name] = record
        self._service_of[record.name] = record.service
        self.triggers.record(record.service, slice_)
        return Touched((*touched.services, record.service))

    def _drop_slice(self, key: str) -> Touched:
        owner = self._service_of.pop(key, None)
        if owner is None:
            return NOTHING
        slices = self._slices[owner]
        del slices[key]
        if not slices:
            del self._slices[owner]
        self.triggers.forget(owner)
        return Touched((owner,))

    def _put_node(self, node: Node) -> Touched:
        if node.metadata.name != self._name or node == self.node:
            return NOTHING
        self.node = node
        return Touched(node=True)

    def _put_service_cidr(self, name: str, cidrs: tuple[str, ...]) -> Touched:
        if self._service_cidrs.get(name, ()) == cidrs:
            return NOTHING
        if cidrs:
            self._service_cidrs[name] = cidrs
        else:
            del self._service_cidrs[name]
        return Touched(node=True)

    def _complain(self, item: Object, complaints: list[str]) -> None:
        name = (kind_of(item), item.metadata.key)
        if complaints:
            self.complaints[name] = tuple(dict.fromkeys(complaints))
        elif self.complaints:
            self.complaints.pop(name, None)

# SPDX-License-Identifier: Apache-2.0
"""What a source tells: serialisable values, so that a cluster can be recorded and replayed."""

import enum
from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec

from kproxy.objects.endpointslice import EndpointSlice
from kproxy.objects.node import Node
from kproxy.objects.service import Service
from kproxy.objects.servicecidr import ServiceCIDR


class Kind(enum.StrEnum):
    """The kinds of object that are watched."""

    SERVICE = "Service"
    ENDPOINT_SLICE = "EndpointSlice"
    NODE = "Node"
    SERVICE_CIDR = "ServiceCIDR"


Object: TypeAlias = Service | EndpointSlice | Node | ServiceCIDR


class Upsert(msgspec.Struct, frozen=True, tag=True):
    """An object is new or has changed. ``received``: monotonic seconds at which its bytes arrived."""

    object: Object
    received: float = 0.0


class Delete(msgspec.Struct, frozen=True, tag=True):
    """An object is gone. ``key`` is ``namespace/name``, or the name of a cluster-wide object."""

    kind: Kind
    key: str
    received: float = 0.0


class Synced(msgspec.Struct, frozen=True, tag=True):
    """Every object of the kind that exists has been told once. Sent once a source and kind."""

    kind: Kind


class HostAddress(msgspec.Struct, frozen=True, order=True):
    """An address of one of this node's interfaces, canonical, with its prefix length."""

    interface: str
    address: str
    prefix: int


class Host(msgspec.Struct, frozen=True, tag=True):
    """This node's interfaces carry these addresses: all of them, sorted."""

    addresses: tuple[HostAddress, ...]
    received: float = 0.0


class Broken(msgspec.Struct, frozen=True, tag=True):
    """An object that cannot be read is kept out; what was known of it before stays in force.

    ``mend`` is a sentence; empty: the trouble is over. An Upsert or Delete of the same object ends it too. ``kind`` is None
    when a whole manifest file is meant, ``key`` is its name then.
    """

    kind: Kind | None
    key: str
    mend: str


Event: TypeAlias = Upsert | Delete | Synced | Host | Broken
Emit: TypeAlias = Callable[[Event], None]


class Source(Protocol):
    """Where events come from."""

    async def run(self, emit: Emit) -> None:
        """Tell what is, then what changes, until cancelled. Retries by itself; never raises for what may heal."""

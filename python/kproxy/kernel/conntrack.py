# SPDX-License-Identifier: Apache-2.0
"""The door to the kernel's connection tracker: list flows, delete the stale ones.

What is stale is decided in ``routing.stale``; here its answer, plain sets, meets the flows. ``_core`` goes through them
once, in constant memory: the kernel filters by protocol and, where few addresses are looked for, by destination. What goes
is deleted by its own id, so that a new flow of the same client is never hit. A million flows take some seconds: this
belongs in a thread of its own.
"""

import errno
import logging
import socket
from collections.abc import Collection, Mapping
from typing import Final, TypeAlias
from typing import Protocol as Shape

import msgspec

from kproxy import _core
from kproxy.kernel.nfnl import refused
from kproxy.table.addresses import family_of, join_port
from kproxy.table.errors import KernelError, Unsupported
from kproxy.table.terms import Family, Protocol

Destination: TypeAlias = tuple[str, int]  # an address and a port

log: Final = logging.getLogger(__name__)

_FAMILIES: Final = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_PROTOCOLS: Final = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}
_MISSING: Final = {errno.EINVAL, errno.EPROTONOSUPPORT, errno.EOPNOTSUPP}


class Stale(Shape):
    """What to look for, as ``routing.stale`` says it; both families may be in it."""

    @property
    def serving(self) -> Mapping[Destination, Collection[str]]:
        """For each destination the endpoints (``address:port``) whose flows are kept."""

    @property
    def gone(self) -> Collection[Destination]:
        """Destinations that are no frontend any more."""


class TrackedFlow(msgspec.Struct, frozen=True):
    """A tracked connection: what the client sent, and what an answer looks like. Addresses are canonical text."""

    source: str
    source_port: int
    destination: str
    port: int
    reply_source: str
    reply_port: int
    reply_destination: str
    reply_destination_port: int
    status: int  # the kernel's IPS_* bits

    def __str__(self) -> str:
        """Return ``10.0.0.9:4711 -> 10.96.0.10:53, answered by 10.244.1.7:53``."""
        source, destination = join_port(self.source, self.source_port), join_port(self.destination, self.port)
        return f"{source} -> {destination}, answered by {join_port(self.reply_source, self.reply_port)}"


class Swept(msgspec.Struct, frozen=True):
    """What a sweep did: flows looked at and deleted, and the first few that were to go.

    ``held``: stale flows the kernel does not let go, because a flow table has taken them over; they leave by time-out.
    """

    seen: int = 0
    deleted: int = 0
    held: int = 0
    sample: tuple[TrackedFlow, ...] = ()


class Conntrack:
    """Lists and deletes flows, in the network namespace of the thread that makes it. Safe to share between threads.

    Every method raises KernelErrors.
    """

    def __init__(self) -> None:
        try:
            self._conntrack = _core.Conntrack()
        except _core.NetlinkError as error:
            raise refused(error) from error

    def cut(self, family: Family, stale: Stale) -> int:
        """Delete one family's stale UDP flows and return how many. The log names the first few."""
        swept = self.delete_stale(family, stale.serving, stale.gone)
        for flow in swept.sample:
            log.debug("stale flow: %s", flow)
        if swept.held:
            log.warning(
                "%s: %d stale UDP flows stay until they time out: a flow table has taken them over", family, swept.held
            )
        return swept.deleted

    def delete_stale(
        self,
        family: Family,
        serving: Mapping[Destination, Collection[str]],
        gone: Collection[Destination] = (),
        *,
        protocol: Protocol = Protocol.UDP,
        sample: int = 10,
    ) -> Swept:
        """Delete flows whose answers come from nobody who serves any more. Destinations of the other family do not count.

        ``serving`` maps a destination to the endpoints (``address:port``) whose flows are kept. Flows to a destination in
        ``gone`` are deleted where they had been translated. Flows to all other destinations are left alone.
        """
        rules = flow_rules(family, serving, gone)
        try:
            seen, deleted, held, flows = self._conntrack.delete_stale(_FAMILIES[family], _PROTOCOLS[protocol], rules, sample)
        except _core.NetlinkError as error:
            raise _refused(error) from error
        return Swept(seen, deleted, held, tuple(TrackedFlow(*flow) for flow in flows))

    def flows(self, family: Family, protocol: Protocol, destination: str | None = None) -> list[TrackedFlow]:
        """Return the flows of a family and protocol, to one destination address or to all."""
        packed = socket.inet_pton(_FAMILIES[family], destination) if destination is not None else None
        try:
            flows = self._conntrack.entries(_FAMILIES[family], _PROTOCOLS[protocol], packed)
        except _core.NetlinkError as error:
            raise _refused(error) from error
        return [TrackedFlow(*flow) for flow in flows]


def _refused(error: _core.NetlinkError) -> KernelError:
    if error.errno in _MISSING:
        return Unsupported(f"{error.strerror}: the kernel lacks nf_conntrack_netlink: modprobe nf_conntrack_netlink")
    return refused(error)


def flow_rules(
    family: Family, serving: Mapping[Destination, Collection[str]], gone: Collection[Destination]
) -> _core.FlowRules:
    """Return the rules of one family in the core's form. Destinations with one and the same set of endpoints share it."""
    rules = _core.FlowRules()
    shared: dict[int, tuple[Collection[str], list[bytes]]] = {}
    for (address, port), endpoints in serving.items():
        if family_of(address) is family:
            shared.setdefault(id(endpoints), (endpoints, []))[1].append(_pack(address, port))
    for endpoints, destinations in shared.values():
        rules.serve(destinations, [_pack_endpoint(each) for each in endpoints])
    rules.gone([_pack(address, port) for address, port in gone if family_of(address) is family])
    return rules


def _pack(address: str, port: int) -> bytes:
    return socket.inet_pton(_FAMILIES[family_of(address)], address) + port.to_bytes(2, "big")


def _pack_endpoint(endpoint: str) -> bytes:
    address, _, port = endpoint.rpartition(":")
    return _pack(address.strip("[]"), int(port))

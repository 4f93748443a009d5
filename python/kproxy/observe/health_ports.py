# SPDX-License-Identifier: Apache-2.0
"""Health-check node ports: one listener per Service and address, shared by both families.

A load balancer with ``externalTrafficPolicy: Local`` asks here which nodes have endpoints. The answer is 200 while this node
has a local ready endpoint and the proxy itself is well. Where it listens follows the node's addresses as they come and go.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from kproxy.config.node_ports import node_port_ranges
from kproxy.observe.http import JSON, Request, Response, Server
from kproxy.table.addresses import family_of, join_port
from kproxy.table.clock import Clock
from kproxy.table.routing_table import HealthPort
from kproxy.table.terms import Family

log: Final = logging.getLogger(__name__)
RETRY: Final = 5.0  # seconds until a port somebody else holds is tried again
WILDCARD: Final = {Family.IPV4: "0.0.0.0", Family.IPV6: "::"}
WEIGHT_HEADER: Final = "X-Load-Balancing-Endpoint-Weight"


def places(
    node_port_addresses: Iterable[str], node_ips: Mapping[Family, str], own: Iterable[str], families: Iterable[Family]
) -> tuple[str, ...]:
    """Return where to listen: the same addresses as NodePorts, loopback too where the configuration names it.

    ``node_port_addresses`` are as configured, ``node_ips`` as far as they are known, ``own`` are the interfaces' addresses.
    """
    own = tuple(own)
    ranges = node_port_ranges(node_port_addresses, node_ips)
    found: list[str] = []
    for family in families:
        if ranges[family].every:
            found.append(WILDCARD[family])
        else:
            found += (address for address in ranges[family].select(own) if family_of(address) is family)
    return tuple(found)


def answer(port: HealthPort, *, proxy_healthy: bool) -> Response:
    """Answer for one Service. The count stays true while the proxy itself is not well."""
    namespace, _, name = port.service.partition("/")
    body = {
        "service": {"namespace": namespace, "name": name},
        "localEndpoints": port.local_ready,
        "serviceProxyHealthy": proxy_healthy,
    }
    fine = port.local_ready > 0 and proxy_healthy
    return Response(msgspec.json.encode(body), 200 if fine else 503, JSON, {WEIGHT_HEADER: str(port.local_ready)})


class HealthPorts:
    """Listens where it should. ``failed`` is told once about each port that somebody else holds."""

    def __init__(
        self, proxy_healthy: Callable[[], bool], *, clock: Clock, failed: Callable[[HealthPort, str], None]
    ) -> None:
        self._proxy_healthy = proxy_healthy
        self._clock = clock
        self._failed = failed
        self._wanted: dict[str, HealthPort] = {}
        self._addresses: tuple[str, ...] = ()
        self._servers: dict[tuple[str, str, int], Server] = {}  # by Service, address, port
        self._reported: set[tuple[str, str, int]] = set()
        self._retry_at: float | None = None
        self._changed = asyncio.Event()

    @property
    def listening(self) -> frozenset[str]:
        """Where it listens now, as ``address:port``."""
        return frozenset(join_port(address, port) for _, address, port in self._servers)

    def update(self, ports: Mapping[str, HealthPort | None]) -> None:
        """Take news of some Services; None: it has no such port (any more). New counts are answered at once."""
        for service, port in ports.items():
            if port is None:
                self._wanted.pop(service, None)
            else:
                self._wanted[service] = port
        self._changed.set()

    def listen_on(self, addresses: Iterable[str]) -> None:
        """Listen on these addresses from now on; ``0.0.0.0`` and ``::`` stand for all of their family."""
        self._addresses = tuple(sorted(set(addresses)))
        self._changed.set()

    async def run(self) -> None:
        """Open and close listeners as news come, until cancelled."""
        try:
            while True:
                pause = None if self._retry_at is None else max(0.0, self._retry_at - self._clock.monotonic())
                try:
                    async with asyncio.timeout(pause):
                        await self._changed.wait()
                except TimeoutError:
                    pass
                self._changed.clear()
                await self.settle()
        finally:
            await asyncio.gather(*(server.close() for server in self._servers.values()))
            self._servers.clear()

    async def settle(self) -> None:
        """Bring the listeners to what is wanted. What cannot be bound is tried again later."""
        wanted = {(port.service, address, port.port) for port in self._wanted.values() for address in self._addresses}
        for gone in self._servers.keys() - wanted:  # first, for a port may pass from one Service to another
            await self._servers.pop(gone).close()
        self._reported &= wanted
        self._retry_at = None
        for place in sorted(wanted - self._servers.keys()):
            await self._open(place)

    async def _open(self, place: tuple[str, str, int]) -> None:
        service, address, port = place
        server = Server(lambda request: self._answer(service, request))
        try:
            await server.listen(address, port)
        except OSError as error:
            self._retry_at = self._clock.monotonic() + RETRY
            if place not in self._reported:
                self._reported.add(place)
                words = (
                    f"health-check node port {join_port(address, port)} of Service {service} cannot be opened: "
                    f"{error.strerror}; free the port, it is tried again every {RETRY:.0f} s"
                )
                self._failed(self._wanted[service], words)
            return
        self._reported.discard(place)
        self._servers[place] = server

    def _answer(self, service: str, _: Request) -> Response:
        port = self._wanted.get(service)
        if port is None:  # closed in this very moment
            return Response(b"", 503, JSON)
        return answer(port, proxy_healthy=self._proxy_healthy())

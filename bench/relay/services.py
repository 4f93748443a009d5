# SPDX-License-Identifier: Apache-2.0
"""What is relayed, and at which address each relay offers it.

Every relay has an address of its own and offers every service at the service's own port, so a load is told an address and
nothing else; the direct path is the first backend's address.
"""

from typing import Final, NamedTuple

from kproxy.table.terms import Protocol

BACKENDS: Final = ("10.99.2.1", "10.99.2.2")
DIRECT: Final = BACKENDS[0]


class Service(NamedTuple):
    """A service, the port it has everywhere, and the backends that answer it."""

    name: str
    protocol: Protocol
    port: int
    backends: tuple[str, ...] = BACKENDS

    def endpoints(self) -> list[str]:
        """Return its endpoints as ``address:port``."""
        return [f"{address}:{self.port}" for address in self.backends]


BULK: Final = Service("bulk", Protocol.TCP, 5201, BACKENDS[:1])  # iperf3: control and data must meet the same server
WEB: Final = Service("web", Protocol.TCP, 8080)
MESSAGES: Final = Service("messages", Protocol.TCP, 7100)
IDLE: Final = Service("idle", Protocol.TCP, 7200)
DATAGRAMS: Final = Service("datagrams", Protocol.UDP, 7001)
SERVICES: Final = (BULK, WEB, MESSAGES, IDLE, DATAGRAMS)


class Place(NamedTuple):
    """Where a relay listens for a service: on its own address, or wherever the interception brings the packets."""

    service: Service
    address: str
    port: int
    transparent: bool = False


def bound(address: str) -> list[Place]:
    """Return the places of a relay that is bound to its address."""
    return [Place(service, address, service.port) for service in SERVICES]


def intercepted(first_port: int) -> list[Place]:
    """Return the places of a relay that packets for any address reach by interception."""
    return [Place(service, "0.0.0.0", first_port + number, transparent=True) for number, service in enumerate(SERVICES)]

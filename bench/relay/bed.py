# SPDX-License-Identifier: Apache-2.0
"""Client, proxy and backend in a row: three namespaces joined by veth, with the same hops for every relay and for none."""

from collections.abc import Iterable
from typing import Final

from bench.relay.services import BACKENDS
from kproxy.lab.host import Host, join

_SETTINGS: Final = (
    "net/ipv4/tcp_congestion_control=reno",  # kernels that default to BBR distort every ratio
    "net/ipv4/ip_local_port_range=1024 65535",
    "net/ipv4/tcp_tw_reuse=1",
    "net/core/somaxconn=65535",
    "net/ipv4/tcp_max_syn_backlog=65535",
)


class Bed:
    """The three hosts. Nothing in the proxy tracks connections unless rules that want it are loaded."""

    def __init__(self) -> None:
        self.client, self.proxy, self.backend = Host("client"), Host("proxy"), Host("backend")
        join(self.client, "eth0", self.proxy, "c0")
        join(self.backend, "eth0", self.proxy, "b0")
        self.client.ip("addr add 10.99.1.1/24 dev eth0", "route add default via 10.99.1.254")
        self.proxy.ip("addr add 10.99.1.254/24 dev c0", "addr add 10.99.2.254/24 dev b0")
        self.backend.ip(*(f"addr add {address}/24 dev eth0" for address in BACKENDS), "route add default via 10.99.2.254")
        for host in (self.client, self.proxy, self.backend):
            for setting in _SETTINGS:
                host.sysctl(setting)

    def own(self, addresses: Iterable[str]) -> None:
        """Make addresses the proxy's own, so that relays can be bound to them."""
        self.proxy.ip(*(f"addr add {address}/32 dev lo" for address in addresses))

    def close(self) -> None:
        """Let go of the namespaces."""
        for host in (self.client, self.proxy, self.backend):
            host.close()

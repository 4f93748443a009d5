# SPDX-License-Identifier: Apache-2.0
"""The lab's network: nodes on one bridge, Pods behind their nodes, a client outside.

::

    pod ── node-1 ─┐
    pod ── node-2 ─┼── fabric (bridge) ── outside
    pod ── node-3 ─┘        └ the API server listens here

Every node knows the way to the Pods of the others (what a CNI plugin would do). The client outside sends what it wants of
LoadBalancer and external addresses to the first nodes, as a router in front of a cluster would.
"""

import ipaddress
from typing import Final

from kproxy.lab.host import Host, join

FABRIC4: Final = "192.0.2"  # TEST-NET-1
FABRIC6: Final = "fd00:c0::"
PODS4: Final = "10.244.0.0/16"
PODS6: Final = "fd00:244::/32"
SERVICES4: Final = "10.96.0.0/16"
SERVICES6: Final = "fd00:96::/112"
BALANCERS4: Final = "203.0.113.0/24"  # TEST-NET-3
BALANCERS6: Final = "fd00:113::/64"
API_SERVER: Final = f"{FABRIC4}.254"
_ROUTER4: Final = "169.254.1.1"  # what Pods have as gateway; bound on every node's side of a Pod's link
_ROUTER6: Final = "fe80::1"


class Node:
    """A node: its host, addresses and the range its Pods live in."""

    def __init__(self, number: int) -> None:
        self.name = f"node-{number}"
        self.host = Host(self.name)
        self.addresses = (f"{FABRIC4}.{number}", f"{FABRIC6}{number}")
        self.pods = (f"10.244.{number}.0/24", f"fd00:244:{number}::/64")
        self.zone = f"zone-{'abc'[(number - 1) % 3]}"
        self._next = 10

    def next_addresses(self) -> tuple[str, str]:
        """Give out the addresses of the next Pod here, never twice."""
        self._next += 1
        four = ipaddress.ip_network(self.pods[0]).network_address + 2 + self._next % 250
        six = ipaddress.ip_network(self.pods[1]).network_address + self._next
        return (str(four), str(six))


class Topology:
    """The whole network. Closing it takes everything away."""

    def __init__(self, nodes: int = 3) -> None:
        self.fabric = Host("fabric")
        self.fabric.ip(
            "link add br0 type bridge",
            "link set br0 up",
            f"addr add {API_SERVER}/24 dev br0",
            f"addr add {FABRIC6}fe/64 dev br0",
        )
        self.outside = Host("outside")
        self._plug(self.outside, "out", (f"{FABRIC4}.100", f"{FABRIC6}64"))
        self.nodes = [Node(number) for number in range(1, nodes + 1)]
        for node in self.nodes:
            self._plug(node.host, f"n{node.name[5:]}", node.addresses)
        for node in self.nodes:
            ways = [
                f"route add {network} via {gateway}"
                for other in self.nodes
                if other is not node
                for network, gateway in zip(other.pods, other.addresses, strict=True)
            ]
            node.host.ip(*ways, f"route add default via {API_SERVER}", f"route add default via {FABRIC6}fe")
        first = self.nodes[0].addresses
        self.outside.ip(f"route add {BALANCERS4} via {first[0]}", f"route add {BALANCERS6} via {first[1]}")

    def _plug(self, host: Host, port: str, addresses: tuple[str, str]) -> None:
        join(self.fabric, port, host, "eth0")
        self.fabric.ip(f"link set {port} master br0")
        host.ip(f"addr add {addresses[0]}/24 dev eth0", f"addr add {addresses[1]}/64 dev eth0 nodad")

    def steer(self, address: str, node: Node) -> None:
        """Have the client outside send one address to that node."""
        self.outside.ip(f"route replace {address} via {node.addresses[':' in address]}")

    def close(self) -> None:
        """Let go of every namespace."""
        for host in (self.outside, *(node.host for node in self.nodes), self.fabric):
            host.close()


def plug_pod(node: Node, host: Host, addresses: tuple[str, str]) -> str:
    """Join a Pod to its node, point to point, and return the name of the node's end."""
    link = f"pod{int(ipaddress.ip_address(addresses[1])) & 0xFFFF}"
    join(node.host, link, host, "eth0")
    node.host.ip(
        f"addr add {_ROUTER4}/32 dev {link}",
        f"addr add {_ROUTER6}/64 dev {link} nodad",
        f"route add {addresses[0]}/32 dev {link} src {node.addresses[0]}",
        f"route add {addresses[1]}/128 dev {link} src {node.addresses[1]}",
    )
    host.ip(
        f"addr add {addresses[0]}/32 dev eth0",
        f"addr add {addresses[1]}/128 dev eth0 nodad",
        f"route add {_ROUTER4} dev eth0",
        f"route add default via {_ROUTER4} src {addresses[0]}",
        f"route add default via {_ROUTER6} dev eth0 src {addresses[1]}",
    )
    return link

# SPDX-License-Identifier: Apache-2.0
"""ClusterIPs and node ports: who holds which, and which is free next.

Refusals follow kubernetes ``pkg/registry/core/service``: ``storage/alloc.go``, ``ipallocator`` and ``portallocator``.
What the server picks itself comes from the upper band (KEP-3070), so that small numbers stay for those who ask for them; it
picks in order, not by chance: two runs of a lab give the same addresses.
"""

import ipaddress
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from kproxy.lab.apiserver.status import Cause, internal, invalid_value

NODE_PORTS: Final = range(30_000, 32_768)
STATIC_PORTS: Final = 86  # the lower band: min(max(16, size/32), 128)
HEALTH: Final = "healthCheckNodePort"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Allocator:
    """What Services hold of the cluster's addresses and ports. ``owners`` are keys of Services."""

    def __init__(self) -> None:
        self._ranges: dict[str, tuple[Network, ...]] = {}
        self._next: dict[str, Iterator[str]] = {}
        self._addresses: dict[str, str] = {}
        self._ports: dict[int, str] = {}
        self._held: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {}

    def adopt(self, name: str, cidrs: Sequence[str]) -> None:
        """Take addresses from a ServiceCIDR as well."""
        self._ranges[name] = tuple(ipaddress.ip_network(cidr) for cidr in cidrs)
        self._next.clear()

    def abandon(self, name: str) -> None:
        """Take no more addresses from a ServiceCIDR."""
        self._ranges.pop(name, None)
        self._next.clear()

    @property
    def families(self) -> tuple[str, ...]:
        """Return the cluster's families, the default one first."""
        found = (f"IPv{network.version}" for networks in self._ranges.values() for network in networks)
        return tuple(dict.fromkeys(found))

    def _networks(self, family: str) -> list[Network]:
        return [network for networks in self._ranges.values() for network in networks if f"IPv{network.version}" == family]

    @staticmethod
    def family(address: object) -> str:
        """Return the family an address reads as."""
        return "IPv6" if ":" in str(address) else "IPv4"

    def refusals(self, owner: str, spec: Mapping[str, Any]) -> list[Cause]:
        """Tell which addresses and ports asked for cannot be had."""
        causes: list[Cause] = []
        headless = spec.get("clusterIP") == "None"
        if spec.get("ipFamilyPolicy") == "RequireDualStack" and len(self.families) < 2 and not headless:
            words = "this cluster is not configured for dual-stack services"
            causes.append(invalid_value("spec.ipFamilyPolicy", "RequireDualStack", words))
        for index, family in enumerate(spec.get("ipFamilies") or ()):
            if family not in self.families and not headless:
                causes.append(invalid_value(f"spec.ipFamilies[{index}]", family, "not configured on this cluster"))
        for address in spec.get("clusterIPs") or ():
            if why := self._refused_address(owner, address):
                words = f"failed to allocate IP {address}: {why}"
                causes.append(invalid_value("spec.clusterIPs", spec["clusterIPs"], words))
        for field, port in _ports(spec):
            if self._ports.get(port, owner) != owner:
                causes.append(invalid_value(field, port, "provided port is already allocated"))
            elif port not in NODE_PORTS:
                span = f"{NODE_PORTS.start}-{NODE_PORTS.stop - 1}"
                causes.append(
                    invalid_value(
                        field, port, f"provided port is not in the valid range. The range of valid ports is {span}"
                    )
                )
        return causes

    def _refused_address(self, owner: str, address: object) -> str:
        if address in ("None", ""):
            return ""
        try:
            parsed = ipaddress.ip_address(str(address))
        except ValueError:
            return ""  # malformed: validation tells
        if not any(parsed in network for network in self._networks(self.family(address))):
            return "the provided network does not match the current range"
        return "provided IP is already allocated" if self._addresses.get(str(address), owner) != owner else ""

    def complete(self, owner: str, spec: dict[str, Any]) -> None:
        """Fill in the addresses and ports a Service was not given, then hold all of them for it."""
        self.release(owner)
        if spec.get("type") != "ExternalName" and spec.get("clusterIP") != "None":
            self._complete_addresses(spec)
        if spec.get("type") == "NodePort" or (
            spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True)
        ):
            self._complete_ports(spec)
        if spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local" and not spec.get(HEALTH):
            spec[HEALTH] = self._free_port({port for _, port in _ports(spec)})
        self.hold(owner, spec)

    def hold(self, owner: str, spec: Mapping[str, Any]) -> None:
        """Take note of what a Service has, as far as nobody else has it."""
        self.release(owner)
        addresses = tuple(str(address) for address in spec.get("clusterIPs") or () if address not in ("None", ""))
        ports = tuple(port for _, port in _ports(spec))
        for address in addresses:
            self._addresses.setdefault(address, owner)
        for port in ports:
            self._ports.setdefault(port, owner)
        self._held[owner] = (addresses, ports)

    def release(self, owner: str) -> None:
        """Forget what a Service held."""
        addresses, ports = self._held.pop(owner, ((), ()))
        for address in addresses:
            if self._addresses.get(address) == owner:
                del self._addresses[address]
        for port in ports:
            if self._ports.get(port) == owner:
                del self._ports[port]

    def _complete_addresses(self, spec: dict[str, Any]) -> None:
        given = [address for address in spec.get("clusterIPs") or () if address]
        families = [self.family(address) for address in given]
        missing = [family for family in spec.get("ipFamilies") or () if family not in families and family in self.families]
        given.extend(self._free_address(family) for family in missing)
        if given:
            spec["clusterIP"], spec["clusterIPs"] = given[0], given

    def _complete_ports(self, spec: dict[str, Any]) -> None:
        taken: set[int] = {port for _, port in _ports(spec)}
        shared: dict[int, int] = {}  # one number for all protocols of a port, as upstream does it
        for port in spec.get("ports") or ():
            if isinstance(port, dict) and not port.get("nodePort"):
                number = port.get("port")
                if number not in shared:
                    shared[number] = self._free_port(taken)  # type: ignore[index]  # checked by validation
                    taken.add(shared[number])  # type: ignore[index]
                port["nodePort"] = shared[number]  # type: ignore[index]

    def _free_address(self, family: str) -> str:
        for _ in range(2):
            candidates = self._next.get(family) or self._next.setdefault(family, self._candidates(family))
            for address in candidates:
                if address not in self._addresses:
                    return address
            del self._next[family]  # the end is reached: once more from the start, for what was freed since
        raise internal(f"failed to allocate a serviceIP: range is full: give the server another {family} ServiceCIDR")

    def _candidates(self, family: str) -> Iterator[str]:
        for network in self._networks(family):
            reserved = min(max(16, network.num_addresses // 16), 256)
            first = reserved if network.num_addresses > 2 * reserved else 1
            yield from (str(network[index]) for index in range(first, min(network.num_addresses - 1, 1 << 20)))

    def _free_port(self, taken: set[int]) -> int:
        for port in itertools.chain(NODE_PORTS[STATIC_PORTS:], NODE_PORTS[:STATIC_PORTS]):
            if port not in self._ports and port not in taken:
                return port
        raise internal("failed to allocate a nodePort: range is full: delete a Service")


def _ports(spec: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    ports = spec.get("ports")
    for index, port in enumerate(ports if isinstance(ports, list) else ()):
        number = port.get("nodePort") if isinstance(port, dict) else None
        if isinstance(number, int) and number:
            yield f"spec.ports[{index}].nodePort", number
    health = spec.get(HEALTH)
    if isinstance(health, int) and health:
        yield f"spec.{HEALTH}", health

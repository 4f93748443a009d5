# SPDX-License-Identifier: Apache-2.0
"""kube-proxy's leftovers of IPVS mode: virtual servers, the device that carries their addresses, and ipsets.

Only what is recognisably its own: a virtual server on an address of ``kube-ipvs0``, or on a NodePort that one of its sets
names. Upstream's own clean-up flushes *all* virtual servers of the host and leaves the IPv6 sets; this does neither.
"""

import json
import re
import socket
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import msgspec

from kproxy.dataplanes.upstream.names import DEVICE, NODE_PORT_SETS, SETS
from kproxy.kernel.command import installed, run
from kproxy.table.addresses import join_port, parse_address

_IN_KERNEL: Final = Path("/proc/thread-self/net/ip_vs")
_SERVER: Final = re.compile(r"-A (?P<protocol>-t|-u|--sctp-service) (?P<address>\[[^\]]+\]|[^:\s]+):(?P<port>\d+)")


class VirtualServer(msgspec.Struct, frozen=True):
    """A virtual server as ``ipvsadm`` writes it: ``-t``, ``-u`` or ``--sctp-service``, canonical address, port."""

    protocol: str
    address: str
    port: int

    def __str__(self) -> str:
        """Return its arguments to ``ipvsadm``."""
        return f"{self.protocol} {join_port(self.address, self.port)}"


def parse_servers(text: str) -> list[VirtualServer]:
    """Read virtual servers from ``ipvsadm-save -n``; those by firewall mark, which kube-proxy never makes, are left out."""
    return [
        VirtualServer(match["protocol"], str(parse_address(match["address"].strip("[]"))), int(match["port"]))
        for match in map(_SERVER.match, text.splitlines())
        if match
    ]


def parse_members(text: str) -> set[int]:
    """Read the ports from ``ipset list NAME -output save``."""
    return {int(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith("add ")}


def own_servers(
    servers: Collection[VirtualServer], addresses: Collection[str], node_ports: Mapping[str, Collection[int]]
) -> list[VirtualServer]:
    """Return kube-proxy's own. ``addresses``: of its device; ``node_ports``: by protocol argument, from its sets."""
    return [
        server for server in servers if server.address in addresses or server.port in node_ports.get(server.protocol, ())
    ]


def has_device() -> bool:
    """Tell whether kube-ipvs0 exists in this network namespace."""
    try:
        socket.if_nametoindex(DEVICE)
    except OSError:
        return False
    return True


def device_addresses() -> set[str]:
    """Return the addresses bound to kube-ipvs0, canonical; none without the device. Raises KernelError."""
    if not has_device():
        return set()
    links = json.loads(run(["ip", "-json", "address", "show", "dev", DEVICE]) or "[]")
    return {str(parse_address(item["local"])) for link in links for item in link.get("addr_info", ()) if "local" in item}


def sets() -> list[str]:
    """Return the names of kube-proxy's ipsets that exist. Raises KernelError."""
    return [name for name in run(["ipset", "list", "-name"]).split() if name in SETS] if installed("ipset") else []


def servers(existing_sets: Collection[str]) -> list[VirtualServer]:
    """Return kube-proxy's virtual servers. Raises KernelError."""
    if not _IN_KERNEL.exists():
        return []  # this kernel has no IPVS, or never used it
    node_ports: dict[str, set[int]] = {}
    for protocol, names in NODE_PORT_SETS.items():
        for name in set(names) & set(existing_sets):
            node_ports.setdefault(protocol, set()).update(parse_members(run(["ipset", "list", name, "-output", "save"])))
    return own_servers(parse_servers(run(["ipvsadm-save", "-n"])), device_addresses(), node_ports)


def delete_servers(own: Collection[VirtualServer]) -> None:
    """Delete virtual servers, in one run of the tool. Raises KernelError."""
    run(["ipvsadm", "--restore"], "".join(f"-D {server}\n" for server in own))


def delete_device() -> None:
    """Delete kube-ipvs0 with all its addresses. Raises KernelError."""
    run(["ip", "link", "delete", "dev", DEVICE])


def delete_set(name: str) -> None:
    """Destroy one ipset. Raises KernelError while a rule still uses it."""
    run(["ipset", "destroy", name])

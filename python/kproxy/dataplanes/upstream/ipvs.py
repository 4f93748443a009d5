# SPDX-License-Identifier: Apache-2.0
"""kube-proxy's leftovers of IPVS mode: virtual servers, the device that carries their addresses, and ipsets.

Only what is recognisably its own: a virtual server on an address of ``kube-ipvs0``, or on a NodePort that one of its sets
names. Upstream's own clean-up flushes *all* virtual servers of the host and leaves the IPv6 sets; this does neither. A
virtual server that kproxy's mode ipvs has taken over stands in its table, and is not kube-proxy's any more.
"""

import errno
import json
import socket
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

from kproxy._core import NetlinkError, NftSocket
from kproxy.dataplanes.ipvs.layout import SERVERS, TABLE
from kproxy.dataplanes.ipvs.parting import is_here, parting
from kproxy.dataplanes.upstream.names import DEVICE, NODE_PORT_SETS, SETS
from kproxy.kernel.command import installed, run
from kproxy.kernel.conntrack import Conntrack
from kproxy.kernel.ipvs import Ipvs
from kproxy.kernel.ipvs_values import Held, Operation, ServerKey
from kproxy.kernel.nfnl import NUMBERS, NetlinkRefused, refused
from kproxy.kernel.nft_elements import Codec
from kproxy.table.addresses import parse_address
from kproxy.table.terms import Family, Protocol

_IN_KERNEL: Final = Path("/proc/thread-self/net/ip_vs")


def parse_members(text: str) -> set[int]:
    """Read the ports from ``ipset list NAME -output save``."""
    return {int(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith("add ")}


def own_servers(
    servers: Iterable[ServerKey],
    addresses: Collection[str],
    node_ports: Mapping[Protocol, Collection[int]],
    taken: Collection[ServerKey] = (),
) -> list[ServerKey]:
    """Return kube-proxy's own. It makes none by mark.

    ``addresses``: of its device; ``node_ports``: from its sets; ``taken``: those that are ours now.
    """
    return [
        server
        for server in servers
        if server not in taken
        and server.protocol
        and (server.address in addresses or server.port in node_ports.get(server.protocol, ()))
    ]


def taken_servers() -> set[ServerKey]:
    """Return the virtual servers that our mode ipvs has written down as its own. Raises KernelError."""
    found = set()
    door = NftSocket()
    for family, number in NUMBERS.items():
        try:
            dumped = door.dump(number, TABLE, SERVERS) if door.has_table(number, TABLE) else []
        except NetlinkError as error:
            raise refused(error) from error
        codec = Codec(family)
        found |= {ServerKey.at(*codec.place(key)) for key, *_ in dumped}
    return found


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


def servers(existing_sets: Collection[str]) -> list[ServerKey]:
    """Return kube-proxy's virtual servers. Raises KernelError."""
    if not _IN_KERNEL.exists():
        return []  # this kernel has no IPVS, or never used it
    node_ports: dict[Protocol, set[int]] = {}
    for protocol, names in NODE_PORT_SETS.items():
        for name in set(names) & set(existing_sets):
            node_ports.setdefault(protocol, set()).update(parse_members(run(["ipset", "list", name, "-output", "save"])))
    return own_servers(Ipvs().servers(), device_addresses(), node_ports, taken_servers())


def held(existing_sets: Collection[str]) -> Mapping[ServerKey, Held]:
    """Return kube-proxy's virtual servers with what they hold. Raises KernelError."""
    own = servers(existing_sets)
    found = Ipvs().dump() if own else {}
    return {key: found[key] for key in own if key in found}


def established(server: Held) -> int:
    """Return how many established connections a virtual server would take with it."""
    return sum(real.active for real in server.reals if not is_here(real))


def lead_on(held: Mapping[ServerKey, Held]) -> None:
    """Have virtual servers lead what is new on to this node. Raises KernelError."""
    _apply(parting(held))


def delete_servers(own: Iterable[ServerKey]) -> None:
    """Delete virtual servers. Raises KernelError."""
    _apply(map(Operation.delete_server, own))


def _apply(operations: Iterable[Operation]) -> None:
    """Change servers; one that has gone meanwhile is no error."""
    for failure in Ipvs().apply(list(operations)):
        if not (isinstance(failure.error, NetlinkRefused) and failure.error.errno == errno.ESRCH):
            raise failure.error


def forget_flows(own: Iterable[ServerKey]) -> None:
    """Delete what conntrack remembers of these servers' flows. Raises KernelError.

    Nobody forwards them any more, and the kernel asks no rule about a flow it knows: a client that goes on with the same
    port, as UDP clients do for hours, would never reach the rules that serve it now.
    """
    conntrack = Conntrack()
    places: dict[tuple[Family, Protocol], dict[tuple[str, int], frozenset[str]]] = {}
    for key in own:
        if key.protocol is not None:
            places.setdefault((key.family, key.protocol), {})[key.address, key.port] = frozenset()
    for (family, protocol), serving in places.items():
        conntrack.delete_stale(family, serving, protocol=protocol)


def delete_device() -> None:
    """Delete kube-ipvs0 with all its addresses. Raises KernelError."""
    run(["ip", "link", "delete", "dev", DEVICE])


def delete_set(name: str) -> None:
    """Destroy one ipset. Raises KernelError while a rule still uses it."""
    run(["ipset", "destroy", name])

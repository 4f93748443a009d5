# SPDX-License-Identifier: Apache-2.0
"""``loadBalancerSourceRanges``: who may dial a load balancer's address.

One difference from kube-proxy: a Service with ranges of one family only is closed to everybody in the other, because a
filter that somebody asked for must not have a hole.
"""

import ipaddress
from collections.abc import Iterable

from kproxy.table.addresses import Network, contains, parse_network
from kproxy.table.frontend import Sources
from kproxy.table.terms import Family


def allowed_sources(entries: Iterable[str] | None, family: Family, complaints: list[str]) -> Sources | None:
    """Read the ranges of one family as disjoint sorted prefixes. None: no filter was asked for."""
    written = [entry.strip() for entry in entries or () if entry.strip()]
    if not written:
        return None
    networks: list[Network] = []
    for entry in written:
        try:
            networks.append(parse_network(entry))
        except ValueError:
            complaints.append(f"loadBalancerSourceRanges {entry!r} lets nobody in: it must be a prefix such as 10.0.0.0/8")
    if family is Family.IPV4:
        merged = [str(one) for one in ipaddress.collapse_addresses(n for n in networks if n.version == 4)]
    else:
        merged = [str(one) for one in ipaddress.collapse_addresses(n for n in networks if n.version == 6)]
    return Sources(tuple(merged))


def with_node(sources: Sources, node_address: str) -> Sources:
    """Let the address itself in where a range holds this node: the kernel picks it as source when it is bound here."""
    return Sources(sources.ranges, itself=bool(node_address) and contains(sources.ranges, node_address))

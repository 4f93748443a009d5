# SPDX-License-Identifier: Apache-2.0
"""This node's addresses and its primary family.

Upstream (``cmd/kube-proxy/app/server.go``): a concrete bind address beats the Node object, which beats loopback as a
placeholder; the first address of the Node settles the primary family unless a concrete bind address does.
"""

from collections.abc import Iterable

import msgspec

from kproxy.config.addresses import address_or_none
from kproxy.objects.node import Node
from kproxy.table.addresses import family_of
from kproxy.table.terms import Family


class NodeIPs(msgspec.Struct, frozen=True):
    """The node's address in each family; loopback stands for one that is not known."""

    primary: Family = Family.IPV4
    ipv4: str = "127.0.0.1"
    ipv6: str = "::1"

    def of(self, family: Family) -> str:
        """Return the address of one family, loopback where none is known."""
        return self.ipv4 if family is Family.IPV4 else self.ipv6

    @property
    def known(self) -> dict[Family, str]:
        """The addresses that are not placeholders."""
        placeholders = {"127.0.0.1", "::1"}
        return {family: self.of(family) for family in Family if self.of(family) not in placeholders}


def node_addresses(node: Node | None) -> tuple[str, ...]:
    """Return the addresses of a Node object, canonical: InternalIPs in order, then ExternalIPs; the rest is left out."""
    reported = (node.status.addresses or ()) if node else ()
    texts = [item.address for kind in ("InternalIP", "ExternalIP") for item in reported if item.type == kind]
    return tuple(str(address) for address in map(address_or_none, texts) if address is not None)


def node_ips(addresses: Iterable[str], bind_address: str) -> NodeIPs:
    """Settle the addresses of both families from those of the Node, in order, and the bind address (may be empty)."""
    chosen: dict[Family, str] = {}
    for address in filter(None, map(address_or_none, addresses)):
        chosen.setdefault(family_of(str(address)), str(address))
    primary = next(iter(chosen), Family.IPV4)
    bind = address_or_none(bind_address)
    if bind is not None and not bind.is_unspecified:
        primary = family_of(str(bind))
        chosen[primary] = str(bind)
    return NodeIPs(primary, chosen.get(Family.IPV4, "127.0.0.1"), chosen.get(Family.IPV6, "::1"))

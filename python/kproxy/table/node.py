# SPDX-License-Identifier: Apache-2.0
"""What the table needs to know of this node."""

import msgspec

from kproxy.table.addresses import contains
from kproxy.table.terms import Action, Family


class PodTest(msgspec.Struct, frozen=True):
    """How a pod on this node is recognised, in one family. Exactly one of the fields is set.

    ``cidr``: by source address. ``interface``: by the interface a packet enters by; ``interface_prefix``: by the beginning
    of its name. Packets of the node itself enter by none.
    """

    cidr: str = ""
    interface: str = ""
    interface_prefix: str = ""

    def matches(self, source: str, interface: str) -> bool:
        """Tell whether a packet from ``source``, entering by ``interface`` (``""``: made here), is from a pod."""
        if self.cidr:
            return contains((self.cidr,), source)
        if self.interface:
            return interface == self.interface
        return bool(interface) and interface.startswith(self.interface_prefix)


class NodePortAddresses(msgspec.Struct, frozen=True):
    """On which of this node's addresses NodePorts are served, in one family.

    ``every``: on all the kernel calls local, now and later (loopback aside). Otherwise on ``addresses``, which are concrete
    and local now. ``loopback``: the route's *loopback* verdicts are in force on the loopback addresses.
    """

    every: bool = False
    addresses: tuple[str, ...] = ()
    loopback: bool = False


class FamilyFacts(msgspec.Struct, frozen=True):
    """The node as one family sees it."""

    pods: PodTest | None = None  # None: no way to tell, so nobody is taken for a pod
    nodeports: NodePortAddresses = NodePortAddresses()
    addresses: tuple[str, ...] = ()  # every address of this node's interfaces, sorted
    service_cidrs: tuple[str, ...] = ()  # canonical, sorted


class NodeFacts(msgspec.Struct, frozen=True):
    """The node under the table: one a table.

    ``wrong_port``: what meets a dial of an active ClusterIP at a port no Service has. ``unallocated``: the same for any
    other address of a ServiceCIDR.
    """

    name: str = ""
    ipv4: FamilyFacts = FamilyFacts()
    ipv6: FamilyFacts = FamilyFacts()
    wrong_port: Action = Action.REJECT
    unallocated: Action = Action.DROP

    def of(self, family: Family) -> FamilyFacts:
        """Return the facts of one family."""
        return self.ipv4 if family is Family.IPV4 else self.ipv6

# SPDX-License-Identifier: Apache-2.0
"""This node: from settings, Node object, interface addresses and ServiceCIDRs to what routing and the table need of it.

What resolving a Service reads (``NodeView`` without its ``facts``) is kept apart from what only the table carries, so that a
new interface address or ServiceCIDR costs no resolving at all.
"""

from collections.abc import Iterable, Sequence

import msgspec

from kproxy.config.local_detection import pod_cidrs, pod_tests
from kproxy.config.node_ips import node_addresses, node_ips
from kproxy.config.node_ports import NodePortRanges, node_port_ranges
from kproxy.objects.events import HostAddress
from kproxy.objects.node import ZONE_LABEL, Node
from kproxy.routing.settings import Settings
from kproxy.table.addresses import contains, family_of, is_loopback, parse_network
from kproxy.table.node import FamilyFacts, NodeFacts, NodePortAddresses
from kproxy.table.terms import Action, Family, Method, Mode


class FamilyView(msgspec.Struct, frozen=True):
    """What resolving reads of the node in one family.

    ``address`` is the node's own, empty while unknown. ``detects_pods``: there is a test for pods on this node.
    ``loopback``: NodePorts answer on the loopback addresses.
    """

    address: str = ""
    detects_pods: bool = False
    loopback: bool = False


class NodeView(msgspec.Struct, frozen=True):
    """The node as resolving sees it. ``facts`` goes into the table and decides nothing here."""

    name: str = ""
    zone: str = ""
    ipv4: FamilyView = FamilyView()
    ipv6: FamilyView = FamilyView()
    masquerade_all: bool = False
    external_ips: bool = True
    method: Method = Method.RANDOM
    facts: NodeFacts = NodeFacts()

    def of(self, family: Family) -> FamilyView:
        """Return the view of one family."""
        return self.ipv4 if family is Family.IPV4 else self.ipv6

    def decides_like(self, other: "NodeView") -> bool:
        """Tell whether every Service resolves the same under both views."""
        return msgspec.structs.replace(self, facts=other.facts) == other


def node_view(
    settings: Settings,
    node: Node | None = None,
    addresses: Sequence[HostAddress] = (),
    service_cidrs: Iterable[str] = (),
) -> NodeView:
    """Work out the view. ``node`` is None while there is no Node object; ``addresses`` are all the interfaces carry."""
    own = {family: _of_family((item.address for item in addresses), family) for family in Family}
    known = node_ips(node_addresses(node), settings.bind_address).known
    tests = pod_tests(
        settings.detect_local_mode,
        cluster_cidrs=settings.cluster_cidrs,
        node_pod_cidrs=pod_cidrs(node),
        bridge_interface=settings.bridge_interface,
        interface_name_prefix=settings.interface_name_prefix,
    )
    ranges = node_port_ranges(_node_port_addresses(settings), known)
    ports = {family: _node_ports(settings, family, ranges[family], own[family]) for family in Family}
    cidrs = sorted({str(network) for network in map(_network, service_cidrs) if network})
    facts = {family: FamilyFacts(tests[family], ports[family], own[family], _of_family(cidrs, family)) for family in Family}
    views = {
        family: FamilyView(known.get(family, ""), tests[family] is not None, ports[family].loopback) for family in Family
    }
    untouched = settings.mode is Mode.IPTABLES  # kube-proxy's iptables mode lets both through; the field expects it
    return NodeView(
        name=settings.node,
        zone=(node.metadata.label(ZONE_LABEL) or "") if node else "",
        ipv4=views[Family.IPV4],
        ipv6=views[Family.IPV6],
        masquerade_all=settings.masquerade_all,
        external_ips=settings.external_ips,
        method=_method(settings),
        facts=NodeFacts(
            name=settings.node,
            ipv4=facts[Family.IPV4],
            ipv6=facts[Family.IPV6],
            wrong_port=Action.PASS if untouched else Action.REJECT,
            unallocated=Action.PASS if untouched else Action.DROP,
        ),
    )


def _method(settings: Settings) -> Method:
    """Return how endpoints are chosen where a Service does not say."""
    if settings.mode is Mode.IPVS:
        return Method(settings.ipvs.scheduler or Method.RR)
    return Method.RR if settings.mode is Mode.USERSPACE else Method.RANDOM


def _node_port_addresses(settings: Settings) -> tuple[str, ...]:
    if settings.node_port_addresses or settings.mode not in (Mode.NFTABLES, Mode.USERSPACE):
        return settings.node_port_addresses
    return ("primary",)


def _node_ports(settings: Settings, family: Family, ranges: NodePortRanges, own: Sequence[str]) -> NodePortAddresses:
    """Loopback is never among the addresses; it has verdicts of its own where it is served.

    In iptables mode that is IPv4's, unless the configuration rules it out; elsewhere both families', if it asks for them.
    """
    if settings.mode is Mode.IPTABLES:
        covered = family is Family.IPV4 and ranges.covers_ipv4_loopback
    else:
        covered = ranges.names_loopback(family)
    loopback = settings.localhost_node_ports and covered
    if ranges.every:
        return NodePortAddresses(every=True, loopback=loopback)
    return NodePortAddresses(
        addresses=tuple(address for address in own if not is_loopback(address) and contains(ranges.prefixes, address)),
        loopback=loopback,
    )


def _of_family(texts: Iterable[str], family: Family) -> tuple[str, ...]:
    return tuple(sorted({text for text in texts if family_of(text) is family}))


def _network(text: str) -> object:
    try:
        return parse_network(text.strip())
    except ValueError:
        return None

# SPDX-License-Identifier: Apache-2.0
"""The operator's wishes, as far as they decide what a packet meets."""

import enum

import msgspec

from kproxy.table.terms import Mode


class DetectLocal(enum.StrEnum):
    """How a pod on this node is told from everybody else; the configuration's own words."""

    CLUSTER_CIDR = "ClusterCIDR"
    NODE_CIDR = "NodeCIDR"
    BRIDGE_INTERFACE = "BridgeInterface"
    INTERFACE_NAME_PREFIX = "InterfaceNamePrefix"


class Settings(msgspec.Struct, frozen=True):
    """What routing needs of the configuration. The daemon fills it; nothing here is checked again.

    ``node`` is this node's name as EndpointSlices write it. ``node_port_addresses`` are CIDRs and the keywords ``primary``,
    ``localhost`` and ``all``; none of them means the mode's default. ``bind_address`` replaces the Node object's address in
    its own family unless it is empty or a wildcard.
    """

    node: str = ""
    mode: Mode = Mode.NFTABLES
    detect_local: DetectLocal = DetectLocal.CLUSTER_CIDR
    cluster_cidrs: tuple[str, ...] = ()
    bridge_interface: str = ""
    interface_name_prefix: str = ""
    node_port_addresses: tuple[str, ...] = ()
    masquerade_all: bool = False
    localhost_node_ports: bool = True
    bind_address: str = ""

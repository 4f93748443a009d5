# SPDX-License-Identifier: Apache-2.0
"""What is in force once the mode is known.

The file keeps several values once per mode, and upstream's conversion (``v1alpha1/conversion.go``) picks: periods come
from the section of the mode in force; ``masqueradeAll`` from ``nftables`` in nftables mode, else from ``iptables``; the
masquerade bit likewise. Everything beyond loading reads these settings and never the sections.
"""

from typing import Final

import msgspec

from kproxy.config import feature_gates, paths
from kproxy.config.durations import Duration
from kproxy.config.schema import IPVS, KubeProxyConfiguration, Relay
from kproxy.table.terms import Mode

DETECT_LOCAL_MODES: Final = ("ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix")


def section_of(mode: str) -> str:
    """Name the section whose periods count in a mode. Every mode without one of its own reads ``iptables``."""
    return mode if mode in {Mode.NFTABLES, Mode.IPVS} else "iptables"


class Effective(msgspec.Struct, frozen=True, kw_only=True):
    """One node's settings, free of sections and of defaults.

    ``cluster_cidrs``, ``node_port_addresses``, ``detect_local_mode`` and the two names are as configured: what they come
    to on this node is for ``node_ports`` and ``local_detection``. ``localhost_node_ports``: NodePorts may answer
    on loopback addresses, as far as ``node_port_addresses`` covers them. ``ipvs`` and ``relay`` are those sections;
    their modes alone read them.
    """

    mode: Mode
    sync_period: Duration = Duration.of(30)
    min_sync_period: Duration = Duration.of(1)
    masquerade_all: bool = False
    masquerade_bit: int = 14
    detect_local_mode: str = "ClusterCIDR"
    cluster_cidrs: tuple[str, ...] = ()
    bridge_interface: str = ""
    interface_name_prefix: str = ""
    node_port_addresses: tuple[str, ...] = ()
    localhost_node_ports: bool = False
    bind_address: str = "0.0.0.0"
    external_ips: bool = True  # gate AllowServiceExternalIPs
    count_bytes: bool = False
    ipvs: IPVS = IPVS()
    relay: Relay = Relay()


def effective(config: KubeProxyConfiguration) -> Effective:
    """Work out what is in force in a configuration that ``for_platform`` has completed."""
    mode = Mode(config.mode)
    section = section_of(mode)
    masquerade = config.nftables if mode is Mode.NFTABLES else config.iptables
    return Effective(
        mode=mode,
        sync_period=paths.get(config, f"{section}.syncPeriod"),
        min_sync_period=paths.get(config, f"{section}.minSyncPeriod"),
        masquerade_all=masquerade.masquerade_all,
        masquerade_bit=14 if masquerade.masquerade_bit is None else masquerade.masquerade_bit,
        detect_local_mode=config.detect_local_mode or "ClusterCIDR",
        cluster_cidrs=config.cluster_cidrs,
        bridge_interface=config.detect_local.bridge_interface,
        interface_name_prefix=config.detect_local.interface_name_prefix,
        node_port_addresses=config.node_port_addresses,
        localhost_node_ports=config.iptables.localhost_node_ports is not False,
        bind_address=config.bind_address,
        external_ips=feature_gates.enabled(config.feature_gates, "AllowServiceExternalIPs"),
        count_bytes=config.kproxy.count_bytes,
        ipvs=config.ipvs,
        relay=config.kproxy.relay,
    )

# SPDX-License-Identifier: Apache-2.0
"""What is in force where the file says nothing.

Two steps, as upstream: ``with_defaults`` fills what does not depend on the machine (``v1alpha1/defaults.go``),
``for_platform`` fills the rest once it is known whether this kernel can do nftables (``platformApplyDefaults`` of
``server_linux.go``). The one difference: an empty mode becomes nftables wherever it works.
"""

from typing import Any, Final

import msgspec

from kproxy.config import paths
from kproxy.config.addresses import append_port
from kproxy.config.durations import Duration
from kproxy.config.schema import KubeProxyConfiguration
from kproxy.table.addresses import family_of, parse_address
from kproxy.table.terms import Family, Mode

HEALTH_PORT: Final = 10256
METRICS_PORT: Final = 10249

# Whatever is None, or zero where zero means "not set", becomes this.
_FILLED: Final[dict[str, Any]] = {
    "bindAddress": "0.0.0.0",
    "clientConnection.contentType": "application/vnd.kubernetes.protobuf",
    "clientConnection.qps": 5.0,
    "clientConnection.burst": 10,
    "logging.format": "text",
    "logging.flushFrequency": Duration.of(5),
    "iptables.masqueradeBit": 14,
    "iptables.localhostNodePorts": True,
    "iptables.syncPeriod": Duration.of(30),
    "iptables.minSyncPeriod": Duration.of(1),
    "nftables.masqueradeBit": 14,
    "nftables.syncPeriod": Duration.of(30),
    "nftables.minSyncPeriod": Duration.of(1),
    "ipvs.syncPeriod": Duration.of(30),
    "oomScoreAdj": -999,
    "conntrack.maxPerCore": 32 * 1024,
    "conntrack.min": 128 * 1024,
    "conntrack.tcpEstablishedTimeout": Duration.of(24 * 3600),
    "conntrack.tcpCloseWaitTimeout": Duration.of(3600),
    "configSyncPeriod": Duration.of(15 * 60),
}
# Pointers in Go: only "not there" is filled, zero and false are kept.
_OPTIONAL: Final = frozenset({
    "iptables.masqueradeBit", "iptables.localhostNodePorts", "nftables.masqueradeBit", "oomScoreAdj",
    "conntrack.maxPerCore", "conntrack.min", "conntrack.tcpEstablishedTimeout", "conntrack.tcpCloseWaitTimeout",
})  # fmt: skip


def _is_ipv6(address: str) -> bool:
    try:
        return family_of(str(parse_address(address))) is Family.IPV6
    except ValueError:
        return False


def with_defaults(config: KubeProxyConfiguration) -> KubeProxyConfiguration:
    """Fill every field that has a default on every machine. Doing it twice changes nothing."""
    for path, default in _FILLED.items():
        value = paths.get(config, path)
        if value is None or (not value and path not in _OPTIONAL):
            config = paths.put(config, path, default)
    wide, loopback = ("[::]", "[::1]") if _is_ipv6(config.bind_address) else ("0.0.0.0", "127.0.0.1")
    return msgspec.structs.replace(
        config,
        healthz_bind_address=append_port(config.healthz_bind_address, HEALTH_PORT) or f"{wide}:{HEALTH_PORT}",
        metrics_bind_address=append_port(config.metrics_bind_address, METRICS_PORT) or f"{loopback}:{METRICS_PORT}",
    )


def mode_of(config: KubeProxyConfiguration, *, nftables_works: bool) -> str:
    """Tell the mode in force: the configured one, else nftables where it works, else iptables."""
    return config.mode or (Mode.NFTABLES if nftables_works else Mode.IPTABLES)


def for_platform(config: KubeProxyConfiguration, *, nftables_works: bool) -> KubeProxyConfiguration:
    """Fill what depends on this machine: the mode, what it means for NodePorts, and how local pods are told."""
    mode = mode_of(config, nftables_works=nftables_works)
    addresses = config.node_port_addresses
    if mode == Mode.NFTABLES and not addresses:
        addresses = ("primary",)
    return msgspec.structs.replace(
        config,
        mode=str(mode),
        node_port_addresses=addresses,
        detect_local_mode=config.detect_local_mode or "ClusterCIDR",
    )

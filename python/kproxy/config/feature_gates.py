# SPDX-License-Identifier: Apache-2.0
"""The feature gates a service proxy may be given.

kproxy has no gates of its own. It accepts the names that upstream 1.37 knows, so that the same file and the same flags start
it, and acts on those that say what a Service *means*. Names and defaults: ``pkg/features/kube_features.go`` and the gates of
component-base, apiserver and client-go that are linked into kube-proxy.
"""

from collections.abc import Mapping
from typing import Final

import msgspec


class Gate(msgspec.Struct, frozen=True):
    """A gate: what it is when nobody sets it, and whether it can still be set."""

    default: bool
    stage: str
    locked: bool = False


GATES: Final[dict[str, Gate]] = {
    "AllAlpha": Gate(default=False, stage="ALPHA"),
    "AllBeta": Gate(default=False, stage="BETA"),
    "AllowServiceExternalIPs": Gate(default=True, stage="GA"),
    "AtomicFIFO": Gate(default=True, stage="BETA"),
    "ClientsAllowCBOR": Gate(default=False, stage="ALPHA"),
    "ClientsPreferCBOR": Gate(default=False, stage="ALPHA"),
    "ComponentFlagz": Gate(default=True, stage="BETA"),
    "ComponentStatusz": Gate(default=True, stage="BETA"),
    "ContextualLogging": Gate(default=True, stage="BETA"),
    "InOrderInformers": Gate(default=True, stage="BETA"),
    "InformerResourceVersion": Gate(default=True, stage="BETA"),
    "IPTablesOwnershipCleanup": Gate(default=True, stage="GA", locked=True),
    "KubeProxyDrainingTerminatingNodes": Gate(default=True, stage="GA", locked=True),
    "KubeProxyIPVS": Gate(default=True, stage="DEPRECATED"),
    "KubeProxyNFTablesLocalhostNodePorts": Gate(default=False, stage="ALPHA"),
    "LoadBalancerIPMode": Gate(default=True, stage="GA", locked=True),
    "LoggingAlphaOptions": Gate(default=False, stage="ALPHA"),
    "LoggingBetaOptions": Gate(default=True, stage="BETA"),
    "MinimizeIPTablesRestore": Gate(default=True, stage="GA", locked=True),
    "MultiCIDRServiceAllocator": Gate(default=True, stage="GA", locked=True),
    "NFTablesNetlink": Gate(default=True, stage="BETA"),
    "NFTablesProxyMode": Gate(default=True, stage="GA", locked=True),
    "NativeHistograms": Gate(default=True, stage="BETA"),
    "PreferSameTrafficDistribution": Gate(default=True, stage="GA", locked=True),
    "ProxyTerminatingEndpoints": Gate(default=True, stage="GA", locked=True),
    "ServiceTrafficDistribution": Gate(default=True, stage="GA", locked=True),
    "StrictIPCIDRValidation": Gate(default=True, stage="BETA"),
    "TopologyAwareHints": Gate(default=True, stage="GA", locked=True),
    "UnlockWhileProcessingFIFO": Gate(default=True, stage="BETA"),
    "WatchListClient": Gate(default=True, stage="BETA"),
    "WinDSR": Gate(default=True, stage="GA"),
    "WinOverlay": Gate(default=True, stage="GA"),
}


def enabled(gates: Mapping[str, bool], name: str) -> bool:
    """Tell whether a gate is on, given what was set. ``AllAlpha`` and ``AllBeta`` count for gates not set by name."""
    if name in gates:
        return gates[name]
    gate = GATES[name]
    group = {"ALPHA": "AllAlpha", "BETA": "AllBeta"}.get(gate.stage)
    return gates.get(group, gate.default) if group and not gate.locked else gate.default


def complaint(name: str, *, value: bool) -> str | None:
    """Say what is wrong with setting a gate, if anything."""
    gate = GATES.get(name)
    if gate is None:
        return "is not a feature gate kproxy knows; take it out"
    if gate.locked and value is not gate.default:
        always = "on" if gate.default else "off"
        return f"cannot be set to {str(value).lower()}: the feature is finished and always {always}; take it out"
    return None

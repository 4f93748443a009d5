# SPDX-License-Identifier: Apache-2.0
"""``detectLocalMode``: how a pod on this node is recognised, per family.

Facts from upstream's ``getLocalDetectors`` (``server_linux.go``): of each family the first prefix counts; an interface name
counts for both; what cannot be told is told by nobody, and then no client is taken for a pod.
"""

from collections.abc import Iterable, Sequence

from kproxy.config.addresses import by_family
from kproxy.objects.node import Node
from kproxy.table.node import PodTest
from kproxy.table.terms import Family


def pod_cidrs(node: Node | None) -> tuple[str, ...]:
    """Return the pod ranges a Node was given, the singular field where the list is missing."""
    if node is None:
        return ()
    return node.spec.pod_cidrs or ((node.spec.pod_cidr,) if node.spec.pod_cidr else ())


def _by_prefix(prefixes: Iterable[str]) -> dict[Family, PodTest | None]:
    return {family: PodTest(cidr=own[0]) if own else None for family, own in by_family(prefixes).items()}


def pod_tests(
    mode: str,
    *,
    cluster_cidrs: Sequence[str] = (),
    node_pod_cidrs: Sequence[str] = (),
    bridge_interface: str = "",
    interface_name_prefix: str = "",
) -> dict[Family, PodTest | None]:
    """Work out the test of each family for one ``detectLocalMode``. ``node_pod_cidrs`` are those of the Node object."""
    match mode:
        case "ClusterCIDR":
            return _by_prefix(cluster_cidrs)
        case "NodeCIDR":
            return _by_prefix(node_pod_cidrs)
        case "BridgeInterface" if bridge_interface:
            return dict.fromkeys(Family, PodTest(interface=bridge_interface))
        case "InterfaceNamePrefix" if interface_name_prefix:
            return dict.fromkeys(Family, PodTest(interface_prefix=interface_name_prefix))
        case _:
            return dict.fromkeys(Family)

# SPDX-License-Identifier: Apache-2.0
"""core/v1 Node."""

from typing import Final

import msgspec

from kproxy.objects.meta import Meta

ZONE_LABEL: Final = "topology.kubernetes.io/zone"
DRAIN_TAINT: Final = "ToBeDeletedByClusterAutoscaler"


class Taint(msgspec.Struct, frozen=True, gc=False):
    """A taint; only its key matters here."""

    key: str


class NodeSpec(msgspec.Struct, frozen=True, gc=False, rename={"pod_cidr": "podCIDR", "pod_cidrs": "podCIDRs"}):
    """What the node was given."""

    pod_cidr: str | None = None
    pod_cidrs: tuple[str, ...] | None = None
    taints: tuple[Taint, ...] | None = None


class NodeAddress(msgspec.Struct, frozen=True, gc=False):
    """An address of the node."""

    type: str
    address: str


class NodeStatus(msgspec.Struct, frozen=True, gc=False):
    """What the node reports."""

    addresses: tuple[NodeAddress, ...] | None = None


class Node(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="Node"):
    """A Node."""

    metadata: Meta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

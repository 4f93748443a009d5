# SPDX-License-Identifier: Apache-2.0
"""Which kinds are watched, where the API serves them, and which objects of them count.

The selectors are those of kube-proxy, so that a server's view of the two is the same: Services that no other proxy serves
and that have (or may get) a ClusterIP, EndpointSlices of such Services, this node, all ServiceCIDRs.
"""

from typing import Final

import msgspec

from kproxy.objects.endpointslice import HEADLESS_LABEL
from kproxy.objects.events import Kind
from kproxy.objects.service import PROXY_NAME_LABEL
from kproxy.sources.selectors import FieldRequirement, LabelRequirement, Operator, Selector

PATHS: Final = {
    Kind.SERVICE: "/api/v1/services",
    Kind.ENDPOINT_SLICE: "/apis/discovery.k8s.io/v1/endpointslices",
    Kind.NODE: "/api/v1/nodes",
    Kind.SERVICE_CIDR: "/apis/networking.k8s.io/v1/servicecidrs",
}


class Watch(msgspec.Struct, frozen=True):
    """One kind and which of its objects count. ``optional``: a server that lacks the kind has none, and all is well."""

    kind: Kind
    selector: Selector = Selector()
    optional: bool = False

    @property
    def path(self) -> str:
        """Return the path at which the API lists and watches the kind across all namespaces."""
        return PATHS[self.kind]


SERVICES: Final = Watch(
    Kind.SERVICE,
    Selector(
        labels=(LabelRequirement(PROXY_NAME_LABEL, Operator.ABSENT),),
        fields=(FieldRequirement("spec.clusterIP", "None", equal=False),),
    ),
)
ENDPOINT_SLICES: Final = Watch(Kind.ENDPOINT_SLICE, Selector(labels=(LabelRequirement(HEADLESS_LABEL, Operator.ABSENT),)))
SERVICE_CIDRS: Final = Watch(Kind.SERVICE_CIDR, optional=True)
ALL_NODES: Final = Watch(Kind.NODE)


def node(name: str) -> Watch:
    """Watch one node."""
    return Watch(Kind.NODE, Selector(fields=(FieldRequirement("metadata.name", name),)))


def watches_of(node_name: str) -> tuple[Watch, ...]:
    """Return what the proxy of one node needs to see."""
    return (SERVICES, ENDPOINT_SLICES, node(node_name), SERVICE_CIDRS)

# SPDX-License-Identifier: Apache-2.0
"""networking.k8s.io/v1 ServiceCIDR."""

import msgspec

from kproxy.objects.meta import Meta


class ServiceCIDRSpec(msgspec.Struct, frozen=True, gc=False):
    """The ranges ClusterIPs are taken from."""

    cidrs: tuple[str, ...] | None = None


class ServiceCIDR(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="ServiceCIDR"):
    """A ServiceCIDR."""

    metadata: Meta
    spec: ServiceCIDRSpec = ServiceCIDRSpec()

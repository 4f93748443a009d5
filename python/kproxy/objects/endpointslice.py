# SPDX-License-Identifier: Apache-2.0
"""discovery.k8s.io/v1 EndpointSlice."""

from typing import Final

import msgspec

from kproxy.objects.meta import Meta

SERVICE_LABEL: Final = "kubernetes.io/service-name"
HEADLESS_LABEL: Final = "service.kubernetes.io/headless"  # its presence takes the slice out
TRIGGER_ANNOTATION: Final = "endpoints.kubernetes.io/last-change-trigger-time"
WEIGHT_ANNOTATION: Final = "kproxy.io/weight"


class Conditions(msgspec.Struct, frozen=True, gc=False):
    """An endpoint's state; what is unset reads as ready, serving, not terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Hint(msgspec.Struct, frozen=True, gc=False):
    """A zone or node that an endpoint is meant for."""

    name: str


class Hints(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Whom an endpoint is meant for."""

    for_zones: tuple[Hint, ...] | None = None
    for_nodes: tuple[Hint, ...] | None = None


class TargetRef(msgspec.Struct, frozen=True, gc=False):
    """The object behind an endpoint."""

    kind: str = ""
    namespace: str = ""
    name: str = ""


class SliceEndpoint(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One endpoint of a slice; only its first address counts."""

    addresses: tuple[str, ...] = ()
    conditions: Conditions | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: Hints | None = None
    target_ref: TargetRef | None = None


class SlicePort(msgspec.Struct, frozen=True, gc=False):
    """One port of a slice."""

    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class EndpointSlice(msgspec.Struct, frozen=True, gc=False, rename="camel", tag_field="kind", tag="EndpointSlice"):
    """An EndpointSlice."""

    metadata: Meta
    address_type: str = ""
    endpoints: tuple[SliceEndpoint, ...] | None = None
    ports: tuple[SlicePort, ...] | None = None

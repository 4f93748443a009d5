# SPDX-License-Identifier: Apache-2.0
"""core/v1 Service."""

from typing import Final

import msgspec

from kproxy.objects.meta import Meta

PROXY_NAME_LABEL: Final = "service.kubernetes.io/service-proxy-name"  # its presence hands the Service to another proxy
HEADLESS: Final = "None"  # the clusterIP of a Service that wants none
SCHEDULER_ANNOTATION: Final = "kproxy.io/scheduler"
PRIORITY_ANNOTATION: Final = "kproxy.io/priority"
PROXY_PROTOCOL_ANNOTATION: Final = "kproxy.io/proxy-protocol"


class ServicePort(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One port of a Service. The target port is the EndpointSlice's business."""

    port: int
    name: str | None = None
    protocol: str | None = None
    node_port: int | None = None


class ClientIPConfig(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """The ClientIP affinity's settings."""

    timeout_seconds: int | None = None


class SessionAffinityConfig(msgspec.Struct, frozen=True, gc=False, rename={"client_ip": "clientIP"}):
    """The affinity's settings."""

    client_ip: ClientIPConfig | None = None


class ServiceSpec(
    msgspec.Struct,
    frozen=True,
    gc=False,
    rename={
        "cluster_ip": "clusterIP",
        "cluster_ips": "clusterIPs",
        "ip_families": "ipFamilies",
        "external_ips": "externalIPs",
        "load_balancer_source_ranges": "loadBalancerSourceRanges",
        "external_traffic_policy": "externalTrafficPolicy",
        "internal_traffic_policy": "internalTrafficPolicy",
        "session_affinity": "sessionAffinity",
        "session_affinity_config": "sessionAffinityConfig",
        "health_check_node_port": "healthCheckNodePort",
    },
):
    """What a Service asks for."""

    type: str | None = None
    cluster_ip: str | None = None
    cluster_ips: tuple[str, ...] | None = None
    ip_families: tuple[str, ...] | None = None
    ports: tuple[ServicePort, ...] | None = None
    external_ips: tuple[str, ...] | None = None
    load_balancer_source_ranges: tuple[str, ...] | None = None
    external_traffic_policy: str | None = None
    internal_traffic_policy: str | None = None
    session_affinity: str | None = None
    session_affinity_config: SessionAffinityConfig | None = None
    health_check_node_port: int | None = None


class Ingress(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One address a load balancer answers on."""

    ip: str | None = None
    ip_mode: str | None = None


class LoadBalancerStatus(msgspec.Struct, frozen=True, gc=False):
    """Where the load balancer answers."""

    ingress: tuple[Ingress, ...] | None = None


class ServiceStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What the cluster made of it."""

    load_balancer: LoadBalancerStatus | None = None


class Service(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="Service"):
    """A Service."""

    metadata: Meta
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()

# SPDX-License-Identifier: Apache-2.0
"""Manifests of a cluster of any size: Services of one TCP port, the endpoints numbered through."""

from collections.abc import Iterable
from typing import Any

from bench.tables import SERVICES, endpoint
from tests.bed import PORT


def service(number: int) -> dict[str, Any]:
    """Return the manifest of one Service with one TCP port."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "faults", "name": f"service-{number}"},
        "spec": {
            "clusterIP": str(SERVICES[number + 1]),
            "clusterIPs": [str(SERVICES[number + 1])],
            "ipFamilies": ["IPv4"],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        },
    }


def endpoint_slice(number: int, members: Iterable[int], part: int = 1) -> dict[str, Any]:
    """Return the manifest of one slice of a Service, by the endpoints' numbers."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": "faults",
            "name": f"service-{number}-{part}",
            "labels": {"kubernetes.io/service-name": f"service-{number}"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": PORT, "protocol": "TCP"}],
        "endpoints": [{"addresses": [endpoint(member).address], "nodeName": "elsewhere"} for member in members],
    }

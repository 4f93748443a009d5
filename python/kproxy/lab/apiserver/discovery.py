# SPDX-License-Identifier: Apache-2.0
"""The documents by which kubectl-like clients find out what is served and where."""

from typing import Any, Final

from kproxy.lab.apiserver.openapi import openapi_documents
from kproxy.lab.apiserver.resources import RESOURCES, Resource

JsonObject = dict[str, Any]
READ: Final = ("get", "list", "watch")
WRITE: Final = ("create", "delete", "patch", "update")
VERSION: Final = {
    "major": "1",
    "minor": "37",
    "gitVersion": "v1.37.2-kproxy-lab",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}


def _groups() -> dict[str, list[Resource]]:
    groups: dict[str, list[Resource]] = {}
    for resource in RESOURCES:
        groups.setdefault(resource.group, []).append(resource)
    return groups


def _group(name: str, version: str) -> JsonObject:
    served = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [served], "preferredVersion": served}


def _resources(api_version: str, members: list[Resource]) -> JsonObject:
    listed: list[JsonObject] = []
    for resource in members:
        entry = {
            "name": resource.plural,
            "singularName": resource.kind.lower(),
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": sorted((*READ, *WRITE)),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        listed.append(entry)
        if resource.status:
            listed.append(
                {
                    "name": f"{resource.plural}/status",
                    "singularName": "",
                    "namespaced": resource.namespaced,
                    "kind": resource.kind,
                    "verbs": ["get", "patch", "update"],
                }
            )
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": listed}


def documents(address: str) -> dict[str, JsonObject]:
    """Return every document by its path; ``address`` is the server's ``host:port``."""
    found: dict[str, JsonObject] = {
        **openapi_documents(),
        "/version": dict(VERSION),
        "/api": {
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
        },
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    }
    for name, members in _groups().items():
        first = members[0]
        found[first.base] = _resources(first.api_version, members)
        if name:
            group = _group(name, first.version)
            found["/apis"]["groups"].append(group)
            found[f"/apis/{name}"] = {"kind": "APIGroup", "apiVersion": "v1", **group}
    found["/"] = {"paths": sorted([*found, "/healthz", "/livez", "/readyz"])}
    return found

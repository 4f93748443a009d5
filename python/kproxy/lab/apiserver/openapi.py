# SPDX-License-Identifier: Apache-2.0
"""As much OpenAPI v3 as kubectl needs to see that the server checks fields itself.

``kubectl apply`` downloads the schema of a group only to learn whether PATCH knows the query parameter ``fieldValidation``
(k8s.io/kubectl ``pkg/validation``; k8s.io/cli-runtime ``pkg/resource/query_param_verifier_v3.go``). Without that it refuses
to work unless told ``--validate=false``. There are no schemas of objects here.
"""

import hashlib
from typing import Any

import msgspec

from kproxy.lab.apiserver.resources import RESOURCES, Resource

JsonObject = dict[str, Any]


def openapi_documents() -> dict[str, JsonObject]:
    """Return the index and one document a group version, by path."""
    found: dict[str, JsonObject] = {}
    paths: JsonObject = {}
    for base in dict.fromkeys(resource.base for resource in RESOURCES):
        members = [resource for resource in RESOURCES if resource.base == base]
        document = {
            "openapi": "3.0.0",
            "info": {"title": "kproxy lab", "version": "v1"},
            "paths": dict(_path(resource) for resource in members),
        }
        found[f"/openapi/v3{base}"] = document
        digest = hashlib.sha256(msgspec.json.encode(document)).hexdigest()[:32]
        paths[base.lstrip("/")] = {"serverRelativeURL": f"/openapi/v3{base}?hash={digest}"}
    return {"/openapi/v3": {"paths": paths}, **found}


def _path(resource: Resource) -> tuple[str, JsonObject]:
    space = "/namespaces/{namespace}" if resource.namespaced else ""
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
        for name in ("dryRun", "fieldManager", "fieldValidation", "force")
    ]
    operation = {
        "operationId": f"patch{resource.kind}",
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": kind,
    }
    return f"{resource.base}{space}/{resource.plural}/{{name}}", {"patch": operation}

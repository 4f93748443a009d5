# SPDX-License-Identifier: Apache-2.0
"""What a client asks before it asks: documents, media types, methods, health."""

import aiohttp
import pytest

from kproxy.lab.apiserver import ApiServer
from tests.api.wire import SERVICES, SHOP_SERVICES, get, service

SLICES_OF_A_NAMESPACE = "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"


async def test_groups_and_resources_lead_to_the_kinds(http: aiohttp.ClientSession) -> None:
    """/api, /apis and one APIResourceList a group version (apiserver pkg/endpoints/discovery)."""
    assert (await get(http, "/api"))[1]["versions"] == ["v1"]
    groups = (await get(http, "/apis"))[1]
    assert [group["name"] for group in groups["groups"]] == ["discovery.k8s.io", "networking.k8s.io", "events.k8s.io"]
    for group in groups["groups"]:
        assert (await get(http, f"/apis/{group['name']}"))[1]["preferredVersion"] == group["preferredVersion"]

    found: dict[str, bool] = {}
    for path in ("/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups["groups"])):
        status, body = await get(http, path)
        assert (status, body["kind"]) == (200, "APIResourceList")
        for resource in body["resources"]:
            found[resource["name"]] = resource["namespaced"]
            if "/" not in resource["name"]:
                assert (await get(http, f"{path}/{resource['name']}"))[0] == 200, "what is announced is served"

    assert found.items() >= {"services": True, "services/status": True, "nodes": False, "servicecidrs": False}.items()
    assert {"endpointslices", "events", "namespaces", "pods"} <= set(found)


async def test_the_version_is_told(http: aiohttp.ClientSession) -> None:
    """/version names major, minor and gitVersion (apimachinery pkg/version)."""
    status, body = await get(http, "/version")

    assert status == 200
    assert body["gitVersion"].startswith(f"v{body['major']}.{body['minor']}.")


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/readyz/ping"])
async def test_health_is_plain_text(http: aiohttp.ClientSession, path: str) -> None:
    """The three health paths answer ``ok`` (apiserver pkg/server/healthz)."""
    async with http.get(path) as answer:
        assert (answer.status, await answer.text()) == (200, "ok")


@pytest.mark.parametrize("path", ["/apis/apps/v1/deployments", "/api/v1/namespaces/default/nodes", "/nothing", "/api/v2"])
async def test_what_is_not_served_is_not_found(http: aiohttp.ClientSession, path: str) -> None:
    """404 with a Status."""
    status, body = await get(http, path)

    assert (status, body["kind"], body["reason"]) == (404, "Status", "NotFound")


async def test_a_name_wants_its_namespace(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """A namespaced object has no address without its namespace; the namespaces themselves have."""
    server.put(service("web"))

    assert (await get(http, f"{SERVICES}/web"))[0] == 404
    assert (await get(http, f"{SHOP_SERVICES}/web"))[0] == 200
    assert (await get(http, "/api/v1/namespaces/default"))[1]["kind"] == "Namespace"
    assert (await get(http, f"{SHOP_SERVICES}/web/status"))[1]["kind"] == "Service"
    assert (await get(http, f"{SHOP_SERVICES}/web/scale"))[0] == 404


@pytest.mark.parametrize(
    ("accept", "code"),
    [
        ("application/json", 200),
        ("*/*", 200),
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", 200),
        ("application/vnd.kubernetes.protobuf, application/json;q=0.9", 200),
        ("application/vnd.kubernetes.protobuf", 406),
        ("text/html", 406),
    ],
)
async def test_who_takes_no_json_is_refused(http: aiohttp.ClientSession, accept: str, code: int) -> None:
    """406 lists what is spoken (apiserver pkg/endpoints/handlers/negotiation/errors.go, NewNotAcceptableError)."""
    async with http.get(SERVICES, headers={"Accept": accept}) as answer:
        body = await answer.json()

    assert answer.status == code
    if code == 406:
        assert body["reason"] == "NotAcceptable"
        assert body["message"] == "only the following media types are accepted: application/json"


@pytest.mark.parametrize(("method", "path"), [("POST", f"{SHOP_SERVICES}/web"), ("PUT", SHOP_SERVICES), ("PATCH", SERVICES)])
async def test_verbs_that_do_not_exist(http: aiohttp.ClientSession, method: str, path: str) -> None:
    """405 with a Status (apimachinery pkg/api/errors, NewMethodNotSupported)."""
    async with http.request(method, path, json={}) as answer:
        assert (answer.status, (await answer.json())["reason"]) == (405, "MethodNotAllowed")


async def test_patches_are_announced_to_kubectl(http: aiohttp.ClientSession) -> None:
    """OpenAPI v3 tells that PATCH knows ``fieldValidation``, without which kubectl apply refuses to work.

    Source: k8s.io/cli-runtime pkg/resource/query_param_verifier_v3.go, HasSupport.
    """
    index = (await get(http, "/openapi/v3"))[1]["paths"]
    assert {"api/v1", "apis/discovery.k8s.io/v1"} <= set(index)

    path = index["apis/discovery.k8s.io/v1"]["serverRelativeURL"].partition("?")[0]
    operation = (await get(http, path))[1]["paths"][f"{SLICES_OF_A_NAMESPACE}/{{name}}"]["patch"]

    kind = {"group": "discovery.k8s.io", "version": "v1", "kind": "EndpointSlice"}
    assert operation["x-kubernetes-group-version-kind"] == kind
    assert "fieldValidation" in [parameter["name"] for parameter in operation["parameters"]]

# SPDX-License-Identifier: Apache-2.0
"""The four patch types."""

import json
from typing import Any

import aiohttp
import pytest

from kproxy.lab.apiserver import ApiServer
from tests.api.wire import SERVICES, SHOP_SERVICES, JsonObject, endpoint_slice, get, names, service

JSON = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
WEB = f"{SHOP_SERVICES}/web"
SLICE = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/web-1"


async def patch(http: aiohttp.ClientSession, path: str, kind: str, value: Any, **query: str) -> tuple[int, JsonObject]:
    """PATCH and return status and body."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    async with http.patch(path, data=body, headers={"Content-Type": kind}, params=query) as answer:
        return answer.status, await answer.json()


async def test_a_merge_patch_merges_objects_and_replaces_lists(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """RFC 7386: null removes, lists are replaced whole."""
    server.put(service("web", labels={"a": "1", "b": "2"}, ports=[{"port": 80, "name": "x"}, {"port": 81, "name": "y"}]))

    value = {"metadata": {"labels": {"a": None, "c": "3"}}, "spec": {"ports": [{"port": 82, "name": "z"}]}}
    status, body = await patch(http, WEB, MERGE, value)

    assert status == 200
    assert body["metadata"]["labels"] == {"b": "2", "c": "3"}
    assert [port["port"] for port in body["spec"]["ports"]] == [82]


async def test_a_json_patch_scales_a_slice(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """RFC 6902: add at the end, replace, remove, move, copy, test."""
    server.put(endpoint_slice("web-1", "10.1.0.1", "10.1.0.2"))
    steps = [
        {"op": "test", "path": "/endpoints/0/addresses/0", "value": "10.1.0.1"},
        {"op": "add", "path": "/endpoints/-", "value": {"addresses": ["10.1.0.3"]}},
        {"op": "remove", "path": "/endpoints/0"},
        {"op": "replace", "path": "/endpoints/0/conditions/ready", "value": False},
        {"op": "copy", "from": "/endpoints/0", "path": "/endpoints/1"},
        {"op": "add", "path": "/metadata/annotations", "value": {}},
        {"op": "add", "path": "/metadata/annotations/kproxy.io~1weight", "value": "5"},
        {"op": "move", "from": "/metadata/annotations/kproxy.io~1weight", "path": "/metadata/annotations/w"},
    ]

    status, body = await patch(http, SLICE, JSON, steps)

    assert status == 200
    assert [endpoint["addresses"][0] for endpoint in body["endpoints"]] == ["10.1.0.2", "10.1.0.2", "10.1.0.3"]
    assert body["endpoints"][0]["conditions"] == body["endpoints"][1]["conditions"] == {"ready": False}
    assert body["metadata"]["annotations"] == {"w": "5"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"op":"add"}', 400),
        (b"not json", 400),
        (b'[{"op":"test","path":"/spec/type","value":"NodePort"}]', 422),
        (b'[{"op":"remove","path":"/spec/nothing/there"}]', 422),
        (b'[{"op":"add","path":"/spec/ports/9","value":{}}]', 422),
        (b'[{"op":"shout","path":"/spec"}]', 422),
        (b"[7]", 422),
    ],
)
async def test_json_patches_that_do_not_fit(server: ApiServer, http: aiohttp.ClientSession, body: bytes, code: int) -> None:
    """Malformed is 400, not applicable 422, and the object stays as it was.

    Source: endpoints/handlers/patch.go, applyJSPatch.
    """
    before = server.put(service("web"))

    status, answer = await patch(http, WEB, JSON, body)

    assert (status, answer["kind"], answer["code"]) == (code, "Status", code)
    assert server.get("Service", "web") == before


async def test_a_strategic_patch_merges_ports_by_number(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Service ports merge by ``port`` and kubectl's directives are understood (patchMergeKey in k8s.io/api core/v1)."""
    server.put(service("web", ports=[{"name": "http", "port": 80}, {"name": "https", "port": 443}]))

    value = {
        "spec": {
            "$setElementOrder/ports": [{"port": 9090}, {"port": 80}],
            "ports": [
                {"port": 80, "targetPort": 8080},
                {"port": 443, "$patch": "delete"},
                {"name": "metrics", "port": 9090},
            ],
        }
    }
    status, body = await patch(http, WEB, STRATEGIC, value)

    assert status == 200
    assert [(port["name"], port["port"], port["targetPort"]) for port in body["spec"]["ports"]] == [
        ("metrics", 9090, 9090),
        ("http", 80, 8080),
    ]


async def test_a_strategic_patch_replaces_endpoints(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """The list of endpoints is atomic (k8s.io/api discovery/v1 types.go: listType=atomic)."""
    server.put(endpoint_slice("web-1", "10.1.0.1", "10.1.0.2"))

    body = (await patch(http, SLICE, STRATEGIC, {"endpoints": [{"addresses": ["10.1.0.9"]}]}))[1]

    assert [endpoint["addresses"] for endpoint in body["endpoints"]] == [["10.1.0.9"]]


async def test_apply_creates_and_then_merges(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """An apply patch is YAML, wants a field manager, answers 201 for a new object and 200 after.

    Source: API concepts, "Server-side apply"; endpoints/handlers/patch.go, applyPatcher.
    """
    manifest = b"kind: Service\napiVersion: v1\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n"

    status, body = await patch(http, WEB, APPLY, manifest)
    assert (status, body["details"]["causes"][0]["field"]) == (422, "fieldManager")
    assert (await patch(http, WEB, APPLY, manifest, fieldManager="me"))[0] == 201
    status, body = await patch(
        http, WEB, APPLY, manifest.replace(b"{port: 80}", b"{port: 80, name: web}"), fieldManager="me"
    )
    assert (status, body["spec"]["ports"][0]["name"]) == (200, "web")
    assert names((await get(http, SERVICES))[1]) == ["web"]


async def test_other_patches_want_an_object(http: aiohttp.ClientSession) -> None:
    """404 for a merge patch of nothing, 415 for a type that is none.

    Source: endpoints/handlers/patch.go, PatchResource.
    """
    assert (await patch(http, WEB, MERGE, {}))[0] == 404
    status, body = await patch(http, WEB, "application/json", {})
    assert (status, body["reason"]) == (415, "UnsupportedMediaType")
    assert MERGE in body["message"]


async def test_a_patch_may_insist_on_a_version(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """A resourceVersion inside a patch is a condition (generic/registry/store.go, Update)."""
    version = server.put(service("web"))["metadata"]["resourceVersion"]
    value = {"metadata": {"resourceVersion": version}, "spec": {"sessionAffinity": "ClientIP"}}

    assert (await patch(http, WEB, MERGE, value))[0] == 200
    status, body = await patch(http, WEB, MERGE, value | {"spec": {"sessionAffinity": "None"}})
    assert (status, body["reason"]) == (409, "Conflict")


async def test_a_patch_cannot_make_an_object_invalid(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """What comes out is checked like any other write."""
    server.put(service("web"))

    status, body = await patch(http, WEB, MERGE, {"spec": {"ports": [{"port": 99_999}]}})

    assert (status, body["details"]["causes"][0]["field"]) == (422, "spec.ports[0].port")


async def test_a_patch_of_the_status_leaves_the_rest(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """A load balancer's controller patches /status."""
    server.put(service("web", type="LoadBalancer"))
    value = {"spec": {"type": "NodePort"}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.5"}]}}}

    status, body = await patch(http, f"{WEB}/status", MERGE, value)

    assert (status, body["spec"]["type"]) == (200, "LoadBalancer")
    assert body["status"]["loadBalancer"]["ingress"][0]["ip"] == "192.0.2.5"

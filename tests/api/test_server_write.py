# SPDX-License-Identifier: Apache-2.0
"""Create, replace, delete, and the status subresource."""

from typing import Any

import aiohttp
import pytest

from kproxy.lab.apiserver import ApiServer
from tests.api.wire import NODES, SERVICES, SHOP_SERVICES, SLICES, JsonObject, endpoint_slice, get, names, node, service

SHOP_SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


async def send(
    http: aiohttp.ClientSession, method: str, path: str, value: Any = None, **query: str
) -> tuple[int, JsonObject]:
    """Send JSON and return status and body."""
    async with http.request(method, path, json=value, params=query) as answer:
        return answer.status, await answer.json()


async def test_create_fills_in_what_the_server_owns(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """201 with uid, creationTimestamp and resourceVersion; the client's are ignored (registry/rest/create.go, meta.go)."""
    value = service("web")
    value["metadata"] |= {"uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z"}

    status, body = await send(http, "POST", SHOP_SERVICES, value)

    assert status == 201
    assert body["metadata"]["uid"] != "mine"
    assert not body["metadata"]["creationTimestamp"].startswith("2001")
    assert body["metadata"]["resourceVersion"] == str(server.store.version)


async def test_create_generates_names(http: aiohttp.ClientSession) -> None:
    """GenerateName is a prefix to five more characters (storage/names/generate.go)."""
    value = endpoint_slice("")
    value["metadata"] = {"generateName": "web-"}

    found = {(await send(http, "POST", SHOP_SLICES, value))[1]["metadata"]["name"] for _ in range(3)}

    assert len(found) == 3
    assert all(len(name) == len("web-") + 5 and name.startswith("web-") for name in found)


async def test_a_name_can_be_taken_once(http: aiohttp.ClientSession) -> None:
    """409 AlreadyExists (apimachinery pkg/api/errors, NewAlreadyExists)."""
    await send(http, "POST", SHOP_SLICES, endpoint_slice("web-1"))

    status, body = await send(http, "POST", SHOP_SLICES, endpoint_slice("web-1"))

    assert (status, body["reason"]) == (409, "AlreadyExists")
    assert body["message"] == 'endpointslices.discovery.k8s.io "web-1" already exists'


async def test_a_version_is_not_given_at_creation(http: aiohttp.ClientSession) -> None:
    """A resourceVersion on a new object is a bad request (storage/etcd3/store.go, Create)."""
    value = service("web")
    value["metadata"]["resourceVersion"] = "5"

    status, body = await send(http, "POST", SHOP_SERVICES, value)

    assert (status, body["message"]) == (400, "resourceVersion should not be set on objects to be created")


async def test_a_namespace_must_exist(http: aiohttp.ClientSession) -> None:
    """404 of the Namespace (plugin/pkg/admission/namespace/lifecycle); created, the way is free."""
    path = "/api/v1/namespaces/shop/services"
    status, body = await send(http, "POST", path, service("web", "shop"))
    assert (status, body["message"]) == (404, 'namespaces "shop" not found')

    await send(http, "POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
    assert (await send(http, "POST", path, service("web", "shop")))[0] == 201


async def test_path_and_object_name_the_same_namespace(http: aiohttp.ClientSession) -> None:
    """Else 400 (registry/rest/meta.go, EnsureObjectNamespaceMatchesRequestNamespace)."""
    status, body = await send(http, "POST", SHOP_SERVICES, service("web", "kube-system"))

    assert status == 400
    assert body["message"] == "the namespace of the provided object does not match the namespace sent on the request"


async def test_replace_takes_the_version_into_account(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """An older resourceVersion is 409 Conflict, none replaces in any case (generic/registry/store.go, Update)."""
    old = server.put(endpoint_slice("web-1", "10.1.0.1"))
    new = server.put(endpoint_slice("web-1", "10.1.0.2"))

    status, body = await send(http, "PUT", f"{SHOP_SLICES}/web-1", old)
    assert (status, body["reason"]) == (409, "Conflict")
    assert body["message"] == (
        'Operation cannot be fulfilled on endpointslices.discovery.k8s.io "web-1": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    new["endpoints"] = []
    assert (await send(http, "PUT", f"{SHOP_SLICES}/web-1", new))[0] == 200
    status, body = await send(http, "PUT", f"{SHOP_SLICES}/web-1", endpoint_slice("web-1", "10.1.0.3"))
    assert (status, body["metadata"]["uid"]) == (200, new["metadata"]["uid"])


async def test_replace_creates_services_only(http: aiohttp.ClientSession) -> None:
    """PUT of an absent object is 201 for Services, 404 for slices (core/service/strategy.go, AllowCreateOnUpdate)."""
    assert (await send(http, "PUT", f"{SHOP_SERVICES}/web", service("web")))[0] == 201
    assert (await send(http, "PUT", f"{SHOP_SLICES}/web-1", endpoint_slice("web-1")))[0] == 404


async def test_replace_keeps_the_name(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """The name in the body is the path's (endpoints/handlers/update.go)."""
    server.put(service("web"))

    status, body = await send(http, "PUT", f"{SHOP_SERVICES}/web", service("other"))

    assert (status, body["message"]) == (400, "the name of the object (other) does not match the name on the URL (web)")


async def test_delete_answers_as_the_kind_does(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """A slice's deletion answers a Status, a Service's the Service.

    Source: the published OpenAPI: deleteCoreV1NamespacedService returns v1.Service; generic/registry/store.go,
    ReturnDeletedObject.
    """
    server.put(service("web"))
    uid = server.put(endpoint_slice("web-1"))["metadata"]["uid"]

    status, body = await send(http, "DELETE", f"{SHOP_SERVICES}/web")
    assert (status, body["kind"], body["metadata"]["name"]) == (200, "Service", "web")
    status, body = await send(http, "DELETE", f"{SHOP_SLICES}/web-1")
    assert (status, body["kind"], body["status"]) == (200, "Status", "Success")
    assert body["details"] == {"name": "web-1", "group": "discovery.k8s.io", "kind": "endpointslices", "uid": uid}
    assert (await send(http, "DELETE", f"{SHOP_SLICES}/web-1"))[0] == 404


async def test_delete_keeps_to_its_preconditions(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Another uid or version is 409 (storage/interfaces.go, Preconditions.Check)."""
    server.put(service("web"))

    options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "another"}}
    status, body = await send(http, "DELETE", f"{SHOP_SERVICES}/web", options)

    assert (status, body["reason"]) == (409, "Conflict")
    assert "Precondition failed: UID in precondition: another" in body["message"]
    assert server.get("Service", "web") is not None


async def test_delete_of_a_collection_takes_the_selected(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """DELETE of a collection with a selector leaves the others."""
    server.put(service("a", labels={"app": "x"}))
    server.put(service("b"))

    status, body = await send(http, "DELETE", SHOP_SERVICES, labelSelector="app=x")

    assert (status, names(body)) == (200, ["a"])
    assert names((await get(http, SERVICES))[1]) == ["b"]


async def test_a_namespace_takes_its_objects_along(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """What lived in a deleted Namespace is gone too (the namespace controller's work)."""
    await send(http, "POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
    server.put(service("web", "shop"))
    server.put(endpoint_slice("web-1", "10.1.0.1", namespace="shop"))

    await send(http, "DELETE", "/api/v1/namespaces/shop")

    assert names((await get(http, SERVICES))[1]) == names((await get(http, SLICES))[1]) == []


async def test_status_has_a_door_of_its_own(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """/status changes the status alone, the object alone its spec; ipMode is filled in.

    Source: core/service/strategy.go, serviceStatusStrategy; core/v1/defaults.go, SetDefaults_Service.
    """
    server.put(service("web", type="LoadBalancer"))
    value = service("web", type="NodePort")
    value["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}

    status, body = await send(http, "PUT", f"{SHOP_SERVICES}/web/status", value)
    assert (status, body["spec"]["type"]) == (200, "LoadBalancer")
    assert body["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.1", "ipMode": "VIP"}]

    value = service("web", type="LoadBalancer", externalTrafficPolicy="Local")
    body = (await send(http, "PUT", f"{SHOP_SERVICES}/web", value))[1]
    assert body["status"]["loadBalancer"]["ingress"][0]["ip"] == "192.0.2.1"
    assert body["spec"]["externalTrafficPolicy"] == "Local"


async def test_status_of_a_node(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Node addresses are set through /status."""
    server.put(node("n1"))
    value = node("n1")
    value["status"] = {"addresses": [{"type": "InternalIP", "address": "192.0.2.7"}]}

    assert (await send(http, "PUT", f"{NODES}/n1/status", value))[0] == 200
    assert (server.get("Node", "n1") or {})["status"]["addresses"][0]["address"] == "192.0.2.7"


async def test_dry_runs_leave_no_trace(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """dryRun=All checks and answers, and changes nothing (API concepts, "Dry-run")."""
    version = server.store.version

    assert (await send(http, "POST", SHOP_SERVICES, service("web"), dryRun="All"))[0] == 201
    assert (await send(http, "POST", SHOP_SERVICES, service("Web"), dryRun="All"))[0] == 422
    assert (server.get("Service", "web"), server.store.version) == (None, version)


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"kind":"Node","apiVersion":"v1","metadata":{"name":"web"}}', "application/json", 400),
        (b"metadata: {name: web}\nspec: {ports: [{port: 80}]}", "application/yaml", 201),
        (b"kind=Service", "application/x-www-form-urlencoded", 415),
    ],
)
async def test_bodies_that_make_no_sense(http: aiohttp.ClientSession, body: bytes, content_type: str, code: int) -> None:
    """Broken or foreign bodies are 400, unknown media types 415 (endpoints/handlers/create.go, negotiation/errors.go)."""
    async with http.post(SHOP_SERVICES, data=body, headers={"Content-Type": content_type}) as answer:
        assert answer.status == code
        assert (await answer.json())["kind"] == ("Service" if code == 201 else "Status")


async def test_events_are_taken(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """events.k8s.io/v1 Events can be created and patched, as event recorders do it (client-go tools/events, recordEvent)."""
    path = "/apis/events.k8s.io/v1/namespaces/default/events"
    value = {"metadata": {"name": "n1.1"}, "reason": "Starting", "action": "StartKubeProxy", "type": "Normal"}
    assert (await send(http, "POST", path, value))[0] == 201

    patch = {"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}}
    headers = {"Content-Type": "application/strategic-merge-patch+json"}
    async with http.patch(f"{path}/n1.1", json=patch, headers=headers) as answer:
        assert (answer.status, (await answer.json())["series"]["count"]) == (200, 2)
    assert (server.get("Event", "n1.1") or {})["reason"] == "Starting"

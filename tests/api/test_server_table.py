# SPDX-License-Identifier: Apache-2.0
"""Tables, as ``kubectl get`` asks for them (API concepts, "Receiving resources as Tables")."""

import json

import aiohttp
import pytest

from kproxy.lab.apiserver import ApiServer
from kproxy.lab.apiserver.resources import SERVICE
from kproxy.lab.apiserver.table import table, wants_table
from tests.api.wire import NODES, SERVICES, SHOP_SERVICES, SLICES, JsonObject, endpoint_slice, node, service, watching

KUBECTL = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"


async def cells(http: aiohttp.ClientSession, path: str) -> list[list[str]]:
    """GET a Table; return its rows but for the age."""
    async with http.get(path, headers={"Accept": KUBECTL}) as answer:
        body = await answer.json()
    assert (body["kind"], body["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [column["name"] for column in body["columnDefinitions"]][-1] == "Age"
    return [row["cells"][:-1] for row in body["rows"]]


async def test_services_show_what_kubectl_shows(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Type, addresses and ports (pkg/printers/internalversion/printers.go, printService)."""
    ports = [{"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 53, "protocol": "UDP", "nodePort": 30053}]
    balanced = service("balanced", type="LoadBalancer", clusterIP="10.96.0.5", ports=ports)
    server.put(service("external", type="ExternalName", externalName="example.com", ports=None))
    server.put(service("headless", clusterIP="None"))
    server.put(balanced)
    waiting = await cells(http, SERVICES)
    server.put(balanced | {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}})

    assert waiting[0] == ["balanced", "LoadBalancer", "10.96.0.5", "<pending>", "80:30080/TCP,53:30053/UDP"]
    assert await cells(http, SERVICES) == [
        ["balanced", "LoadBalancer", "10.96.0.5", "192.0.2.1", "80:30080/TCP,53:30053/UDP"],
        ["external", "ExternalName", "<none>", "example.com", "<none>"],
        ["headless", "ClusterIP", "None", "<none>", "80/TCP"],
    ]
    assert await cells(http, f"{SHOP_SERVICES}/headless") == [["headless", "ClusterIP", "None", "<none>", "80/TCP"]]


async def test_other_kinds_show_what_matters(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Slices show addresses, no more than three; Nodes their address; ServiceCIDRs their ranges."""
    server.put(endpoint_slice("web-1", "10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4"))
    server.put(endpoint_slice("web-2") | {"ports": None})
    server.put(node("n1") | {"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.7"}]}})

    assert await cells(http, SLICES) == [
        ["web-1", "IPv4", "8080", "10.1.0.1,10.1.0.2,10.1.0.3 + 1 more..."],
        ["web-2", "IPv4", "<unset>", "<unset>"],
    ]
    assert await cells(http, NODES) == [["n1", "192.0.2.7"]]
    assert await cells(http, "/apis/networking.k8s.io/v1/servicecidrs") == [["kubernetes", "10.96.0.0/16,fd00:10:96::/112"]]


async def test_a_watch_can_be_of_tables(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Each event's object is a Table of one row, its metadata inside (endpoints/handlers/response.go, asTable)."""
    query = {"watch": "1", "resourceVersion": str(server.store.version)}
    async with http.get(SERVICES, params=query, headers={"Accept": KUBECTL}) as answer:
        server.put(service("web"))
        event: JsonObject = json.loads(await answer.content.readline())

    assert (event["type"], event["object"]["kind"]) == ("ADDED", "Table")
    assert event["object"]["rows"][0]["object"]["metadata"]["name"] == "web"
    async with watching(http, SERVICES) as plain:
        assert (await plain.next())["object"]["kind"] == "Service", "others see objects"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [(KUBECTL, True), ("application/json", False), ("", False), ("application/json, application/json;as=Table", False)],
)
def test_who_asks_for_tables_first_gets_them(accept: str, wanted: bool) -> None:
    """The first JSON that is asked for decides."""
    assert wants_table(accept) is wanted


async def test_malformed_objects_show_as_such(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """One bad object does not hide the others."""
    server.put(service("broken", ports="eighty", type="ClusterIP"), raw=True)
    server.put(service("web", clusterIP="10.96.0.9"))

    assert await cells(http, SERVICES) == [
        ["broken", "ClusterIP", "<none>", "<none>", "<malformed>"],
        ["web", "ClusterIP", "10.96.0.9", "<none>", "80/TCP"],
    ]


@pytest.mark.parametrize("born", ["nonsense", None])
def test_an_unreadable_age_is_unknown(born: str | None) -> None:
    """No time, no age, no accident."""
    value = {"metadata": {"name": "web", "creationTimestamp": born}, "spec": {}}

    assert b'"<unknown>"' in table(SERVICE, [value], {})

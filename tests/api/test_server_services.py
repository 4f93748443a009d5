# SPDX-License-Identifier: Apache-2.0
"""What the server gives a Service, and which Services it refuses."""

import aiohttp
import pytest

from kproxy.lab.apiserver import ApiServer
from tests.api.wire import SHOP_SERVICES, JsonObject, endpoint_slice, service

SHOP_SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


async def create(http: aiohttp.ClientSession, value: JsonObject) -> tuple[int, JsonObject]:
    """POST a Service and return status and body."""
    async with http.post(SHOP_SERVICES, json=value) as answer:
        return answer.status, await answer.json()


async def test_defaults(http: aiohttp.ClientSession) -> None:
    """A bare Service gets what a real server gives it (core/v1/defaults.go, SetDefaults_Service; KEP-3070)."""
    spec = (await create(http, service("web")))[1]["spec"]

    assert spec == {
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "clusterIP": "10.96.1.0",
        "clusterIPs": ["10.96.1.0"],
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "internalTrafficPolicy": "Cluster",
    }


@pytest.mark.parametrize(
    ("given", "families"),
    [
        ({"ipFamilyPolicy": "PreferDualStack"}, ["IPv4", "IPv6"]),
        ({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}, ["IPv6", "IPv4"]),
        ({"ipFamilies": ["IPv6"]}, ["IPv6"]),
        ({"clusterIP": "fd00:10:96::77"}, ["IPv6"]),
    ],
)
async def test_families(http: aiohttp.ClientSession, given: JsonObject, families: list[str]) -> None:
    """Families follow policy and addresses (pkg/registry/core/service/storage/alloc.go, initIPFamilyFields)."""
    spec = (await create(http, service("web", **given)))[1]["spec"]

    assert spec["ipFamilies"] == families
    assert ["IPv6" if ":" in address else "IPv4" for address in spec["clusterIPs"]] == families
    assert spec["clusterIP"] == spec["clusterIPs"][0]


async def test_a_cluster_of_one_family_stays_in_it() -> None:
    """PreferDualStack takes what there is, RequireDualStack does not."""
    async with ApiServer(cidrs=("10.0.0.0/24",)) as server, aiohttp.ClientSession(server.url) as http:
        assert (await create(http, service("a", ipFamilyPolicy="PreferDualStack")))[1]["spec"]["ipFamilies"] == ["IPv4"]
        status, body = await create(http, service("b", ipFamilyPolicy="RequireDualStack"))

    assert status == 422
    assert "this cluster is not configured for dual-stack services" in body["message"]


async def test_headless_and_external_names_get_no_address(http: aiohttp.ClientSession) -> None:
    """Neither kind is given a ClusterIP (alloc.go, allocClusterIPs)."""
    headless = (await create(http, service("a", clusterIP="None", selector={"app": "a"})))[1]["spec"]
    external = (await create(http, service("b", type="ExternalName", externalName="example.com")))[1]["spec"]

    assert headless["clusterIPs"] == ["None"]
    assert "clusterIP" not in external


async def test_node_ports_are_given_and_kept(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Ports of the range, one number for both protocols of a port, kept through updates that leave them out.

    Source: alloc.go, txnAllocNodePorts; storage.go, patchAllocatedValues.
    """
    ports = [{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}, {"name": "m", "port": 9153}]
    spec = (await create(http, service("dns", type="NodePort", ports=ports)))[1]["spec"]
    given = [port["nodePort"] for port in spec["ports"]]

    assert given[0] == given[1] != given[2]
    assert all(30_000 <= number < 32_768 for number in given)
    async with http.put(f"{SHOP_SERVICES}/dns", json=service("dns", type="NodePort", ports=ports)) as answer:
        again = (await answer.json())["spec"]
    assert [port["nodePort"] for port in again["ports"]] == given
    assert again["clusterIP"] == spec["clusterIP"]


async def test_a_local_load_balancer_gets_a_health_port(http: aiohttp.ClientSession) -> None:
    """HealthCheckNodePort comes with Local (alloc.go, allocHealthCheckNodePort)."""
    spec = (await create(http, service("web", type="LoadBalancer", externalTrafficPolicy="Local")))[1]["spec"]

    assert 30_000 <= spec["healthCheckNodePort"] < 32_768
    assert spec["allocateLoadBalancerNodePorts"] is True
    assert spec["healthCheckNodePort"] != spec["ports"][0]["nodePort"]


async def test_what_is_freed_can_be_had_again(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """A deleted Service gives its address and ports back."""
    wanted: JsonObject = {"clusterIP": "10.96.0.50", "type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}
    assert (await create(http, service("a", **wanted)))[0] == 201
    assert (await create(http, service("b", **wanted)))[0] == 422
    server.delete("Service", "a")
    assert (await create(http, service("b", **wanted)))[0] == 201


REFUSED = [
    ({"clusterIP": "10.96.0.10"}, "spec.clusterIPs", "failed to allocate IP 10.96.0.10: provided IP is already allocated"),
    ({"clusterIP": "192.0.2.1"}, "spec.clusterIPs", "the provided network does not match the current range"),
    ({"clusterIP": "web"}, "spec.clusterIPs[0]", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
    (
        {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30010}]},
        "spec.ports[0].nodePort",
        "Invalid value: 30010: provided port is already allocated",
    ),
    (
        {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]},
        "spec.ports[0].nodePort",
        "provided port is not in the valid range. The range of valid ports is 30000-32767",
    ),
    ({"ports": []}, "spec.ports", "Required value"),
    ({"ports": [{"port": 0}]}, "spec.ports[0].port", "Invalid value: 0: must be between 1 and 65535, inclusive"),
    ({"ports": [{"port": 80}, {"port": 81}]}, "spec.ports[0].name", "Required value"),
    ({"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]}, "spec.ports[1].name", 'Duplicate value: "a"'),
    (
        {"ports": [{"port": 80, "protocol": "QUIC"}]},
        "spec.ports[0].protocol",
        'Unsupported value: "QUIC": supported values: "SCTP", "TCP", "UDP"',
    ),
    ({"type": "Magic"}, "spec.type", 'supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'),
    ({"sessionAffinity": "Cookie"}, "spec.sessionAffinity", 'Unsupported value: "Cookie"'),
    (
        {"clusterIPs": ["10.96.0.11", "fd00:10:96::11"]},
        "spec.ipFamilyPolicy",
        "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified",
    ),
]


@pytest.mark.parametrize(("given", "field", "words"), REFUSED, ids=[field for _, field, _ in REFUSED])
async def test_services_that_are_refused(
    server: ApiServer, http: aiohttp.ClientSession, given: JsonObject, field: str, words: str
) -> None:
    """422 with the field and upstream's words.

    Source: pkg/apis/core/validation/validation.go, ValidateService; pkg/registry/core/service/{ip,port}allocator.
    """
    taken = service("first", clusterIP="10.96.0.10", type="NodePort", ports=[{"port": 80, "nodePort": 30010}])
    assert (await create(http, taken))[0] == 201

    status, body = await create(http, service("web", **given))

    assert (status, body["reason"], body["details"]["kind"]) == (422, "Invalid", "Service")
    assert [cause for cause in body["details"]["causes"] if cause["field"] == field and words in cause["message"]]
    assert body["message"].startswith('Service "web" is invalid: ')
    assert server.get("Service", "web") is None


async def test_names_are_dns_labels(http: aiohttp.ClientSession) -> None:
    """A Service's name begins with a letter, a slice's need not (apimachinery pkg/util/validation, IsDNS1035Label)."""
    status, body = await create(http, service("9web"))
    assert (status, body["details"]["causes"][0]["field"]) == (422, "metadata.name")
    assert 'Invalid value: "9web": a DNS-1035 label must consist of' in body["message"]

    async with http.post(SHOP_SLICES, json=endpoint_slice("9web")) as answer:
        assert answer.status == 201


async def test_the_address_of_a_service_is_for_life(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """ClusterIPs[0] may not change once set (validation.go, validateUpgradeDowngradeClusterIPs)."""
    server.put(service("web", clusterIP="10.96.0.20"))

    async with http.put(f"{SHOP_SERVICES}/web", json=service("web", clusterIP="10.96.0.21")) as answer:
        body = await answer.json()

    assert answer.status == 422
    assert "may not change once set" in body["message"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"addressType": ""}, "addressType"),
        ({"addressType": "IPX"}, "addressType"),
        ({"endpoints": [{"addresses": []}]}, "endpoints[0].addresses"),
        ({"endpoints": [{"addresses": ["fd00::1"]}]}, "endpoints[0].addresses[0]"),
        ({"endpoints": [{"addresses": ["10.1.0.1"]}] * 1001}, "endpoints"),
        ({"ports": [{"port": 1}, {"port": 2}]}, "ports[1].name"),
    ],
)
async def test_slices_that_are_refused(http: aiohttp.ClientSession, change: JsonObject, field: str) -> None:
    """422 with the field (pkg/apis/discovery/validation/validation.go, ValidateEndpointSlice)."""
    async with http.post(SHOP_SLICES, json=endpoint_slice("web-1", "10.1.0.1") | change) as answer:
        body = await answer.json()

    assert answer.status == 422
    assert field in [cause["field"] for cause in body["details"]["causes"]]


@pytest.mark.parametrize("kind", ["ClusterIP", "ExternalName"])
async def test_a_change_of_type_drops_what_no_longer_applies(
    server: ApiServer, http: aiohttp.ClientSession, kind: str
) -> None:
    """Node ports, health port and external policy go with the load balancer, the address with the type ExternalName.

    Source: pkg/registry/core/service/strategy.go, dropTypeDependentFields.
    """
    server.put(service("web", type="LoadBalancer", externalTrafficPolicy="Local", ipFamilyPolicy="PreferDualStack"))
    patch = {"spec": {"type": kind, "externalName": "example.com"}}
    headers = {"Content-Type": "application/merge-patch+json"}

    async with http.patch(f"{SHOP_SERVICES}/web", json=patch, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        spec = (await answer.json())["spec"]

    assert "nodePort" not in spec["ports"][0]
    assert not {"healthCheckNodePort", "externalTrafficPolicy", "allocateLoadBalancerNodePorts"} & set(spec)
    assert ("clusterIP" in spec, "ipFamilies" in spec) == ((True, True) if kind == "ClusterIP" else (False, False))


async def test_families_can_be_added_and_given_up(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """PreferDualStack adds the second address to a living Service, SingleStack takes it away; the first one stays.

    Source: pkg/registry/core/service/storage/alloc.go, initIPFamilyFields.
    """
    first = server.put(service("web"))["spec"]["clusterIP"]
    headers = {"Content-Type": "application/merge-patch+json"}
    seen = []
    for policy in ("PreferDualStack", "SingleStack"):
        patch = {"spec": {"ipFamilyPolicy": policy}}
        async with http.patch(f"{SHOP_SERVICES}/web", json=patch, headers=headers) as answer:
            spec = (await answer.json())["spec"]
        seen.append((spec["clusterIPs"][0], len(spec["clusterIPs"]), spec["ipFamilies"]))

    assert seen == [(first, 2, ["IPv4", "IPv6"]), (first, 1, ["IPv4"])]


async def test_another_service_cidr_gives_more_addresses(http: aiohttp.ClientSession) -> None:
    """A ServiceCIDR is a range as soon as it exists, and none any more when it is deleted.

    Source: pkg/registry/core/service/ipallocator/cidrallocator.go, MetaAllocator.
    """
    cidrs = "/apis/networking.k8s.io/v1/servicecidrs"
    assert (await create(http, service("a", clusterIP="192.168.7.7")))[0] == 422
    async with http.post(cidrs, json={"metadata": {"name": "more"}, "spec": {"cidrs": ["192.168.7.0/24"]}}) as answer:
        assert answer.status == 201
    assert (await create(http, service("a", clusterIP="192.168.7.7")))[0] == 201
    async with http.delete(f"{cidrs}/more") as answer:
        assert answer.status == 200
    assert (await create(http, service("b", clusterIP="192.168.7.8")))[0] == 422

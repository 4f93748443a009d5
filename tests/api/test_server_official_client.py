# SPDX-License-Identifier: Apache-2.0
"""The official Kubernetes client against the lab's server, so that no misreading of ours sits on both sides."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, dynamic, watch
from kubernetes.informer import SharedInformer

from kproxy.lab.apiserver import ApiServer
from kproxy.lab.apiserver.background import Background, in_background
from tests.api.wire import endpoint_slice, node, service

# these parts of the client carry no annotations
WATCH: Any = watch.Watch
DYNAMIC: Any = dynamic.DynamicClient
INFORMER: Any = SharedInformer


def typed(group: Any, api: client.ApiClient) -> Any:
    """Return a typed API as Any: its models have every field optional, and a wall of asserts would prove nothing."""
    return group(api)


@pytest.fixture
def lab() -> Iterator[Background]:
    """Run a server on a thread of its own: the client blocks."""
    with in_background(ApiServer(bookmark_period=0.2, patience=0.1)) as background:
        yield background


@pytest.fixture
def api(lab: Background) -> Iterator[client.ApiClient]:
    """Return the official client's connection."""
    configuration = client.Configuration()
    configuration.host = lab.url
    configuration.retries = False
    with client.ApiClient(configuration) as connection:
        yield connection


def test_lists(lab: Background, api: client.ApiClient) -> None:
    """Typed lists of every kind a service proxy reads."""
    lab.call(lab.server.put, service("web", type="LoadBalancer", ipFamilyPolicy="PreferDualStack"))
    lab.call(lab.server.put, endpoint_slice("web-1", "10.1.0.1"))
    lab.call(lab.server.put, node("n1", zone="a"))

    services = typed(client.CoreV1Api, api).list_service_for_all_namespaces(label_selector="!hidden").items
    slices = typed(client.DiscoveryV1Api, api).list_namespaced_endpoint_slice(namespace="default").items
    nodes = typed(client.CoreV1Api, api).list_node(field_selector="metadata.name=n1").items
    cidrs = typed(client.NetworkingV1Api, api).list_service_cidr().items

    assert [(item.metadata.name, item.spec.type, len(item.spec.cluster_ips)) for item in services] == [
        ("web", "LoadBalancer", 2)
    ]
    assert slices[0].endpoints[0].addresses == ["10.1.0.1"]
    assert nodes[0].metadata.labels == {"zone": "a"}
    assert cidrs[0].spec.cidrs == ["10.96.0.0/16", "fd00:10:96::/112"]


def test_paged_lists(lab: Background, api: client.ApiClient) -> None:
    """Pages by limit and continue; an expired token is an ApiException 410 whose body carries a fresh one."""
    for number in range(5):
        lab.call(lab.server.put, service(f"s{number}"))
    core = typed(client.CoreV1Api, api)

    first = core.list_namespaced_service(namespace="default", limit=2)
    second = core.list_namespaced_service(namespace="default", limit=2, _continue=first.metadata.var_continue)
    assert [item.metadata.name for item in first.items + second.items] == ["s0", "s1", "s2", "s3"]
    assert (first.metadata.remaining_item_count, second.metadata.remaining_item_count) == (3, 1)

    lab.call(lab.server.compact)
    with pytest.raises(client.ApiException) as caught:
        core.list_namespaced_service(namespace="default", limit=2, _continue=second.metadata.var_continue)
    assert caught.value.status == 410
    assert '"continue":"' in str(caught.value.body)


def test_watches(lab: Background, api: client.ApiClient) -> None:
    """A typed watch from a list's version, until the first bookmark."""
    core = typed(client.CoreV1Api, api)
    version = core.list_service_for_all_namespaces().metadata.resource_version
    lab.call(lab.server.put, service("web"))
    lab.call(lab.server.put, service("web", sessionAffinity="ClientIP"))
    lab.call(lab.server.delete, "Service", "web")

    watcher = WATCH()
    query = {"resource_version": version, "timeout_seconds": 10, "allow_watch_bookmarks": True}
    changes = []
    for event in watcher.stream(core.list_service_for_all_namespaces, **query):
        if event["type"] == "BOOKMARK":
            watcher.stop()
        else:
            changes.append((event["type"], event["object"].metadata.name))

    assert changes == [("ADDED", "web"), ("MODIFIED", "web"), ("DELETED", "web")]
    assert watcher.resource_version == str(lab.server.store.version)


def test_streaming_lists(lab: Background, api: client.ApiClient) -> None:
    """The client's own parameters for a streaming list work; the end is marked."""
    for number in range(3):
        lab.call(lab.server.put, service(f"s{number}"))

    stream = WATCH().stream(
        typed(client.CoreV1Api, api).list_service_for_all_namespaces,
        send_initial_events=True,
        resource_version_match="NotOlderThan",
        allow_watch_bookmarks=True,
        timeout_seconds=1,
    )
    events = list(stream)

    assert [event["type"] for event in events[:4]] == ["ADDED", "ADDED", "ADDED", "BOOKMARK"]
    assert events[3]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_an_expired_watch_raises(lab: Background, api: client.ApiClient) -> None:
    """The ERROR event reaches the caller as 410."""
    lab.call(lab.server.put, service("web"))
    lab.call(lab.server.compact)

    with pytest.raises(client.ApiException) as caught:
        list(
            WATCH().stream(
                typed(client.CoreV1Api, api).list_service_for_all_namespaces, resource_version="2", timeout_seconds=1
            )
        )
    assert caught.value.status == 410
    assert "too old resource version" in str(caught.value.reason)


def test_writes(lab: Background, api: client.ApiClient) -> None:
    """Create, read, patch, replace, conflict, delete."""
    core = typed(client.CoreV1Api, api)
    body = client.V1Service(
        metadata=client.V1ObjectMeta(name="web"),
        spec=client.V1ServiceSpec(ports=[client.V1ServicePort(port=80)], type="NodePort"),
    )

    created = core.create_namespaced_service(namespace="default", body=body)
    assert created.spec.ports[0].node_port >= 30_000
    patched = core.patch_namespaced_service(name="web", namespace="default", body={"spec": {"sessionAffinity": "ClientIP"}})
    assert patched.spec.session_affinity_config.client_ip.timeout_seconds == 10_800
    with pytest.raises(client.ApiException) as caught:
        core.replace_namespaced_service(name="web", namespace="default", body=created)
    assert caught.value.status == 409
    patched.metadata.labels = {"app": "web"}
    assert core.replace_namespaced_service(name="web", namespace="default", body=patched).metadata.labels == {"app": "web"}
    assert core.delete_namespaced_service(name="web", namespace="default").metadata.name == "web"
    with pytest.raises(client.ApiException) as caught:
        core.read_namespaced_service(name="web", namespace="default")
    assert caught.value.status == 404
    assert lab.server.get("Service", "web") is None


def test_status_and_slices(lab: Background, api: client.ApiClient) -> None:
    """A load balancer's status through its own door; a slice scaled by a JSON patch."""
    core, discovery = typed(client.CoreV1Api, api), typed(client.DiscoveryV1Api, api)
    lab.call(lab.server.put, service("web", type="LoadBalancer"))
    lab.call(lab.server.put, endpoint_slice("web-1", "10.1.0.1"))

    status = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
    served = core.patch_namespaced_service_status(name="web", namespace="default", body=status)
    assert served.status.load_balancer.ingress[0].ip_mode == "VIP"
    step = [{"op": "add", "path": "/endpoints/-", "value": {"addresses": ["10.1.0.2"]}}]
    scaled = discovery.patch_namespaced_endpoint_slice(name="web-1", namespace="default", body=step)
    assert [endpoint.addresses for endpoint in scaled.endpoints] == [["10.1.0.1"], ["10.1.0.2"]]


def test_discovery(api: client.ApiClient) -> None:
    """Version, groups and resources."""
    assert typed(client.VersionApi, api).get_code().major == "1"
    assert "discovery.k8s.io" in [group.name for group in typed(client.ApisApi, api).get_api_versions().groups]
    assert "services" in [item.name for item in typed(client.CoreV1Api, api).get_api_resources().resources]


def test_the_dynamic_client_finds_its_way(api: client.ApiClient, tmp_path: Path) -> None:
    """The dynamic client knows nothing but the discovery documents: create, list, apply and watch by them."""
    finder: Any = DYNAMIC(api, cache_file=str(tmp_path / "discovery"))
    services = finder.resources.get(api_version="v1", kind="Service")
    slices = finder.resources.get(api_version="discovery.k8s.io/v1", kind="EndpointSlice")

    assert services.create(body=service("web"), namespace="default").spec.clusterIP.startswith("10.96.")
    slices.create(body=endpoint_slice("web-1", "10.1.0.1"), namespace="default")
    services.server_side_apply(body=service("more"), namespace="default", field_manager="test")

    assert [item.metadata.name for item in slices.get(namespace="default").items] == ["web-1"]
    assert [event["object"].metadata.name for event in services.watch(timeout=1)] == ["more", "web"]


def test_an_informer_survives_a_compaction(lab: Background, api: client.ApiClient) -> None:
    """The client's informer lists, watches, and lists again when its version is too old: its cache is right in the end."""
    lab.call(lab.server.put, service("old"))
    informer: Any = INFORMER(list_func=typed(client.CoreV1Api, api).list_service_for_all_namespaces)
    informer.start()
    try:
        until(lambda: informer.cache.list_keys() == ["default/old"])
        until(lambda: lab.call(lambda: lab.server.watches) == 1)

        def meanwhile() -> None:
            lab.server.delete("Service", "old")
            lab.server.put(service("new"))
            lab.server.compact()
            lab.server.cut_watches()

        lab.call(meanwhile)
        until(lambda: informer.cache.list_keys() == ["default/new"])
        until(lambda: lab.call(lambda: lab.server.watches) == 1)
        lab.call(lab.server.put, service("later"))
        until(lambda: sorted(informer.cache.list_keys()) == ["default/later", "default/new"])
    finally:
        informer.stop()


def until(condition: Callable[[], bool]) -> None:
    """Wait for something to become true, ten seconds at most."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.02)

# SPDX-License-Identifier: Apache-2.0
"""Whatever a client sends, it gets a Status and nothing that was stored suffers."""

import copy
import io
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import aiohttp
import hypothesis.strategies as some
import pytest
from hypothesis import given, settings

from kproxy.lab.apiserver import ApiServer
from kproxy.lab.apiserver.patching import APPLY, JSON_PATCH, MERGE_PATCH, STRATEGIC
from kproxy.lab.apiserver.resources import ENDPOINT_SLICE, NODE, SERVICE, SERVICE_CIDR
from kproxy.lab.apiserver.status import ApiError
from kproxy.lab.apiserver.target import Target
from tests.api.wire import SHOP_SERVICES, JsonObject, endpoint_slice, node, service

JUNK = some.recursive(
    some.none() | some.booleans() | some.integers(-5, 70_000) | some.text(max_size=6),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
CIDR = {
    "kind": "ServiceCIDR",
    "apiVersion": "networking.k8s.io/v1",
    "metadata": {"name": "c"},
    "spec": {"cidrs": ["10.9.0.0/16"]},
}
SOUND = (
    (Target(SERVICE, "default", "web"), service("web", type="LoadBalancer", externalIPs=["192.0.2.9"], selector={"a": "b"})),
    (Target(ENDPOINT_SLICE, "default", "web-1"), endpoint_slice("web-1", "10.1.0.1")),
    (Target(NODE, "", "n1"), node("n1", zone="a")),
    (Target(SERVICE_CIDR, "", "c"), CIDR),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in inner for found in ((*path, key), *places(item, (*path, key)))]


@some.composite
def spoilt(draw: some.DrawFn) -> tuple[Target, JsonObject]:
    """Draw a sound object with one or two places replaced by junk."""
    target, sound = draw(some.sampled_from(SOUND))
    value: JsonObject = copy.deepcopy(sound)
    for _ in range(draw(some.integers(1, 2))):
        *way, last = draw(some.sampled_from(places(value) or [("spec",)]))
        inner: Any = value
        for key in way:
            inner = inner[key]
        inner[last] = draw(JUNK)
    return target, value


def refusal(act: Callable[[], object]) -> int | None:
    """Do something; return the code with which it was refused."""
    try:
        act()
    except ApiError as error:
        return error.code
    return None


@settings(deadline=None, max_examples=300)
@given(spoilt())
def test_spoilt_objects_are_refused_or_taken_whole(drawn: tuple[Target, JsonObject]) -> None:
    """Create and replace either work or answer a Status below 500, and a refusal changes nothing."""
    target, value = drawn
    server = ApiServer()
    for act in (server.writer.create, server.writer.replace):
        before = server.store.version
        if (code := refusal(partial(act, target, copy.deepcopy(value)))) is not None:
            assert 400 <= code < 500
            assert server.store.version == before
        for resource in (SERVICE, ENDPOINT_SLICE, NODE, SERVICE_CIDR):
            for stored in server.store.of(resource).objects.values():
                assert json.loads(resource.head + stored.body)["metadata"]["name"]


@settings(deadline=None, max_examples=300)
@given(some.sampled_from(SOUND), some.sampled_from((JSON_PATCH, MERGE_PATCH, STRATEGIC, APPLY)), spoilt(), JUNK)
def test_spoilt_patches_are_refused_or_taken_whole(
    sound: tuple[Target, JsonObject], kind: str, drawn: tuple[Target, JsonObject], junk: Any
) -> None:
    """So do patches, whether they resemble an object or nothing at all."""
    target, value = sound
    server = ApiServer()
    server.put(value)
    for patch in (drawn[1], junk, [junk], [{"op": "add", "path": "/spec", "value": junk}]):
        before = server.store.version
        body = json.dumps(patch).encode()
        if (code := refusal(partial(server.writer.patch, target, kind, body, manager="me"))) is not None:
            assert 400 <= code < 500
            assert server.store.version == before


async def test_a_body_may_be_too_large(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """413 with a Status above 3 MiB (apiserver pkg/endpoints/handlers/rest.go, limitedReadBody)."""
    body = io.BytesIO(b'{"metadata":{"name":"' + b"x" * (3 << 20) + b'"}}')

    async with http.post(SHOP_SERVICES, data=body, headers={"Content-Type": "application/json"}) as answer:
        assert (answer.status, (await answer.json())["reason"]) == (413, "RequestEntityTooLarge")


async def test_no_address_left_is_the_servers_fault() -> None:
    """500 InternalError (pkg/registry/core/service/storage/alloc.go, allocIPs)."""
    async with ApiServer(cidrs=("10.0.0.0/30",)) as server, aiohttp.ClientSession(server.url) as small:
        codes = []
        for name in ("a", "b", "c"):
            async with small.post(SHOP_SERVICES, json=service(name)) as answer:
                codes.append(answer.status)
                body = await answer.json()

    assert codes == [201, 201, 500]
    assert "failed to allocate a serviceIP: range is full" in body["message"]


@pytest.mark.parametrize("path", ["/api/v1/namespaces/default/services/web%2F..", "/api//v1/services", "/api/v1/services/"])
async def test_odd_paths(http: aiohttp.ClientSession, path: str) -> None:
    """Odd paths are found or not, and never an accident."""
    async with http.get(path) as answer:
        assert answer.status in (200, 404)
        assert (await answer.json())["kind"] in ("ServiceList", "Status")

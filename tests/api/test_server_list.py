# SPDX-License-Identifier: Apache-2.0
"""Lists: shapes, versions and pages."""

import asyncio
import base64
import json

import aiohttp
import pytest

from kproxy.lab.apiserver import ApiServer
from tests.api.wire import NODES, SERVICES, SLICES, endpoint_slice, get, names, node, service


async def test_a_list_names_its_kind_and_its_items_do_not(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Items of a typed list carry neither kind nor apiVersion (kubernetes/kubernetes issues 3030 and 98925, still open)."""
    server.put(service("web"))

    status, body = await get(http, SERVICES)

    assert status == 200
    assert (body["kind"], body["apiVersion"]) == ("ServiceList", "v1")
    assert body["metadata"] == {"resourceVersion": str(server.store.version)}
    assert set(body["items"][0]) == {"metadata", "spec", "status"}


async def test_an_empty_list_has_an_empty_array(http: aiohttp.ClientSession) -> None:
    """``items`` is never null (storage/cacher/cacher.go, GetList: "never return a nil Items pointer")."""
    assert (await get(http, SLICES))[1]["items"] == []


async def test_lists_are_ordered_by_namespace_and_name(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Keys sort as etcd sorts them: by namespace, then by name (storage/util.go, NamespaceKeyFunc)."""
    for namespace, name in (("b", "a"), ("a", "z"), ("a", "b"), ("a-b", "a")):
        server.put(service(name, namespace))

    body = (await get(http, SERVICES))[1]

    found = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in body["items"]]
    assert found == [("a-b", "a"), ("a", "b"), ("a", "z"), ("b", "a")]


async def test_a_namespace_narrows_a_list(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """The namespace of the path is the only one listed, also where another one begins with the same letters."""
    for namespace in ("shop", "shop-2", "sho"):
        server.put(service("web", namespace))

    body = (await get(http, "/api/v1/namespaces/shop/services"))[1]

    assert [item["metadata"]["namespace"] for item in body["items"]] == ["shop"]


async def test_pages_add_up_to_the_list_at_one_version(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """All pages show the first page's version, whatever happens between them; remainingItemCount counts what is left.

    Source: API concepts, "Retrieving large results sets in chunks"; storage/continue.go, PrepareContinueToken.
    """
    for number in range(7):
        server.put(service(f"s{number}"))
    first = (await get(http, SERVICES, limit="3"))[1]
    server.put(service("s99"))
    server.delete("Service", "s5")
    server.put(service("s6", sessionAffinity="ClientIP"))

    second = (await get(http, SERVICES, limit="3", **{"continue": first["metadata"]["continue"]}))[1]
    third = (await get(http, SERVICES, limit="3", **{"continue": second["metadata"]["continue"]}))[1]

    assert names(first) + names(second) + names(third) == [f"s{number}" for number in range(7)]
    assert [page["metadata"].get("remainingItemCount") for page in (first, second, third)] == [4, 1, None]
    assert {page["metadata"]["resourceVersion"] for page in (first, second, third)} == {first["metadata"]["resourceVersion"]}
    assert "continue" not in third["metadata"]
    assert third["items"][0]["spec"]["sessionAffinity"] == "None"


async def test_pages_of_a_selection_hide_how_many_remain(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """With a selector no remainingItemCount is told (storage/continue.go: only "if the predicate is empty")."""
    for number in range(6):
        server.put(service(f"s{number}", labels={"odd": str(number % 2)}))

    first = (await get(http, SERVICES, limit="2", labelSelector="odd=1"))[1]
    second = (await get(http, SERVICES, limit="2", labelSelector="odd=1", **{"continue": first["metadata"]["continue"]}))[1]

    assert names(first) + names(second) == ["s1", "s3", "s5"]
    assert "remainingItemCount" not in first["metadata"]


async def test_a_token_is_upstreams(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """A token is unpadded base64url of ``v``, ``rv`` and the key after the last one.

    Source: storage/continue.go, EncodeContinue.
    """
    for name in ("a", "b"):
        server.put(service(name))
    version = server.store.version

    token = (await get(http, SERVICES, limit="1"))[1]["metadata"]["continue"]

    decoded = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    assert decoded == {"v": "meta.k8s.io/v1", "rv": version, "start": "default/a\0"}


async def test_an_expired_token_comes_back_with_a_fresh_one(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """410 Expired carries a token that goes on inconsistently, at the newest version.

    Source: storage/etcd3/errors.go, handleCompactedErrorForPaging: resourceVersion -1.
    """
    for name in ("a", "b", "c"):
        server.put(service(name))
    token = (await get(http, SERVICES, limit="1"))[1]["metadata"]["continue"]
    server.put(service("d"))
    server.compact()

    status, body = await get(http, SERVICES, limit="1", **{"continue": token})

    assert (status, body["reason"], body["code"]) == (410, "Expired", 410)
    assert "or use the continue token in this response" in body["message"]
    status, rest = await get(http, SERVICES, **{"continue": body["metadata"]["continue"]})
    assert (status, names(rest)) == (200, ["b", "c", "d"])
    assert rest["metadata"]["resourceVersion"] == str(server.store.version)


@pytest.mark.parametrize("token", ["nonsense!", "bm9uc2Vuc2U", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MCwic3RhcnQiOiJhIn0"])
async def test_a_bad_token_is_refused(http: aiohttp.ClientSession, token: str) -> None:
    """What is no token of ours is a bad request (storage/interfaces.go, ValidateListOptions)."""
    status, body = await get(http, SERVICES, limit="1", **{"continue": token})

    assert (status, body["reason"]) == (400, "BadRequest")
    assert body["message"].startswith("invalid continue token: continue key is not valid")


async def test_a_token_and_a_version_exclude_each_other(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """A version beside a token is refused, 0 is let pass (storage/interfaces.go, ValidateListOptions)."""
    for name in ("a", "b"):
        server.put(service(name))
    token = (await get(http, SERVICES, limit="1"))[1]["metadata"]["continue"]

    assert (await get(http, SERVICES, resourceVersion="0", **{"continue": token}))[0] == 200
    status, body = await get(http, SERVICES, resourceVersion="2", **{"continue": token})
    assert (status, body["message"]) == (400, "specifying resource version is not allowed when using continue")


async def test_an_exact_version_shows_the_past(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """resourceVersionMatch=Exact answers as of that version (API concepts, "Semantics for get and list")."""
    server.put(service("a"))
    then = server.store.version
    server.put(service("b"))
    server.delete("Service", "a")

    body = (await get(http, SERVICES, resourceVersion=str(then), resourceVersionMatch="Exact"))[1]

    assert (names(body), body["metadata"]["resourceVersion"]) == (["a"], str(then))


async def test_a_limit_makes_a_version_exact(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """Without a match, limit and a version mean exactly that version: the legacy rule (cacher/delegator/interface.go)."""
    server.put(service("a"))
    then = server.store.version
    server.put(service("b"))

    assert names((await get(http, SERVICES, resourceVersion=str(then), limit="5"))[1]) == ["a"]
    assert names((await get(http, SERVICES, resourceVersion=str(then)))[1]) == ["a", "b"]


async def test_the_limit_is_ignored_at_any_version(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """resourceVersion=0 lists all, whatever the limit (storage/cacher/cacher.go, computeListLimit)."""
    for name in ("a", "b", "c"):
        server.put(service(name))

    assert names((await get(http, SERVICES, resourceVersion="0", limit="1"))[1]) == ["a", "b", "c"]


async def test_a_forgotten_exact_version_is_gone(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """An exact version before the compaction is 410 Expired (storage/etcd3/errors.go, interpretListError)."""
    server.put(service("a"))
    then = server.store.version
    server.compact()

    status, body = await get(http, SERVICES, resourceVersion=str(then), resourceVersionMatch="Exact")

    assert (status, body["reason"], body["status"], body["kind"]) == (410, "Expired", "Failure", "Status")
    assert body["message"] == "The resourceVersion for the provided list is too old."


async def test_a_version_that_comes_is_waited_for() -> None:
    """NotOlderThan answers with the newest version once the one asked for exists."""
    async with ApiServer(patience=5) as server, aiohttp.ClientSession(server.url) as http:
        future = server.store.version + 1
        query = {"resourceVersion": str(future), "resourceVersionMatch": "NotOlderThan"}
        asked = asyncio.create_task(get(http, SERVICES, **query))
        await asyncio.sleep(0.05)
        assert not asked.done()
        server.put(service("web"))
        status, body = await asked

    assert (status, names(body), body["metadata"]["resourceVersion"]) == (200, ["web"], str(future))


@pytest.mark.parametrize("match", ["NotOlderThan", "Exact"])
async def test_a_version_from_the_future_times_out(server: ApiServer, http: aiohttp.ClientSession, match: str) -> None:
    """It is waited for, then 504 with cause and Retry-After (storage/errors.go, NewTooLargeResourceVersionError)."""
    future = server.store.version + 5

    async with http.get(SERVICES, params={"resourceVersion": str(future), "resourceVersionMatch": match}) as answer:
        body = await answer.json()

    assert (answer.status, body["reason"]) == (504, "Timeout")
    assert body["message"] == f"Timeout: Too large resource version: {future}, current: {server.store.version}"
    assert body["details"]["causes"] == [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    assert (body["details"]["retryAfterSeconds"], answer.headers["Retry-After"]) == (1, "1")


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        (
            {"resourceVersionMatch": "Exact"},
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (
            {"resourceVersionMatch": "Exact", "resourceVersion": "0"},
            "resourceVersionMatch",
            'resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
        ),
        (
            {"resourceVersionMatch": "Sometimes", "resourceVersion": "5"},
            "resourceVersionMatch",
            'Unsupported value: "Sometimes": supported values: "Exact", "NotOlderThan", ""',
        ),
        ({"sendInitialEvents": "true"}, "sendInitialEvents", "sendInitialEvents is forbidden for list"),
    ],
)
async def test_options_that_contradict_are_invalid(
    http: aiohttp.ClientSession, query: dict[str, str], field: str, words: str
) -> None:
    """422 Invalid of ListOptions, words included.

    Source: apimachinery pkg/apis/meta/internalversion/validation, ValidateListOptions.
    """
    status, body = await get(http, SERVICES, **query)

    assert (status, body["reason"]) == (422, "Invalid")
    assert body["details"]["group"] == "meta.k8s.io"
    assert body["details"]["kind"] == "ListOptions"
    assert body["details"]["causes"][0]["field"] == field
    assert words in body["message"]
    assert body["message"].startswith(f'ListOptions.meta.k8s.io "" is invalid: {field}: ')


async def test_a_version_that_is_no_number_is_a_bad_request(http: aiohttp.ClientSession) -> None:
    """For a list: 400 (storage/interfaces.go, ValidateListOptions)."""
    status, body = await get(http, SERVICES, resourceVersion="old")

    assert (status, body["reason"]) == (400, "BadRequest")
    assert body["message"].endswith('strconv.ParseUint: parsing "old": invalid syntax')


async def test_a_long_list_is_compressed_for_who_accepts_it(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """From 128 KiB on, gzip where asked for (endpoints/handlers/responsewriters/writers.go, defaultGzipThresholdBytes)."""
    for number in range(100):
        server.put(endpoint_slice(f"s{number}", *(f"10.1.{number}.{host}" for host in range(40))))

    async with http.get(SLICES, headers={"Accept-Encoding": "gzip"}) as packed:
        assert packed.headers["Content-Encoding"] == "gzip"
        assert len((await packed.json())["items"]) == 100
    async with http.get(SLICES, headers={"Accept-Encoding": "identity"}) as plain:
        assert "Content-Encoding" not in plain.headers
        assert len(await plain.read()) > 128 * 1024
    async with http.get(NODES, headers={"Accept-Encoding": "gzip"}) as short:
        assert "Content-Encoding" not in short.headers


async def test_one_object_tells_its_kind(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """GET of one object, and 404 with details for none (apimachinery pkg/api/errors, NewNotFound)."""
    server.put(node("n1"))

    status, body = await get(http, f"{NODES}/n1")
    assert (status, body["kind"], body["apiVersion"]) == (200, "Node", "v1")

    status, body = await get(http, f"{SLICES.replace('/v1/', '/v1/namespaces/default/')}/none")
    assert status == 404
    assert body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'endpointslices.discovery.k8s.io "none" not found',
        "reason": "NotFound",
        "details": {"name": "none", "group": "discovery.k8s.io", "kind": "endpointslices"},
        "code": 404,
    }

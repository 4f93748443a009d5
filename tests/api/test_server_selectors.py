# SPDX-License-Identifier: Apache-2.0
"""Label and field selectors."""

import aiohttp
import pytest

from kproxy.lab.apiserver import ApiServer
from kproxy.lab.apiserver.resources import SERVICE
from kproxy.lab.apiserver.selectors import parse_fields, parse_labels
from tests.api.wire import NODES, SERVICES, SLICES, endpoint_slice, get, names, node, service

LABELS = {"app": "web", "tier": "front", "weight": "5"}


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("", True),
        ("app", True),
        ("!app", False),
        ("!other", True),
        ("! other", True),
        ("app=web", True),
        ("app==web", True),
        ("app=", False),
        ("app!=web", False),
        ("other!=web", True),
        ("app=web,tier=front", True),
        ("app = web , tier != back", True),
        ("app in (web,db)", True),
        ("app in ( web , db )", True),
        ("app notin (web,db)", False),
        ("other notin (web)", True),
        ("other in (web)", False),
        ("app in (db),tier", False),
        ("weight>4", True),
        ("weight>5", False),
        ("weight<6", True),
        ("app>1", False),
        ("!service.kubernetes.io/service-proxy-name", True),
        ("inside", False),
        ("notinside=x", False),
    ],
)
def test_label_selectors(selector: str, selected: bool) -> None:
    """Equality, sets, existence and comparison (apimachinery pkg/labels/selector.go, Requirement.Matches)."""
    assert all(term.matches(LABELS) for term in parse_labels(selector)) is selected


@pytest.mark.parametrize(
    "selector", ["app=web tier=front", "=web", "app in web", "app in (web", "a,,b", ",", "app=web,", "-a"]
)
async def test_label_selectors_that_do_not_parse(http: aiohttp.ClientSession, selector: str) -> None:
    """400 before anything is listed (pkg/labels/selector.go, Parse)."""
    status, body = await get(http, SERVICES, labelSelector=selector)

    assert (status, body["reason"]) == (400, "BadRequest")
    assert body["message"].startswith("unable to parse requirement: ")


@pytest.mark.parametrize(
    ("selector", "fields", "selected"),
    [
        ("spec.clusterIP!=None", {"spec.clusterIP": "None"}, False),
        ("spec.clusterIP!=None", {"spec.clusterIP": "10.0.0.1"}, True),
        ("spec.clusterIP!=None", {"spec.clusterIP": ""}, True),
        ("spec.clusterIP==None", {"spec.clusterIP": "None"}, True),
        ("metadata.name=a,metadata.namespace!=b", {"metadata.name": "a", "metadata.namespace": "c"}, True),
        ("metadata.name=a\\,b", {"metadata.name": "a,b"}, True),
        ("", {}, True),
        (",", {}, True),
    ],
)
def test_field_selectors(selector: str, fields: dict[str, str], selected: bool) -> None:
    """Equality with escapes (apimachinery pkg/fields/selector.go, parseSelector)."""
    assert all(term.matches(fields) for term in parse_fields(selector, SERVICE)) is selected


@pytest.mark.parametrize(
    ("path", "selector", "words"),
    [
        (SERVICES, "spec.magic=1", "field label not supported: spec.magic"),
        (NODES, "metadata.namespace=x", "field label not supported: metadata.namespace"),
        (
            SLICES,
            "addressType=IPv4",
            '"addressType" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        (SERVICES, "spec.clusterIP", "invalid selector: 'spec.clusterIP'; can't understand 'spec.clusterIP'"),
    ],
)
async def test_field_labels_that_are_not_supported(
    http: aiohttp.ClientSession, path: str, selector: str, words: str
) -> None:
    """400 in the kind's own words.

    Source: pkg/apis/core/v1/conversion.go, AddFieldLabelConversionsForService; apimachinery pkg/runtime/conversion.go,
    DefaultMetaV1FieldSelectorConversion.
    """
    for query in ({}, {"watch": "1"}):
        status, body = await get(http, path, fieldSelector=selector, **query)
        assert (status, body["reason"], body["message"]) == (400, "BadRequest", words)


async def test_the_proxys_own_selectors(server: ApiServer, http: aiohttp.ClientSession) -> None:
    """The selectors of a service proxy leave out headless and foreign Services, headless slices, other nodes."""
    server.put(service("web"))
    server.put(service("headless", clusterIP="None"))
    server.put(service("foreign", labels={"service.kubernetes.io/service-proxy-name": "other"}))
    server.put(endpoint_slice("web-1", "10.1.0.1"))
    headless = endpoint_slice("headless-1", "10.1.0.2")
    headless["metadata"]["labels"]["service.kubernetes.io/headless"] = ""
    server.put(headless)
    server.put(node("n1"))
    server.put(node("n2"))

    services = {"labelSelector": "!service.kubernetes.io/service-proxy-name", "fieldSelector": "spec.clusterIP!=None"}
    assert names((await get(http, SERVICES, **services))[1]) == ["web"]
    assert names((await get(http, SLICES, labelSelector="!service.kubernetes.io/headless"))[1]) == ["web-1"]
    assert names((await get(http, NODES, fieldSelector="metadata.name=n2"))[1]) == ["n2"]

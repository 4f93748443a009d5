# SPDX-License-Identifier: Apache-2.0
"""Manifest files: what they may look like, and what is said of those that are bad."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kproxy.objects.events import Kind
from kproxy.sources.manifests import Manifest, ManifestReader

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.10
  ports:
  - {name: http, port: 80}
"""
SLICE = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-1
  namespace: shop
  labels: {kubernetes.io/service-name: web}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- addresses: [10.1.0.1]
"""
WEB, WEB_1 = (Kind.SERVICE, "shop/web"), (Kind.ENDPOINT_SLICE, "shop/web-1")


def read(text: str | bytes) -> Manifest:
    """Read a file called a.yaml."""
    return ManifestReader("a.yaml").read(text.encode() if isinstance(text, str) else text)


def listed(*texts: str, kind: str = "List", bare: bool = False) -> str:
    """Return a list in JSON, as kubectl prints it."""
    items = [yaml.safe_load(text) for text in texts]
    for item in items if bare else ():
        del item["kind"], item["apiVersion"]
    return json.dumps({"apiVersion": "v1", "kind": kind, "items": items, "metadata": {"resourceVersion": ""}}, indent=2)


@pytest.mark.parametrize(
    "text",
    [
        SERVICE + "---\n" + SLICE,
        "---\n" + SERVICE + "--- # the slice\n" + SLICE + "---\n",
        "# a comment\n%YAML 1.1\n---\n" + SERVICE + "...\n---\n" + SLICE,
        "\ufeff" + SERVICE + "\r\n---\r\n" + SLICE,
        listed(SERVICE, SLICE),
        yaml.safe_dump(json.loads(listed(SERVICE, SLICE))),
        json.dumps([yaml.safe_load(SERVICE), yaml.safe_load(SLICE)]),
        json.dumps(yaml.safe_load(SERVICE)) + "\n---\n" + json.dumps(yaml.safe_load(SLICE)),
        listed(SERVICE, kind="ServiceList", bare=True) + "\n---\n" + SLICE,
        SERVICE + "---\nkind: Deployment\napiVersion: apps/v1\nmetadata: {name: web}\n---\n" + SLICE,
    ],
)
def test_every_usual_form_says_the_same(text: str) -> None:
    """YAML, JSON, several documents, lists of both kinds, foreign kinds in between."""
    manifest = read(text)
    assert not manifest.problems
    assert manifest.objects.keys() == {WEB, WEB_1}
    assert manifest.objects == read(SERVICE + "---\n" + SLICE).objects


def test_an_empty_file_says_nothing() -> None:
    """Nor does one of comments."""
    for text in ("", "\n", "---\n", "# nothing\n", "--- \n---\n", "kind: List\napiVersion: v1\nitems: []\n"):
        assert read(text) == Manifest({}, [])


def test_a_namespace_is_filled_in_where_one_belongs() -> None:
    """As kubectl does."""
    assert list(read("kind: Service\nmetadata: {name: web}\n").objects) == [(Kind.SERVICE, "default/web")]
    assert list(read("kind: Node\nmetadata: {name: n1, namespace: odd}\n").objects) == [(Kind.NODE, "n1")]


def test_values_are_read_as_kubernetes_reads_them() -> None:
    """No dates, no base-60 numbers; octal and underscored integers as in YAML 1.1."""
    manifest = read(
        "kind: Service\nmetadata:\n  name: web\n  creationTimestamp: 2026-01-01T00:00:00Z\n"
        "  annotations: {at: 12:30:45, day: 2026-01-01, version: 1.2.3, address: 10.0.0.1}\nspec: {ports: [{port: 0120}]}\n"
    )
    assert not manifest.problems
    (item,) = manifest.objects.values()
    assert item.metadata.creation_timestamp == "2026-01-01T00:00:00Z"
    assert item.metadata.annotations == {"at": "12:30:45", "day": "2026-01-01", "version": "1.2.3", "address": "10.0.0.1"}
    assert item.spec.ports[0].port == 80  # type: ignore[union-attr, index]


BAD: dict[str, tuple[str | bytes, tuple[Kind, str] | None, str, str]] = {
    "a field of the wrong type": (
        SERVICE.replace("port: 80", "port: eighty"),
        WEB,
        "a.yaml line 7: ",
        "`$.spec.ports[0].port`",
    ),
    "a label that is a number": (
        SLICE.replace("service-name: web", "service-name: 1"),
        WEB_1,
        "a.yaml line 6: ",
        "Expected `str`",
    ),
    "an older version": (SLICE.replace("io/v1", "io/v1beta1"), WEB_1, "a.yaml line 1: ", "make it discovery.k8s.io/v1"),
    "a spec that is a list": (
        SERVICE.replace("  ports", "- ports").replace("  clusterIP: 10.96.0.10\n", ""),
        WEB,
        "line 5",
        "object",
    ),
    "no name": (SERVICE.replace("name: web,", ""), None, "a.yaml line 3: ", "`name`"),
    "no metadata": ("kind: Service\n", None, "a.yaml line 1: ", "`metadata`"),
    "no kind": ("metadata: {name: web}\n", None, "a.yaml line 1: ", "kind and metadata are missing"),
    "a text": ("just a text\n", None, "a.yaml line 1: ", "this is no Kubernetes object"),
    "an item that is a text": ("kind: List\nitems:\n- a text\n", None, "a.yaml line 3: ", "this is no Kubernetes object"),
    "no YAML": (SERVICE.replace("shop}", "shop"), None, "a.yaml line 4: ", "mend the file"),
    "a tab": (SERVICE.replace("  clusterIP", "\tclusterIP"), None, "a.yaml line 5: ", "cannot start any token"),
    "a key twice": (SERVICE + "  ports: []\n", None, "a.yaml line 5: ", "'ports' is there twice"),
    "cut-off JSON": (listed(SERVICE)[:-40], None, "a.yaml line ", "mend the file"),
    "no text": (b"\xff\xfe\x00kind", None, "a.yaml line 1: ", "mend the file"),
    "an unknown tag": (
        "kind: Service\nmetadata: !!python/object:os.system {}\n",
        None,
        "a.yaml line 2: ",
        "could not determine a constructor",
    ),
    "a wrong tag": ("kind: Service\nmetadata: !!bool maybe\n", None, "a.yaml line 1: ", "KeyError"),
    "another wrong tag": ("kind: Service\nmetadata: !!timestamp x\n", None, "a.yaml line 1: ", "AttributeError"),
    "an unknown alias": ("kind: Service\nmetadata: *other\n", None, "a.yaml line 2: ", "undefined alias"),
    "a key that is a list": ("kind: Service\nmetadata: {name: web}\n? [a]\n: b\n", None, "a.yaml line 3: ", "unhashable"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_document_is_one_clear_sentence_and_the_others_count(what: str) -> None:
    """With the file, the line, and the object as far as it is known."""
    text, key, where, words = BAD[what]
    content = text if isinstance(text, bytes) else text.encode()
    (problem,) = read(content).problems
    assert problem.key == key
    assert where in problem.mend
    assert words in problem.mend
    assert "\n" not in problem.mend
    other = SERVICE.replace("web", "other").encode()
    beside = read(other + b"---\n" + content + b"\n---\n" + SLICE.replace("web-1", "last").encode())
    assert set(beside.objects) == {(Kind.SERVICE, "shop/other"), (Kind.ENDPOINT_SLICE, "shop/last")}
    assert len(beside.problems) == 1


def test_the_line_counts_from_the_beginning_of_the_file() -> None:
    """Also within a later document, and within a list."""
    bad = SERVICE.replace("port: 80", "port: eighty")
    assert read(SLICE + "---\n" + bad).problems[0].mend.startswith("a.yaml line 18: ")
    text = listed(SLICE, bad)
    line = text.splitlines().index('            "port": "eighty"') + 1
    assert read(text).problems[0].mend.startswith(f"a.yaml line {line}: ")


def test_an_object_that_is_there_twice_counts_once() -> None:
    """The first one, and the other is named."""
    manifest = read(SERVICE + "---\n" + SERVICE.replace("10.96.0.10", "10.96.0.11"))
    assert manifest.objects[WEB].spec.cluster_ip == "10.96.0.10"  # type: ignore[union-attr]
    assert [problem.key for problem in manifest.problems] == [WEB]


def test_only_what_changed_is_read_again() -> None:
    """An unchanged document yields the very same object."""
    reader = ManifestReader("a.yaml")
    before = reader.read(f"{SERVICE}---\n{SLICE}".encode()).objects
    after = reader.read(f"{SLICE}---\n{SERVICE.replace('80', '81')}".encode()).objects
    assert after[WEB_1] is before[WEB_1]
    assert after[WEB] != before[WEB]


@given(st.one_of(st.binary(max_size=200), st.text(alphabet="{}[]:-,!&*?|>'\"#%@ \n\tab01.", max_size=80).map(str.encode)))
def test_no_content_at_all_makes_the_reader_fail(content: bytes) -> None:
    """Whatever a file holds, it is objects and problems, one line each."""
    manifest = read(content)
    assert all("\n" not in problem.mend for problem in manifest.problems)

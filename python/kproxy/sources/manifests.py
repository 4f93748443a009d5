# SPDX-License-Identifier: Apache-2.0
"""Manifest files to objects: YAML or JSON, several documents, ``List`` kinds, what ``kubectl get -o yaml`` prints.

A file is read document by document, and a document that has not changed is not parsed again: one edited Service among
10,000 in a file costs one document. What cannot be read becomes a Problem with file, line and mend; the rest counts.
"""

import hashlib
import itertools
import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import msgspec
import yaml

from kproxy.objects.decode import API_VERSIONS, convert
from kproxy.objects.events import Kind, Object
from kproxy.table.errors import ObjectError

Key: TypeAlias = tuple[Kind, str]
CLUSTER_WIDE: Final = frozenset({Kind.NODE, Kind.SERVICE_CIDR})
KINDS: Final = {str(kind): kind for kind in Kind}
MARKER: Final = re.compile(rb"^---(?=[ \t\r\n]|$)", re.MULTILINE)
DIRECTIVES: Final = re.compile(rb"(?:(?:[%#][^\n]*)?[ \t\r]*\n)*")
MISTAGGED: Final = (AttributeError, LookupError, TypeError)  # what PyYAML lets through for ``!!bool maybe`` and the like
STEP: Final = re.compile(r"\.(\w+)|\[(\d+)\]")


class Problem(msgspec.Struct, frozen=True):
    """Something that cannot be read. ``key`` is None where it is not known which object is meant."""

    key: Key | None
    mend: str


class Manifest(msgspec.Struct):
    """What a file or document says."""

    objects: dict[Key, Object]
    problems: list[Problem]

    def add(self, other: "Manifest", name: str) -> None:
        """Take over another document of the same file; the first to name an object counts."""
        for key, item in other.objects.items():
            if key in self.objects:
                mend = f"{name}: {key[0]} {key[1]} is there twice; the first counts, remove the other"
                self.problems.append(Problem(key, mend))
            else:
                self.objects[key] = item
        self.problems += other.problems


class ManifestReader:
    """Reads one file again and again. ``name`` is how messages call it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._known: dict[bytes, Manifest] = {}

    def read(self, content: bytes) -> Manifest:
        """Return what the file says now. Never raises: what is wrong is among the problems."""
        whole = Manifest({}, [])
        known: dict[bytes, Manifest] = {}
        for line, document in _documents(content):
            digest = hashlib.blake2b(document.strip(b"\r\n"), digest_size=16).digest()
            manifest = self._known.get(digest) or _read_document(self._name, line, document)
            if not manifest.problems:  # a problem tells its line, which may move
                known[digest] = manifest
            whole.add(manifest, self._name)
        self._known = known
        return whole


def _documents(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Cut at the markers that YAML allows nowhere else; yield the number of the first line (from 0) and the text."""
    starts = [0, *(match.end() for match in MARKER.finditer(content)), len(content) + 3]
    line = 0
    for start, end in itertools.pairwise(starts):
        yield line, content[start : end - 3]
        line += content.count(b"\n", start, end)


def _read_document(name: str, line: int, document: bytes) -> Manifest:
    try:
        value = _parse(document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name} line {line + (mark.line if mark else 0) + 1}"
        return Manifest({}, [Problem(None, f"{where}: {error.problem or error.context}; mend the file")])
    except (yaml.YAMLError, ValueError, RecursionError, *MISTAGGED) as error:
        words = f"{type(error).__name__}: {error}" if isinstance(error, MISTAGGED) else str(error)
        return Manifest({}, [Problem(None, f"{name} line {line + 1}: {' '.join(words.split())}; mend the file")])
    manifest = Manifest({}, [])
    for path, item in _expand(value):
        manifest.add(_read_object(name, line, document, path, item), name)
    return manifest


def _parse(document: bytes) -> Any:  # noqa: ANN401 - YAML yields anything
    text = document.lstrip()
    if DIRECTIVES.fullmatch(text):
        return None  # cut off from the document they belong to
    if text.startswith((b"{", b"[")):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            pass  # YAML's flow style looks alike; and its parser tells the line
    return yaml.load(document.decode("utf-8-sig"), Loader=_Loader)  # noqa: S506 - built on the safe loader


def _expand(value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - as above
    """Yield the objects of a document, lists taken apart, each with its path."""
    if value is None or value == []:
        return
    if isinstance(value, list):  # a JSON file may hold an array of objects
        for index, item in enumerate(value):
            yield f"$[{index}]", item
        return
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or not kind.endswith("List") or not isinstance(value.get("items"), list):
        yield "$", value
        return
    inherited = {"kind": kind.removesuffix("List"), "apiVersion": value.get("apiVersion")} if kind != "List" else {}
    for index, item in enumerate(value["items"]):
        yield f"$.items[{index}]", {**inherited, **item} if isinstance(item, dict) else item


def _read_object(name: str, line: int, document: bytes, path: str, value: Any) -> Manifest:  # noqa: ANN401 - as above
    def problem(key: Key | None, mend: str, inner: str = "") -> Manifest:
        return Manifest({}, [Problem(key, f"{name} line {_line(line, document, path + inner)}: {mend}")])

    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        return problem(None, "this is no Kubernetes object: kind and metadata are missing; mend the file")
    kind = KINDS.get(value["kind"])
    if kind is None:
        return Manifest({}, [])  # Deployments and the like are none of our business
    key = _name(kind, value)
    version = value.get("apiVersion", API_VERSIONS[kind])
    if version != API_VERSIONS[kind]:
        return problem(
            key, f"{kind} {key[1] if key else '(no name)'} has apiVersion {version}; make it {API_VERSIONS[kind]}"
        )
    try:
        item = convert(kind, value)
    except ObjectError as error:
        _, at, inner = str(error).rpartition("`$")
        return problem(key, str(error), inner.partition("`")[0] if at else "")
    return Manifest({(kind, item.metadata.key): item}, [])


def _name(kind: Kind, value: dict[str, Any]) -> Key | None:
    """Fill in the namespace that kubectl would, and return the key; None where the object has no readable name."""
    metadata = value.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        return None
    if kind in CLUSTER_WIDE:
        metadata.pop("namespace", None)
        return (kind, metadata["name"])
    namespace = metadata.setdefault("namespace", "default") or "default"
    return (kind, f"{namespace}/{metadata['name']}") if isinstance(namespace, str) else None


def _line(line: int, document: bytes, path: str) -> int:
    """Return the number (from 1) of the line at which a path such as ``$.spec.ports[0].port`` stands in a document."""
    try:
        node = yaml.compose(document.decode("utf-8-sig"), Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError):
        return line + 1
    for match in STEP.finditer(path):
        field, index = match.groups()
        if isinstance(node, yaml.MappingNode) and field:
            inner = next((value for name, value in node.value if name.value == field), None)
        elif isinstance(node, yaml.SequenceNode) and index and int(index) < len(node.value):
            inner = node.value[int(index)]
        else:
            break
        if inner is None:
            break
        node = inner
    return line + (node.start_mark.line if node else 0) + 1


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes' own tools read it: no dates, no base-60 numbers, and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        own = [name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode) and name.value != "<<"]
        if len(set(own)) != len(own):
            twice = next(value for value in own if own.count(value) > 1)
            raise yaml.constructor.ConstructorError(None, None, f"key {twice!r} is there twice", node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


_DROPPED: Final = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _DROPPED]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)

# SPDX-License-Identifier: Apache-2.0
"""Manifest files as objects: YAML or JSON, several documents a file, ``List`` kinds taken apart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from kproxy.lab.apiserver.reading import plain
from kproxy.lab.apiserver.resources import Resource, by_kind
from kproxy.table.errors import ObjectError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where libyaml is there


def read_manifests(path: Path) -> Iterator[tuple[Resource, dict[str, Any]]]:
    """Yield every object of a kind that the server knows. Raises ObjectError naming the file."""
    try:
        text = path.read_text(encoding="utf-8")
        documents = plain(list(yaml.load_all(text, Loader=_LOADER)))
    except (OSError, yaml.YAMLError, ValueError, TypeError) as error:
        raise ObjectError(f"manifest {path} cannot be read: {error}") from error
    for document in documents:
        yield from _objects(path, document)


def _objects(path: Path, document: Any) -> Iterator[tuple[Resource, dict[str, Any]]]:  # noqa: ANN401 - YAML
    if document is None:
        return
    if not isinstance(document, dict) or "kind" not in document:
        raise ObjectError(f"manifest {path}: a document is not an object with a kind; mend or remove it")
    kind, version = str(document["kind"]), str(document.get("apiVersion", "v1"))
    if kind == "List" or (kind.endswith("List") and isinstance(document.get("items"), list)):
        for item in document.get("items") or ():
            yield from _objects(path, {"kind": kind.removesuffix("List"), "apiVersion": version, **item})
        return
    resource = by_kind(version, kind)
    if resource is None:
        return  # a Deployment, say: part of an application, not of what the proxy sees
    if not isinstance(document.get("metadata"), dict) or not document["metadata"].get("name"):
        raise ObjectError(f"manifest {path}: a {kind} has no metadata.name; give it one")
    yield resource, document

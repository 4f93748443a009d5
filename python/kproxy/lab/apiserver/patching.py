# SPDX-License-Identifier: Apache-2.0
"""The four ways to patch: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge, and apply.

Strategic merge knows the lists of our kinds that merge by a key (struct tags ``patchMergeKey`` in k8s.io/api) and the
directives ``$patch``, ``$deleteFromPrimitiveList``, ``$setElementOrder`` and ``$retainKeys`` as far as kubectl writes them.
Apply is taken as a strategic merge that creates what is absent: field ownership is not tracked, so what an applier leaves
out stays.
"""

import copy
from typing import Any, Final

import msgspec

from kproxy.lab.apiserver.reading import read_object
from kproxy.lab.apiserver.resources import Resource
from kproxy.lab.apiserver.status import (
    bad_request,
    invalid,
    not_found,
    required,
    unprocessable,
    unsupported_media_type,
)
from kproxy.lab.apiserver.target import Target

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"
TYPES: Final = (JSON_PATCH, MERGE_PATCH, STRATEGIC, APPLY)
JsonObject = dict[str, Any]

# list -> the key by which its elements merge; () merges a list of plain values as a set
_MERGE_KEYS: Final[dict[tuple[str, str], str]] = {
    ("Service", "spec.ports"): "port",
    ("Service", "status.conditions"): "type",
    ("Node", "status.addresses"): "type",
    ("Node", "status.conditions"): "type",
    ("*", "metadata.ownerReferences"): "uid",
}
_SETS: Final = frozenset({("*", "metadata.finalizers"), ("Node", "spec.podCIDRs")})


def apply_patch(target: Target, kind: str, current: JsonObject | None, body: bytes, *, manager: str = "") -> JsonObject:
    """Return the patched object. Raises ApiError 400, 404, 415 or 422."""
    if kind not in TYPES:
        raise unsupported_media_type(TYPES)
    if kind == APPLY:
        if not manager:
            raise invalid("PatchOptions", "meta.k8s.io", "", (required("fieldManager", "is required for apply patch"),))
        return _strategic(target.resource, current or {}, read_object(body, APPLY), "")
    if current is None:
        raise not_found(target.resource, target.name)
    try:
        patch = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise bad_request(f"error decoding patch: {error}") from error
    if kind == JSON_PATCH:
        return json_patch(current, patch)
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: json: cannot unmarshal into Go value of type map[string]interface {}")
    patched: JsonObject = merge(current, patch) if kind == MERGE_PATCH else _strategic(target.resource, current, patch, "")
    return patched


def merge(current: Any, patch: Any) -> Any:  # noqa: ANN401 - JSON
    """Merge by RFC 7386: null removes, objects merge, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(current) if isinstance(current, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def _strategic(resource: Resource, current: JsonObject, patch: JsonObject, path: str) -> JsonObject:
    directive = patch.get("$patch")
    if directive == "replace":
        return {name: value for name, value in patch.items() if name != "$patch"}
    if directive == "delete":
        return {}
    merged = dict(current)
    if "$retainKeys" in patch:
        merged = {name: value for name, value in merged.items() if name in patch["$retainKeys"]}
    for name, value in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            listed = name.partition("/")[2]
            merged[listed] = [item for item in merged.get(listed) or () if item not in value]
        elif name.startswith("$"):
            continue
        elif value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            before = merged.get(name)
            merged[name] = _strategic(resource, before if isinstance(before, dict) else {}, value, _join(path, name))
        elif isinstance(value, list):
            merged[name] = _merge_list(resource, merged.get(name) or [], value, _join(path, name))
        else:
            merged[name] = value
    for name, order in patch.items():
        if name.startswith("$setElementOrder/"):
            _reorder(resource, merged, name.partition("/")[2], order, path)
    return merged


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _lookup(resource: Resource, path: str) -> str | None:
    return _MERGE_KEYS.get((resource.kind, path)) or _MERGE_KEYS.get(("*", path))


def _merge_list(resource: Resource, current: list[Any], patch: list[Any], path: str) -> list[Any]:
    if (resource.kind, path) in _SETS or ("*", path) in _SETS:
        return [*current, *(item for item in patch if item not in current)]
    key = _lookup(resource, path)
    if key is None:
        return patch
    merged = [dict(item) for item in current]
    for item in patch:
        if not isinstance(item, dict):
            raise bad_request(f"error decoding patch: {path} is a list of objects")
        if item.get("$patch") == "replace":
            return [other for other in patch if other.get("$patch") != "replace"]
        # one port number may be listed once for each protocol: the protocol tells them apart where it is given
        place = next((index for index, old in enumerate(merged) if _same(old, item, key)), None)
        if item.get("$patch") == "delete":
            if place is not None:
                del merged[place]
        elif place is None:
            merged.append({name: value for name, value in item.items() if not name.startswith("$")})
        else:
            merged[place] = _strategic(resource, merged[place], item, path)
    return merged


def _same(old: JsonObject, new: JsonObject, key: str) -> bool:
    if old.get(key) != new.get(key):
        return False
    return key != "port" or "protocol" not in new or old.get("protocol", "TCP") == new["protocol"]


def _reorder(resource: Resource, merged: JsonObject, name: str, order: list[Any], path: str) -> None:
    key, items = _lookup(resource, _join(path, name)), merged.get(name)
    if not isinstance(items, list):
        return
    wanted = [entry.get(key) if key and isinstance(entry, dict) else entry for entry in order]
    places = {repr(value): index for index, value in enumerate(wanted)}
    items.sort(key=lambda item: places.get(repr(item.get(key) if key and isinstance(item, dict) else item), len(wanted)))


def json_patch(current: JsonObject, patch: Any) -> JsonObject:  # noqa: ANN401 - JSON
    """Patch by RFC 6902. Raises ApiError 400 for a malformed patch, 422 for one that does not fit."""
    if not isinstance(patch, list):
        raise bad_request("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    box = {"": copy.deepcopy(current)}
    for step in patch:
        try:
            _carry_out(box, step)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise unprocessable() from error
    return box[""]


def _carry_out(box: JsonObject, step: JsonObject) -> None:
    operation, path = step["op"], _pointer(step["path"])
    match operation:
        case "add":
            _add(box, path, step["value"])
        case "remove":
            _take(box, path)
        case "replace":
            _get(box, path)
            _take(box, path)
            _add(box, path, step["value"])
        case "move":
            _add(box, path, _take(box, _pointer(step["from"])))
        case "copy":
            _add(box, path, copy.deepcopy(_get(box, _pointer(step["from"]))))
        case "test":
            if _get(box, path) != step.get("value"):
                raise ValueError(f"{step['path']} is not {step.get('value')}")
        case _:
            raise ValueError(f"unexpected kind: {operation}")


def _pointer(text: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")]


def _get(box: Any, path: list[str]) -> Any:  # noqa: ANN401 - JSON
    for part in path:
        box = box[int(part)] if isinstance(box, list) else box[part]
    return box


def _add(box: Any, path: list[str], value: Any) -> None:  # noqa: ANN401 - JSON
    parent = _get(box, path[:-1])
    if isinstance(parent, list):
        index = len(parent) if path[-1] == "-" else int(path[-1])
        if not 0 <= index <= len(parent):
            raise IndexError(f"index {index} is out of bounds")
        parent.insert(index, value)
    else:
        parent[path[-1]] = value


def _take(box: Any, path: list[str]) -> Any:  # noqa: ANN401 - JSON
    parent = _get(box, path[:-1])
    return parent.pop(int(path[-1])) if isinstance(parent, list) else parent.pop(path[-1])

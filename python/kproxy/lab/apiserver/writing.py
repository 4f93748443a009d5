# SPDX-License-Identifier: Apache-2.0
"""Create, replace, patch and delete: what happens to an object between the request and the store.

Order of steps: k8s.io/apiserver ``pkg/registry/rest/create.go`` (``BeforeCreate``), ``update.go`` (``BeforeUpdate``) and
``pkg/registry/generic/registry/store.go`` (``Update``: preconditions, unconditional updates, create on update).
"""

import datetime as dt
import random
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from kproxy.lab.apiserver.allocation import Allocator
from kproxy.lab.apiserver.defaults import fill
from kproxy.lab.apiserver.patching import apply_patch
from kproxy.lab.apiserver.resources import ENDPOINT_SLICE, NAMESPACE, SERVICE, SERVICE_CIDR, Resource
from kproxy.lab.apiserver.service_updates import carry_over
from kproxy.lab.apiserver.status import (
    already_exists,
    bad_request,
    conflict,
    invalid,
    invalid_value,
    not_found,
    success,
)
from kproxy.lab.apiserver.store import Store, Stored
from kproxy.lab.apiserver.target import Target
from kproxy.lab.apiserver.validation import causes_for, require_shape

JsonObject = dict[str, Any]
_SYSTEM = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields")
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"  # k8s.io/apimachinery pkg/util/rand: no vowels, no look-alikes


class Writer:
    """The way of a change into the store. Raises ApiError for what the API refuses."""

    def __init__(self, store: Store, allocator: Allocator) -> None:
        self._store = store
        self._allocator = allocator

    def put(self, resource: Resource, value: JsonObject, *, raw: bool = False) -> Stored:
        """Create or replace without asking: for the lab itself. ``raw``: not even defaults, for malformed objects."""
        metadata = value["metadata"]
        if resource.namespaced:
            metadata.setdefault("namespace", "default")
        before = self._store.get(resource, metadata.get("namespace", ""), metadata["name"])
        if before is not None:
            known = before.identity
            metadata |= {"uid": known.uid, "creationTimestamp": known.creation_timestamp}
            if resource is SERVICE and not raw:
                carry_over(value, before.value)
        _identify(metadata)
        if not raw:
            fill(resource, value, self._allocator)
            self._allocate(resource, value)
        return self._store.write(resource, value)

    def create(self, target: Target, value: JsonObject, *, dry_run: bool = False) -> Stored | JsonObject:
        """POST: a new object, named by its metadata or with a generated name."""
        resource, metadata = target.resource, self._metadata(target, value)
        if metadata.pop("resourceVersion", None):
            raise bad_request("resourceVersion should not be set on objects to be created")
        for name in _SYSTEM:
            metadata.pop(name, None)
        _identify(metadata)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"][:58] + "".join(random.choices(_SUFFIX, k=5))  # noqa: S311
        require_shape(resource, value)
        self._require_namespace(target)
        if resource is SERVICE:
            value.pop("status", None)
        self._check(resource, value, None)
        if self._store.get(resource, target.namespace, metadata["name"]) is not None:
            raise already_exists(resource, metadata["name"])
        return self._commit(resource, value, dry_run=dry_run)

    def replace(self, target: Target, value: JsonObject, *, dry_run: bool = False) -> tuple[Stored | JsonObject, bool]:
        """PUT: a new state of an object. Returns it, and whether it was created."""
        resource, metadata = target.resource, self._metadata(target, value)
        if metadata.get("name", "") != target.name:
            raise bad_request(
                f"the name of the object ({metadata.get('name', '')}) does not match the name on the URL ({target.name})"
            )
        before = self._store.get(resource, target.namespace, target.name)
        if before is None:
            if target.subresource or not resource.create_on_update or metadata.get("resourceVersion"):
                raise not_found(resource, target.name)
            return self.create(target, value, dry_run=dry_run), True
        return self._update(target, before, value, dry_run=dry_run), False

    def patch(
        self, target: Target, kind: str, body: bytes, *, manager: str = "", dry_run: bool = False
    ) -> tuple[Stored | JsonObject, bool]:
        """PATCH by the patch's media type; an apply patch creates what is absent."""
        before = self._store.get(target.resource, target.namespace, target.name)
        current = before.value if before is not None else None
        if current is not None:
            current = {"kind": target.resource.kind, "apiVersion": target.resource.api_version, **current}
        value = apply_patch(target, kind, current, body, manager=manager)
        if before is None:
            metadata = self._metadata(target, value)
            metadata.setdefault("name", target.name)
            return self.create(target, value, dry_run=dry_run), True
        metadata = self._metadata(target, value)
        if metadata.get("name") != target.name:
            raise bad_request("the name of the object does not match the name on the URL")
        return self._update(target, before, value, dry_run=dry_run), False

    def delete(self, target: Target, preconditions: Mapping[str, str], *, dry_run: bool = False) -> Stored | JsonObject:
        """DELETE: the object goes; answers with what it last was, or with a Status, as the kind does upstream."""
        resource = target.resource
        stored = self._store.get(resource, target.namespace, target.name)
        if stored is None:
            raise not_found(resource, target.name)
        uid = stored.identity.uid
        for name, now in (("uid", uid), ("resourceVersion", str(stored.version))):
            wanted = preconditions.get(name)
            if wanted and wanted != now:
                label = "UID" if name == "uid" else "ResourceVersion"
                raise conflict(
                    resource,
                    target.name,
                    f"Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {now}",
                )
        if not dry_run:
            stored = self.remove(resource, stored.key) or stored
        return stored if resource.returns_deleted else success(resource, target.name, uid)

    def remove(self, resource: Resource, key: str) -> Stored | None:
        """Take an object out, and all that lives in it if it is a Namespace."""
        if resource is SERVICE:
            self._allocator.release(key)
        elif resource is SERVICE_CIDR:
            self._allocator.abandon(key)
        elif resource is NAMESPACE:
            for collection in self._store.collections.values():
                if collection.resource.namespaced:
                    for inner in [known for known in collection.objects if known.startswith(f"{key}/")]:
                        self.remove(collection.resource, inner)
        return self._store.remove(resource, key)

    def _metadata(self, target: Target, value: JsonObject) -> JsonObject:
        resource = target.resource
        kind, version = value.get("kind", resource.kind), value.get("apiVersion", resource.api_version)
        if (kind, version) != (resource.kind, resource.api_version):
            raise bad_request(
                f'{kind} in version "{version}" cannot be handled as a {resource.kind}: '
                f'the path serves {resource.kind} in version "{resource.api_version}"'
            )
        metadata = value.setdefault("metadata", {})
        if not isinstance(metadata, dict):
            raise bad_request(f"{resource.kind} cannot be handled: metadata must be an object")
        if not resource.namespaced:
            metadata.pop("namespace", None)
        elif metadata.setdefault("namespace", target.namespace) != target.namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        return metadata

    def _require_namespace(self, target: Target) -> None:
        if target.resource.namespaced and self._store.get(NAMESPACE, "", target.namespace) is None:
            raise not_found(NAMESPACE, target.namespace)

    def _update(self, target: Target, before: Stored, value: JsonObject, *, dry_run: bool) -> Stored | JsonObject:
        resource, old, metadata = target.resource, before.value, value["metadata"]
        require_shape(resource, value)
        version = metadata.get("resourceVersion")
        if version and version != str(before.version):
            raise conflict(resource, target.name)
        if not version and not resource.unconditional_update:
            cause = invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
            raise invalid(resource.plural, resource.group, target.name, (cause,))
        if metadata.get("uid") and metadata["uid"] != old["metadata"].get("uid"):
            raise conflict(
                resource,
                target.name,
                f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {old['metadata']['uid']}",
            )
        for name in _SYSTEM:
            metadata.pop(name, None)
            if name in old["metadata"]:
                metadata[name] = old["metadata"][name]
        if target.subresource == "status":
            value = {**old, "status": value.get("status", {})}
        elif resource.status and "status" in old:
            value["status"] = old["status"]
        if resource is SERVICE:
            carry_over(value, old)
        self._check(resource, value, old)
        return self._commit(resource, value, dry_run=dry_run)

    def _check(self, resource: Resource, value: JsonObject, old: JsonObject | None) -> None:
        causes = causes_for(resource, value, old)
        if not causes:
            fill(resource, value, self._allocator)
            causes = self._allocator.refusals(_owner(value["metadata"]), value["spec"]) if resource is SERVICE else []
        if causes:
            raise invalid(resource.kind, resource.group, value["metadata"].get("name", ""), causes)

    def _commit(self, resource: Resource, value: JsonObject, *, dry_run: bool) -> Stored | JsonObject:
        if dry_run:
            return {"kind": resource.kind, "apiVersion": resource.api_version, **value}
        self._allocate(resource, value)
        return self._store.write(resource, value)

    def _allocate(self, resource: Resource, value: JsonObject) -> None:
        if resource is SERVICE:
            self._allocator.complete(_owner(value["metadata"]), value["spec"])
        elif resource is SERVICE_CIDR:
            self._allocator.adopt(value["metadata"]["name"], value["spec"]["cidrs"])


def copied(resource: Resource, value: Mapping[str, Any]) -> JsonObject:
    """Copy an object as deep as writing it may change it: not down to a slice's thousand endpoints."""
    if resource is not ENDPOINT_SLICE:
        deep: JsonObject = msgspec.json.decode(msgspec.json.encode(value))
        return deep
    ports = value.get("ports")
    shallow = {**value, "metadata": dict(value["metadata"])}
    return {**shallow, "ports": [dict(port) for port in ports]} if isinstance(ports, list | tuple) else shallow


def _owner(metadata: Mapping[str, Any]) -> str:
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"


def _identify(metadata: JsonObject) -> None:
    metadata.setdefault("uid", str(uuid.uuid4()))
    metadata.setdefault("creationTimestamp", dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))

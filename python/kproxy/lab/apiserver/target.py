# SPDX-License-Identifier: Apache-2.0
"""What a request is about, read from its path and method.

The rules are those of k8s.io/apiserver ``pkg/endpoints/request/requestinfo.go`` (``NewRequestInfo``).
"""

import msgspec

from kproxy.lab.apiserver.resources import NAMESPACE, Resource, by_plural

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Target(msgspec.Struct, frozen=True):
    """A collection (no name), an object, or an object's subresource."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    def verb(self, method: str, *, watch: bool) -> str:
        """Return the API's word for what the request does."""
        if method in ("GET", "HEAD"):
            if self.name:
                return "get"
            return "watch" if watch else "list"
        return _VERBS.get(method, method.lower())


def parse_target(path: str) -> Target | None:
    """Read a path such as ``/api/v1/namespaces/shop/services/web/status``. None: nothing of ours lives there."""
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"] and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    resource = by_plural(group, version, rest[0])
    if resource is None or len(rest) > 3 or (namespace and not resource.namespaced and resource is not NAMESPACE):
        return None
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if (name and resource.namespaced and not namespace) or (
        subresource and not (subresource == "status" and resource.status)
    ):
        return None
    return Target(resource, namespace, name, subresource)

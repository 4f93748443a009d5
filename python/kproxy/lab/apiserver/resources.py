# SPDX-License-Identifier: Apache-2.0
"""The kinds the server knows, as data: where they live, what they are called, what one may select by."""

from typing import Any, Final

import msgspec

DEFAULT_LABELS: Final = ("metadata.name", "metadata.namespace")


class Resource(msgspec.Struct, frozen=True):
    """One kind: the path segment ``plural`` under its group and version."""

    kind: str
    plural: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    status: bool = False
    field_labels: tuple[str, ...] = DEFAULT_LABELS
    own_field_labels: bool = False  # core kinds list their field labels themselves and word the refusal differently
    create_on_update: bool = False
    unconditional_update: bool = True
    returns_deleted: bool = False  # DELETE answers with the object instead of a Status
    zero: bytes = b""  # what an empty object of this kind still tells, as the object of a bookmark does

    @property
    def api_version(self) -> str:
        """Return ``group/version``, or the version alone for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """Return ``plural.group``, the form used in messages."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """Return ``Kind.group``, the form used in validation messages."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def base(self) -> str:
        """Return the path of the group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def head(self) -> bytes:
        """Return how an object of this kind starts on the wire."""
        return b'{"kind":"%b","apiVersion":"%b",' % (self.kind.encode(), self.api_version.encode())

    def key(self, namespace: str, name: str) -> str:
        """Return the store's key of an object."""
        return f"{namespace}/{name}" if self.namespaced else name

    def unsupported_field_label(self, label: str) -> str:
        """Return the server's words for a field label that this kind cannot be selected by."""
        if self.own_field_labels:
            return f"field label not supported: {label}"
        return f'"{label}" is not a known field selector: only "metadata.name", "metadata.namespace"'


SERVICE: Final = Resource(
    kind="Service",
    plural="services",
    short_names=("svc",),
    status=True,
    field_labels=(*DEFAULT_LABELS, "spec.clusterIP", "spec.type"),
    own_field_labels=True,
    create_on_update=True,
    returns_deleted=True,
    zero=b',"spec":{},"status":{"loadBalancer":{}}',
)
ENDPOINT_SLICE: Final = Resource(
    kind="EndpointSlice",
    plural="endpointslices",
    group="discovery.k8s.io",
    zero=b',"addressType":"","endpoints":null,"ports":null',
)
NODE: Final = Resource(
    kind="Node",
    plural="nodes",
    namespaced=False,
    short_names=("no",),
    status=True,
    field_labels=("metadata.name", "spec.unschedulable"),
    own_field_labels=True,
)
SERVICE_CIDR: Final = Resource(
    kind="ServiceCIDR", plural="servicecidrs", group="networking.k8s.io", namespaced=False, status=True
)
EVENT: Final = Resource(
    kind="Event",
    plural="events",
    group="events.k8s.io",
    short_names=("ev",),
    field_labels=(*DEFAULT_LABELS, "reason", "type", "regarding.kind", "regarding.namespace", "regarding.name"),
    own_field_labels=True,
    create_on_update=True,
)
NAMESPACE: Final = Resource(
    kind="Namespace",
    plural="namespaces",
    namespaced=False,
    short_names=("ns",),
    field_labels=("metadata.name", "status.phase"),
    own_field_labels=True,
)
POD: Final = Resource(
    kind="Pod",
    plural="pods",
    short_names=("po",),
    status=True,
    field_labels=(*DEFAULT_LABELS, "spec.nodeName", "status.phase", "status.podIP"),
    own_field_labels=True,
    returns_deleted=True,
)
RESOURCES: Final = (SERVICE, ENDPOINT_SLICE, NODE, SERVICE_CIDR, EVENT, NAMESPACE, POD)
_BY_PLURAL: Final = {(resource.group, resource.version, resource.plural): resource for resource in RESOURCES}
_BY_KIND: Final = {(resource.api_version, resource.kind): resource for resource in RESOURCES}
_BY_WORD: Final = {word: resource for resource in RESOURCES for word in (resource.kind, resource.plural)}


def by_plural(group: str, version: str, plural: str) -> Resource | None:
    """Find a kind by its place in a path."""
    return _BY_PLURAL.get((group, version, plural))


def by_kind(api_version: str, kind: str) -> Resource | None:
    """Find a kind by what an object says of itself."""
    return _BY_KIND.get((api_version, kind))


def by_word(word: str) -> Resource:
    """Find a kind by its kind or plural. Raises KeyError."""
    return _BY_WORD[word]


def field(item: dict[str, Any], path: str) -> str:
    """Read a selectable field as text; what is absent reads as ``""``, a boolean as Go prints it."""
    value: Any = item
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "false" if path == "spec.unschedulable" else ""
    return str(value)

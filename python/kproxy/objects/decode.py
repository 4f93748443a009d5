# SPDX-License-Identifier: Apache-2.0
"""Bytes to objects. What does not fit becomes one ObjectError that names the object and the mend."""

from typing import Any, Final

import msgspec

from kproxy.objects.endpointslice import EndpointSlice
from kproxy.objects.events import Kind, Object
from kproxy.objects.meta import Meta
from kproxy.objects.node import Node
from kproxy.objects.service import Service
from kproxy.objects.servicecidr import ServiceCIDR
from kproxy.table.errors import ObjectError

API_VERSIONS: Final = {
    Kind.SERVICE: "v1",
    Kind.ENDPOINT_SLICE: "discovery.k8s.io/v1",
    Kind.NODE: "v1",
    Kind.SERVICE_CIDR: "networking.k8s.io/v1",
}
TYPES: Final[dict[Kind, type[Object]]] = {
    Kind.SERVICE: Service,
    Kind.ENDPOINT_SLICE: EndpointSlice,
    Kind.NODE: Node,
    Kind.SERVICE_CIDR: ServiceCIDR,
}
_DECODERS: Final = {kind: msgspec.json.Decoder(type_) for kind, type_ in TYPES.items()}


class _Name(msgspec.Struct, rename="camel"):
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class _Named(msgspec.Struct):
    metadata: _Name


_NAMED: Final = msgspec.json.Decoder(_Named)


def identity(raw: bytes | msgspec.Raw) -> Meta | None:
    """Read no more than name, uid and version, for an object whose rest is bad or not wanted. None: not even that."""
    try:
        name = _NAMED.decode(raw).metadata
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
    return Meta(name=name.name, namespace=name.namespace, uid=name.uid, resource_version=name.resource_version)


def decode(kind: Kind, raw: bytes | msgspec.Raw) -> Object:
    """Decode one object from JSON. Raises ObjectError naming kind, object and field."""
    try:
        return _DECODERS[kind].decode(raw)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        meta = identity(raw)
        raise ObjectError(f"{kind} {meta.key if meta else '(no readable metadata)'}: {error}; mend the object") from error


def convert(kind: Kind, value: Any) -> Object:  # noqa: ANN401 - YAML yields anything
    """Build one object from parsed YAML or JSON. Raises ObjectError naming kind, object and field."""
    try:
        return msgspec.convert(value, TYPES[kind])
    except msgspec.ValidationError as error:
        metadata = value.get("metadata") if isinstance(value, dict) else None
        name = metadata.get("name", "(no name)") if isinstance(metadata, dict) else "(no metadata)"
        space = metadata.get("namespace", "") if isinstance(metadata, dict) else ""
        raise ObjectError(f"{kind} {f'{space}/' if space else ''}{name}: {error}; mend the manifest") from error


def key_of(item: Object) -> str:
    """Return the key by which an object is known."""
    return item.metadata.key


def kind_of(item: Object) -> Kind:
    """Return an object's kind."""
    return Kind(type(item).__name__)

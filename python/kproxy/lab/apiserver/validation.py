# SPDX-License-Identifier: Apache-2.0
"""The rules an object must keep, as far as kproxy's clients can break them; words and fields as upstream says them.

kubernetes ``pkg/apis/core/validation/validation.go`` (``ValidateService``, ``validateServicePort``),
``pkg/apis/discovery/validation/validation.go`` (``ValidateEndpointSlice``), k8s.io/apimachinery
``pkg/util/validation/validation.go`` (names). Not a copy: a real server has hundreds of rules more.
"""

import ipaddress
import re
from typing import Any, Final

import msgspec

from kproxy.lab.apiserver.resources import ENDPOINT_SLICE, NAMESPACE, SERVICE, SERVICE_CIDR, Resource
from kproxy.lab.apiserver.status import Cause, bad_request, duplicate, invalid_value, required, unsupported
from kproxy.objects.decode import TYPES
from kproxy.objects.meta import Meta

JsonObject = dict[str, Any]


class _AnyKind(msgspec.Struct):
    metadata: Meta


_SHAPES: Final = {kind.value: type_ for kind, type_ in TYPES.items()}
_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = rf"{_LABEL}(\.{_LABEL})*"
_DNS_1035: Final = "[a-z]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN_WORDS: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'example.com', regex used for validation is '" + _SUBDOMAIN + "')"
)
_LABEL_WORDS: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    f"alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
_DNS_1035_WORDS: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and "
    f"end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '{_DNS_1035}')"
)
_TYPES: Final = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
_ADDRESS_TYPES: Final = ("FQDN", "IPv4", "IPv6")
_DUAL: Final = (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families"))
_PORT_RANGE: Final = "must be between 1 and 65535, inclusive"


def require_shape(resource: Resource, value: JsonObject) -> None:
    """Refuse what does not even decode: a list where a number belongs, say. Raises ApiError 400.

    A real server decodes into its own types; ours are those of ``kproxy.objects``, so the words differ from upstream's.
    """
    words = f'{resource.kind} in version "{resource.api_version}" cannot be handled as a {resource.kind}'
    named = {**value, "metadata": {"name": "", **value["metadata"]}}  # a name that is missing is told in better words
    try:
        msgspec.convert(named, _SHAPES.get(resource.kind, _AnyKind))
    except msgspec.ValidationError as error:
        raise bad_request(f"{words}: {error}") from error


def causes_for(resource: Resource, value: JsonObject, old: JsonObject | None) -> list[Cause]:
    """Return every rule that the object breaks; ``old`` is what it replaces."""
    causes = _name(resource, value["metadata"])
    if resource is SERVICE:
        causes += _service(value, old)
    elif resource is ENDPOINT_SLICE:
        causes += _endpoint_slice(value, old)
    elif resource is SERVICE_CIDR:
        causes += _service_cidr(value)
    return causes


def _name(resource: Resource, metadata: JsonObject) -> list[Cause]:
    name = metadata.get("name")
    if not name:
        return [required("metadata.name", "name or generateName is required")]
    pattern, words, longest = {
        SERVICE.kind: (_DNS_1035, _DNS_1035_WORDS, 63),
        NAMESPACE.kind: (_LABEL, _LABEL_WORDS, 63),
    }.get(resource.kind, (_SUBDOMAIN, _SUBDOMAIN_WORDS, 253))
    if not isinstance(name, str) or not re.fullmatch(pattern, name):
        return [invalid_value("metadata.name", name, words)]
    if len(name) > longest:
        return [invalid_value("metadata.name", name, f"must be no more than {longest} characters")]
    return []


def _service(value: JsonObject, old: JsonObject | None) -> list[Cause]:
    spec = value.get("spec")
    if not isinstance(spec, dict):
        return [required("spec.ports")]
    kind = spec.get("type", "ClusterIP")
    causes: list[Cause] = []
    ports = spec.get("ports") or []
    if not ports and spec.get("clusterIP") != "None" and kind != "ExternalName":
        causes.append(required("spec.ports"))
    causes += _service_ports(ports, kind)
    if kind not in _TYPES:
        causes.append(unsupported("spec.type", kind, _TYPES))
    for index, address in enumerate(spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else ())):
        if address != "None" and not _is_address(address):
            causes.append(
                invalid_value(
                    f"spec.clusterIPs[{index}]", address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
                )
            )
    if spec.get("sessionAffinity", "None") not in ("ClientIP", "None"):
        causes.append(unsupported("spec.sessionAffinity", spec["sessionAffinity"], ("ClientIP", "None")))
    for name in ("externalTrafficPolicy", "internalTrafficPolicy"):
        if spec.get(name, "Cluster") not in ("Cluster", "Local"):
            causes.append(unsupported(f"spec.{name}", spec[name], ("Cluster", "Local")))
    causes += _immutable_address(spec, old)
    if old is None and spec.get("ipFamilyPolicy", "SingleStack") == "SingleStack" and kind != "ExternalName":
        several = [words for name, words in _DUAL if len(spec.get(name) or ()) > 1]
        must = "must be 'RequireDualStack' or 'PreferDualStack' when multiple"
        causes += [invalid_value("spec.ipFamilyPolicy", "SingleStack", f"{must} {words} are specified") for words in several]
    return causes


def _service_ports(ports: Any, kind: str) -> list[Cause]:  # noqa: ANN401 - whatever a client sent
    causes: list[Cause] = []
    names: set[str] = set()
    seen: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        name, number, protocol = port.get("name", ""), port.get("port", 0), port.get("protocol", "TCP")
        if not name and len(ports) > 1:
            causes.append(required(f"{at}.name"))
        elif name:
            if not re.fullmatch(_LABEL, name):
                causes.append(invalid_value(f"{at}.name", name, _LABEL_WORDS))
            if name in names:
                causes.append(duplicate(f"{at}.name", name))
            names.add(name)
        if not isinstance(number, int) or not 1 <= number <= 65_535:
            causes.append(invalid_value(f"{at}.port", number, _PORT_RANGE))
        if protocol not in _PROTOCOLS:
            causes.append(unsupported(f"{at}.protocol", protocol, _PROTOCOLS))
        if (number, protocol) in seen:
            causes.append(duplicate(f"{at}", {"port": number, "protocol": protocol}))
        seen.add((number, protocol))
        if port.get("nodePort") and kind == "ClusterIP":
            causes.append(_node_port_forbidden(f"{at}.nodePort"))
    return causes


def _node_port_forbidden(field: str) -> Cause:
    return Cause("FieldValueForbidden", field, "Forbidden: may not be used when `type` is 'ClusterIP'")


def _immutable_address(spec: JsonObject, old: JsonObject | None) -> list[Cause]:
    before = (old or {}).get("spec", {})
    if not before.get("clusterIP") or spec.get("type") == "ExternalName":
        return []
    now = spec.get("clusterIPs") or [spec.get("clusterIP")]
    if now[0] and now[0] != before["clusterIP"]:
        return [invalid_value("spec.clusterIPs[0]", now, "may not change once set")]
    return []


def _endpoint_slice(value: JsonObject, old: JsonObject | None) -> list[Cause]:
    causes: list[Cause] = []
    family = value.get("addressType")
    if not family:
        causes.append(required("addressType"))
    elif family not in _ADDRESS_TYPES:
        causes.append(unsupported("addressType", family, _ADDRESS_TYPES))
    if old is not None and family and family != old.get("addressType"):
        causes.append(invalid_value("addressType", family, "field is immutable"))
    endpoints = value.get("endpoints") or []
    if len(endpoints) > 1000:
        causes.append(Cause("FieldValueTooMany", "endpoints", f"Too many: {len(endpoints)}: must have at most 1000 items"))
    for index, endpoint in enumerate(endpoints):
        addresses = endpoint.get("addresses") or []
        if not addresses:
            causes.append(required(f"endpoints[{index}].addresses", "must contain at least 1 address"))
        for position, address in enumerate(addresses):
            version = _version(address)
            if family in ("IPv4", "IPv6") and version != int(family[-1]):
                causes.append(
                    invalid_value(f"endpoints[{index}].addresses[{position}]", address, f"must be an {family} address")
                )
    names = [port.get("name") or "" for port in value.get("ports") or ()]
    for index, name in enumerate(names):
        if name in names[:index]:
            causes.append(duplicate(f"ports[{index}].name", name))
    return causes


def _service_cidr(value: JsonObject) -> list[Cause]:
    cidrs = (value.get("spec") or {}).get("cidrs") or []
    if not cidrs:
        return [required("spec.cidrs", "at least one CIDR required")]
    causes = []
    for index, cidr in enumerate(cidrs):
        try:
            ipaddress.ip_network(cidr)
        except ValueError:
            causes.append(
                invalid_value(
                    f"spec.cidrs[{index}]", cidr, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
                )
            )
    return causes


def _version(address: object) -> int:
    try:
        return ipaddress.ip_address(str(address)).version
    except ValueError:
        return 0


def _is_address(address: object) -> bool:
    return _version(address) != 0

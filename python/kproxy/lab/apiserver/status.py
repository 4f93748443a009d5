# SPDX-License-Identifier: Apache-2.0
"""Errors as the API tells them: a ``Status`` object whose code is also the HTTP status.

The shapes follow k8s.io/apimachinery ``pkg/api/errors/errors.go`` and ``pkg/util/validation/field/errors.go``.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from kproxy.lab.apiserver.resources import Resource

Status: TypeAlias = dict[str, Any]


class ApiError(Exception):
    """An answer that is an error. ``status`` is the Status object, ``headers`` what HTTP adds."""

    def __init__(self, status: Status, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status.get("message", ""))
        self.status = status
        self.headers = dict(headers or {})

    @property
    def code(self) -> int:
        """Return the HTTP status."""
        return int(self.status["code"])


class Cause(msgspec.Struct, frozen=True):
    """One reason why an object is invalid."""

    reason: str
    field: str
    body: str


_WORDS = {
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueInvalid": "Invalid value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueTooLong": "Too long",
    "FieldValueNotFound": "Not found",
}
_WITHOUT_VALUE = ("FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong")


def cause(reason: str, field: str, value: object = "", detail: str = "") -> Cause:
    """Word one reason as the validation library does: ``Invalid value: "x": must be ...``."""
    body = _WORDS[reason]
    if reason not in _WITHOUT_VALUE:
        body += f": {json.dumps(value, separators=(',', ':'))}"
    return Cause(reason, field, f"{body}: {detail}" if detail else body)


def required(field: str, detail: str = "") -> Cause:
    """Say that a value is missing."""
    return cause("FieldValueRequired", field, detail=detail)


def invalid_value(field: str, value: object, detail: str) -> Cause:
    """Say that a value is malformed."""
    return cause("FieldValueInvalid", field, value, detail)


def duplicate(field: str, value: object) -> Cause:
    """Say that a value that must be unique is not."""
    return cause("FieldValueDuplicate", field, value)


def forbidden_value(field: str, detail: str) -> Cause:
    """Say that a value is not permitted here."""
    return cause("FieldValueForbidden", field, detail=detail)


def unsupported(field: str, value: object, supported: Sequence[str]) -> Cause:
    """Say that a value is not one of those allowed."""
    return cause("FieldValueNotSupported", field, value, "supported values: " + ", ".join(f'"{item}"' for item in supported))


def failure(code: int, reason: str, message: str, details: Status | None = None, metadata: Status | None = None) -> Status:
    """Build a failed Status."""
    status: Status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": metadata or {},
        "status": "Failure",
        "message": message,
        "reason": reason,
    }
    if details:
        status["details"] = details
    status["code"] = code
    return status


def success(resource: Resource, name: str, uid: str) -> Status:
    """Build the Status that a completed DELETE answers."""
    details = {"name": name, **({"group": resource.group} if resource.group else {}), "kind": resource.plural, "uid": uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _details(resource: Resource, name: str) -> Status:
    group = {"group": resource.group} if resource.group else {}
    return {"name": name, **group, "kind": resource.plural}


def bad_request(message: str) -> ApiError:
    """400: the request makes no sense."""
    return ApiError(failure(400, "BadRequest", message))


def unauthorized() -> ApiError:
    """401: nobody known asks."""
    return ApiError(failure(401, "Unauthorized", "Unauthorized"))


def not_found(resource: Resource, name: str) -> ApiError:
    """404: no such object."""
    return ApiError(failure(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name)))


def no_such_path() -> ApiError:
    """404: no such path; the API's words for a kind it does not serve."""
    return ApiError(failure(404, "NotFound", "the server could not find the requested resource", {}))


def method_not_allowed(resource: Resource, verb: str) -> ApiError:
    """405: the kind has no such verb."""
    details = {**({"group": resource.group} if resource.group else {}), "kind": resource.plural}
    message = f'{verb} is not supported on resources of kind "{resource.qualified}"'
    return ApiError(failure(405, "MethodNotAllowed", message, details))


def not_acceptable(accepted: Sequence[str]) -> ApiError:
    """406: none of the media types asked for is spoken here."""
    message = f"only the following media types are accepted: {', '.join(accepted)}"
    return ApiError(failure(406, "NotAcceptable", message))


def unsupported_media_type(accepted: Sequence[str]) -> ApiError:
    """415: the body's media type is not understood."""
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return ApiError(failure(415, "UnsupportedMediaType", message))


def already_exists(resource: Resource, name: str) -> ApiError:
    """409: the name is taken."""
    return ApiError(failure(409, "AlreadyExists", f'{resource.qualified} "{name}" already exists', _details(resource, name)))


def conflict(resource: Resource, name: str, why: str = "") -> ApiError:
    """409: somebody else was faster."""
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(failure(409, "Conflict", message, _details(resource, name)))


def expired(message: str, continue_token: str = "") -> ApiError:
    """410: what was asked for is no longer known; list anew."""
    metadata = {"continue": continue_token} if continue_token else None
    return ApiError(failure(410, "Expired", message, metadata=metadata))


def invalid(kind: str, group: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """422: the object (or the options) break the rules named."""
    told = [f"{item.field}: {item.body}" if item.field else item.body for item in causes]
    unique = list(dict.fromkeys(told))
    summary = unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]"
    details: Status = {
        **({"name": name} if name else {}),
        **({"group": group} if group else {}),
        "kind": kind,
        "causes": [{"reason": item.reason, "message": item.body, "field": item.field} for item in causes],
    }
    qualified = f"{kind}.{group}" if group else kind
    return ApiError(failure(422, "Invalid", f'{qualified} "{name}" is invalid: {summary}', details))


def unprocessable() -> ApiError:
    """422: a patch that is well formed and yet does not fit; the server says no more than that."""
    return ApiError(failure(422, "Invalid", "the server rejected our request due to an error in our request"))


def internal(why: str) -> ApiError:
    """500: not the request's fault."""
    return ApiError(failure(500, "InternalError", f"Internal error occurred: {why}", {"causes": [{"message": why}]}))


def too_large_body(limit: int) -> ApiError:
    """413: more than one object may be."""
    return ApiError(failure(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}"))


def too_large_version(asked: int, current: int) -> ApiError:
    """504: a resourceVersion from the future did not arrive in time."""
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return ApiError(failure(504, "Timeout", message, details), {"Retry-After": "1"})


_FAULTS = {
    403: ("Forbidden", 'forbidden: User "system:kube-proxy" cannot do this: the lab was told to refuse it'),
    404: ("NotFound", "the server could not find the requested resource"),
    429: ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
    500: ("InternalError", "Internal error occurred: etcdserver: leader changed"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "Timeout: request did not complete within the allotted timeout"),
}


def fault(code: int, retry_after: int | None = None) -> ApiError:
    """Build an error that the lab was told to answer with."""
    if code == 401:
        return unauthorized()
    if code == 410:
        return expired("The resourceVersion for the provided watch is too old.")
    reason, message = _FAULTS.get(code, ("", "the lab was told to answer so"))
    details = {"retryAfterSeconds": retry_after} if retry_after is not None else None
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else None
    return ApiError(failure(code, reason, message, details), headers)

# SPDX-License-Identifier: Apache-2.0
"""Bytes that a client sent, as a JSON object and nothing else: no dates, no keys that are numbers, no half characters."""

from typing import Any, Final

import msgspec
import yaml

from kproxy.lab.apiserver.status import bad_request, unsupported_media_type

JsonObject = dict[str, Any]
JSON: Final = "application/json"
YAML: Final = ("application/yaml", "application/x-yaml", "application/apply-patch+yaml")


def read_object(body: bytes, media_type: str) -> JsonObject:
    """Read a body. Raises ApiError 400 for what is no object, 415 for a media type that is not understood."""
    if media_type != JSON and media_type not in YAML:
        raise unsupported_media_type((JSON, YAML[0]))
    try:
        value = msgspec.json.decode(body or b"{}") if media_type == JSON else plain(yaml.safe_load(body))
    except (msgspec.DecodeError, yaml.YAMLError, ValueError, TypeError) as error:
        raise bad_request(f"error decoding the body of the request: {error}") from error
    if not isinstance(value, dict):
        raise bad_request("error decoding the body of the request: an object is expected")
    return value


def plain(value: Any) -> Any:  # noqa: ANN401 - YAML
    """Return what JSON makes of parsed YAML. Raises ValueError or TypeError for what it cannot say."""
    return msgspec.json.decode(msgspec.json.encode(value))

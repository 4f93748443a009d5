# SPDX-License-Identifier: Apache-2.0
"""The query of a list or a watch: read, defaulted and checked as upstream does it, words included.

Order and words: k8s.io/apiserver ``pkg/endpoints/handlers/get.go`` (``listOpts``), k8s.io/apimachinery
``pkg/apis/meta/internalversion/defaults.go`` and ``validation/validation.go``, k8s.io/apiserver
``pkg/storage/interfaces.go`` (``ValidateListOptions``).
"""

import base64
import binascii
import json
import posixpath
from collections.abc import Mapping

import msgspec

from kproxy.lab.apiserver.resources import Resource
from kproxy.lab.apiserver.selectors import Requirement, Selector, parse_fields, parse_labels
from kproxy.lab.apiserver.status import Cause, bad_request, forbidden_value, invalid, invalid_value, unsupported

EXACT = "Exact"
NOT_OLDER_THAN = "NotOlderThan"
TOKEN_VERSION = "meta.k8s.io/v1"


class Token(msgspec.Struct, frozen=True):
    """A decoded continue token: where the next page starts, and at which version; -1 means at the newest."""

    version: int
    start: str

    def encode(self) -> str:
        """Return the opaque text."""
        text = json.dumps({"v": TOKEN_VERSION, "rv": self.version, "start": self.start}, separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


class ListOptions(msgspec.Struct, frozen=True):
    """What a list or watch asks for."""

    selector: Selector
    watch: bool = False
    version: str = ""
    match: str = ""
    limit: int = 0
    token: str = ""
    timeout: int | None = None
    bookmarks: bool = False
    initial_events: bool | None = None


def boolean(value: str | None) -> bool:
    """Read a flag: absent, ``0`` and ``false`` are no, anything else, the empty text included, is yes."""
    return value is not None and value.lower() not in ("0", "false")


def _integer(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def read_options(query: Mapping[str, str], resource: Resource, name: str = "", *, streaming: bool = True) -> ListOptions:
    """Read and check a query. ``streaming``: the WatchList feature is on. Raises ApiError 400 or 422."""
    labels = parse_labels(query.get("labelSelector", ""))
    watch = boolean(query.get("watch"))
    version, match = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
    initial = boolean(query["sendInitialEvents"]) if "sendInitialEvents" in query else None
    if streaming and watch and initial is None and not match and version in ("", "0"):
        initial, match = True, NOT_OLDER_THAN  # the legacy "state, then changes", told as what it is
    fields = parse_fields(query.get("fieldSelector", ""), resource)
    if name:
        fields += (Requirement("metadata.name", "in", frozenset((name,))),)
    options = ListOptions(
        selector=Selector(labels, fields),
        watch=watch,
        version=version,
        match=match,
        limit=_integer(query, "limit") or 0,
        token=query.get("continue", ""),
        timeout=_integer(query, "timeoutSeconds"),
        bookmarks=boolean(query.get("allowWatchBookmarks")),
        initial_events=initial,
    )
    causes = _watch_causes(options, streaming=streaming) if watch else _list_causes(options)
    if causes:
        raise invalid("ListOptions", "meta.k8s.io", "", causes)
    return options


def _list_causes(options: ListOptions) -> list[Cause]:
    causes: list[Cause] = []
    if options.match:
        if not options.version:
            causes.append(
                forbidden_value(
                    "resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided"
                )
            )
        if options.token:
            causes.append(
                forbidden_value("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
            )
        if options.match not in (EXACT, NOT_OLDER_THAN):
            causes.append(unsupported("resourceVersionMatch", options.match, (EXACT, NOT_OLDER_THAN, "")))
        if options.match == EXACT and options.version == "0":
            causes.append(
                forbidden_value("resourceVersionMatch", 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
            )
    if options.initial_events is not None:
        causes.append(forbidden_value("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return causes


def _watch_causes(options: ListOptions, *, streaming: bool) -> list[Cause]:
    causes: list[Cause] = []
    if options.initial_events is not None:
        if options.match != NOT_OLDER_THAN:
            causes.append(
                forbidden_value(
                    "resourceVersionMatch", f"sendInitialEvents requires setting resourceVersionMatch to {NOT_OLDER_THAN}"
                )
            )
        if not streaming:
            causes.append(
                forbidden_value(
                    "sendInitialEvents",
                    "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
                )
            )
    if options.match:
        if options.initial_events is None:
            causes.append(
                forbidden_value(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                )
            )
        if options.match != NOT_OLDER_THAN:
            causes.append(unsupported("resourceVersionMatch", options.match, (NOT_OLDER_THAN,)))
        if options.token:
            causes.append(
                forbidden_value("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
            )
    return causes


def parse_version(text: str) -> int:
    """Read a resourceVersion; none is 0. Raises ValueError with Go's words."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    return int(text)


def watch_version(options: ListOptions, resource: Resource) -> int:
    """Read the version a watch starts from. Raises ApiError 422."""
    try:
        return parse_version(options.version)
    except ValueError as error:
        cause = invalid_value("resourceVersion", options.version, str(error))
        raise invalid(resource.plural, resource.group, "", (cause,)) from None


def list_version(options: ListOptions) -> int:
    """Read the version a list asks for. Raises ApiError 400."""
    try:
        return parse_version(options.version)
    except ValueError as error:
        text = f'resourceVersion: Invalid value: "{options.version}": {error}'
        raise bad_request(f"invalid resource version: {text}") from None


def decode_token(options: ListOptions) -> Token:
    """Read the continue token. Raises ApiError 400 for one that we did not write."""
    token = _decode(options.token)
    if options.version not in ("", "0"):
        raise bad_request("specifying resource version is not allowed when using continue")
    return token


def _decode(text: str) -> Token:
    invalid_token = "invalid continue token: continue key is not valid"
    try:
        data = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError) as error:
        raise bad_request(f"{invalid_token}: {error}") from None
    if not isinstance(data, dict) or data.get("v") != TOKEN_VERSION:
        seen = data.get("v", "") if isinstance(data, dict) else ""
        raise bad_request(f"{invalid_token}: server does not recognize this encoded version {seen}")
    version, start = data.get("rv", 0), data.get("start", "")
    if not version:
        raise bad_request(f"{invalid_token}: incorrect encoded start resourceVersion (version {TOKEN_VERSION})")
    if not start:
        raise bad_request(f"{invalid_token}: encoded start key empty (version {TOKEN_VERSION})")
    if posixpath.normpath("/" + start.lstrip("/")) != "/" + start.lstrip("/"):
        raise bad_request(f"{invalid_token}: {start}")
    return Token(int(version), start)

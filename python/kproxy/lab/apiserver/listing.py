# SPDX-License-Identifier: Apache-2.0
"""GET of many objects: which version of the world, which of its objects, which page of them.

Semantics: the table "resourceVersion for get and list" of the Kubernetes API concepts page, as carried out by
k8s.io/apiserver ``pkg/storage/cacher/watch_cache.go`` (``waitUntilFreshAndList``); pages and tokens:
``pkg/storage/continue.go``, ``pkg/storage/etcd3/errors.go``.
"""

import bisect

from kproxy.lab.apiserver.options import EXACT, ListOptions, Token, decode_token, list_version
from kproxy.lab.apiserver.resources import Resource
from kproxy.lab.apiserver.status import ApiError, expired, too_large_version
from kproxy.lab.apiserver.store import Store, Stored

INCONSISTENT = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the "
    "continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing "
    "with the provided token results in an inconsistent list - objects that were created, modified, or deleted between "
    "the time the first chunk was returned and now may show up in the list."
)


async def list_body(store: Store, resource: Resource, namespace: str, options: ListOptions, patience: float) -> bytes:
    """Return the list as JSON. ``patience``: seconds to wait for a version from the future. Raises ApiError."""
    asked = list_version(options)
    exact, start = 0, ""  # 0: the newest version
    if options.token:
        token = decode_token(options)
        exact, start = max(0, token.version), token.start
    elif options.match == EXACT or (not options.match and options.limit):
        exact = asked
    await require(store, max(asked, exact), patience)
    version = exact or store.version
    try:
        snapshot = store.of(resource).snapshot(version)
    except ApiError:
        if options.token:
            raise expired(INCONSISTENT, Token(-1, start).encode()) from None
        raise
    return _page(snapshot, resource, namespace, options, version=version, start=start)


async def require(store: Store, version: int, patience: float) -> None:
    """Wait for a version. Raises ApiError 504 if it does not come."""
    if not await store.reach(version, patience):
        raise too_large_version(version, store.version)


def scope(snapshot: tuple[Stored, ...], resource: Resource, namespace: str, start: str = "") -> tuple[Stored, ...]:
    """Cut a sorted snapshot down to a namespace, from ``start`` (relative to it) on."""
    prefix = f"{namespace}/" if resource.namespaced and namespace else ""
    first = bisect.bisect_left(snapshot, prefix + start, key=lambda item: item.key)
    if not prefix:
        return snapshot[first:] if first else snapshot
    # "0" is the character after "/": the first key that no longer has the prefix
    return snapshot[first : bisect.bisect_left(snapshot, f"{namespace}0", key=lambda item: item.key)]


def _page(
    snapshot: tuple[Stored, ...], resource: Resource, namespace: str, options: ListOptions, *, version: int, start: str
) -> bytes:
    candidates = scope(snapshot, resource, namespace, start)
    selector = options.selector
    # a list "at any version" ignores the limit (cacher.go, computeListLimit)
    limit = 0 if options.version == "0" and not options.token else max(0, options.limit)
    token, remaining = "", None
    if selector.everything:
        chosen = candidates[:limit] if limit else candidates
        if len(chosen) < len(candidates):
            token, remaining = _next(chosen[-1], resource, namespace, version), len(candidates) - len(chosen)
    else:
        matching = (item for item in candidates if selector.matches(item.labels, item.fields))
        chosen = tuple(item for item, _ in zip(matching, range(limit), strict=False)) if limit else tuple(matching)
        if limit and len(chosen) == limit and chosen[-1] is not candidates[-1]:
            token = _next(chosen[-1], resource, namespace, version)
    return _encode(resource, chosen, version, token, remaining)


def _next(last: Stored, resource: Resource, namespace: str, version: int) -> str:
    key = last.key.removeprefix(f"{namespace}/") if resource.namespaced and namespace else last.key
    return Token(version, f"{key}\0").encode()


def _encode(resource: Resource, items: tuple[Stored, ...], version: int, token: str, remaining: int | None) -> bytes:
    """Write the list. Its items carry neither kind nor apiVersion, as in every typed list of the real server."""
    head = f'{{"kind":"{resource.kind}List","apiVersion":"{resource.api_version}","metadata":{{"resourceVersion":"{version}"'
    if token:
        head += f',"continue":"{token}"'
    if remaining is not None:
        head += f',"remainingItemCount":{remaining}'
    if not items:
        return f'{head}}},"items":[]}}\n'.encode()
    return b"".join((f'{head}}},"items":[{{'.encode(), b",{".join(item.body for item in items), b"]}\n"))

# SPDX-License-Identifier: Apache-2.0
"""What has been told of one kind, and what is to be told next.

Only keys and resourceVersions are kept: the objects themselves live with whoever receives the events. A list is held
against them object by object, so that a second list tells only what differs and there never is a moment in which
everything is gone.
"""

import msgspec

from kproxy.objects.decode import decode, identity
from kproxy.objects.events import Broken, Delete, Emit, Synced, Upsert
from kproxy.objects.meta import Meta
from kproxy.sources.watches import Watch
from kproxy.table.errors import ObjectError


class Inventory:
    """Turns objects, as they come from a server, into events."""

    def __init__(self, watch: Watch, emit: Emit) -> None:
        self._watch = watch
        self._emit = emit
        self._versions: dict[str, str] = {}
        self._seen: set[str] | None = None  # the keys of a list under way
        self._synced = False

    def __len__(self) -> int:
        """Return how many objects are known."""
        return len(self._versions)

    def begin(self) -> None:
        """Start to receive a list; one that was under way is forgotten."""
        self._seen = set()

    def finish(self, received: float) -> None:
        """End the list: what it did not name is gone."""
        seen, self._seen = self._seen or set(), None
        for key in [key for key in self._versions if key not in seen]:
            self._forget(key, received)
        self.synced()

    def synced(self) -> None:
        """Say, once, that all there is has been told."""
        if not self._synced:
            self._synced = True
            self._emit(Synced(self._watch.kind))

    def upsert(self, raw: msgspec.Raw, received: float) -> str:
        """Take an object that is new, changed or merely named by a list. Return its resourceVersion, if it has one."""
        if self._seen is not None and self._versions:  # most of a second list is known: look at the names alone
            meta = identity(raw)
            if meta and meta.resource_version and self._versions.get(meta.key) == meta.resource_version:
                self._seen.add(meta.key)
                return meta.resource_version
        try:
            item = decode(self._watch.kind, raw)
        except ObjectError as error:
            return self._report(identity(raw), str(error))
        key, version = item.metadata.key, item.metadata.resource_version
        if not self._watch.selector.matches(item):
            self._forget(key, received)
            return version
        if self._seen is not None:
            self._seen.add(key)
        if not version or self._versions.get(key) != version:  # the same: told again after a resumed watch
            self._versions[key] = version
            self._emit(Upsert(item, received))
        return version

    def delete(self, raw: msgspec.Raw, received: float) -> str:
        """Take an object that is gone, or no longer selected. Return its last resourceVersion, if it has one."""
        meta = identity(raw)
        if meta is None:
            return self._report(None, f"a {self._watch.kind} without a readable name was deleted; the next list tells which")
        self._forget(meta.key, received)
        return meta.resource_version

    def _report(self, meta: Meta | None, mend: str) -> str:
        """Keep a bad object out, name it once a version, and leave in force what was known of it."""
        key, version = (meta.key, meta.resource_version) if meta else ("", "")
        if key:
            if self._seen is not None:
                self._seen.add(key)
            if version and self._versions.get(key) == version:
                return version
            self._versions[key] = version
        self._emit(Broken(self._watch.kind, key, mend))
        return version

    def _forget(self, key: str, received: float) -> None:
        if self._seen is not None:
            self._seen.discard(key)
        if self._versions.pop(key, None) is not None:
            self._emit(Delete(self._watch.kind, key, received))

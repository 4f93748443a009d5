# SPDX-License-Identifier: Apache-2.0
"""A directory of manifests as a source, so that kproxy runs with no API server at all.

Every ``*.yaml``, ``*.yml`` and ``*.json`` directly in the directory counts, dot files aside. Changes are followed by
inotify: files written in place, renamed over, linked, and the ``..data`` swap of a mounted ConfigMap. What inotify cannot
see (a symbolic link's target, a network file system, the directory itself replaced) is noticed within ``PERIOD`` seconds.

What turns bad keeps its last good content in force. An object in two files counts from the file whose name comes first.
"""

import asyncio
import contextlib
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from kproxy.kernel.inotify import Inotify, Mask
from kproxy.objects.events import Broken, Delete, Emit, Kind, Object, Synced, Upsert
from kproxy.sources.manifests import Key, Manifest, ManifestReader
from kproxy.sources.watches import Watch
from kproxy.table.clock import Clock, SystemClock
from kproxy.table.errors import ConfigError

SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
PERIOD: Final = 10.0  # seconds between looks at what inotify cannot see
UNSETTLED: Final = 2.0  # seconds: a file written more recently may still be open; its closing is told by inotify
WATCHED: Final = (
    Mask.CLOSE_WRITE
    | Mask.MOVED_FROM
    | Mask.MOVED_TO
    | Mask.CREATE
    | Mask.DELETE
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
    | Mask.ATTRIB
)
Trouble: TypeAlias = tuple[Kind | None, str]  # what a Broken event is about


class ManifestFile(msgspec.Struct):
    """What one file has said."""

    reader: ManifestReader
    looks: tuple[int, ...] = ()  # what changes when the file does
    objects: dict[Key, Object] = {}
    troubles: dict[Trouble, str] = {}


class DirectorySource:
    """Tells the objects of a directory's manifests. Raises ConfigError for a path that is no directory."""

    def __init__(self, path: Path, watches: Iterable[Watch], *, clock: Clock | None = None) -> None:
        try:
            found = path.is_dir()
        except OSError as error:
            raise ConfigError(f"--manifests {path}: {error.strerror}: let kproxy's user read it or mend the flag") from error
        if not found:
            raise ConfigError(f"--manifests {path} is not a directory: create it or mend the flag")
        self._path = path
        self._selectors = {watch.kind: watch.selector for watch in watches}
        self._clock = clock or SystemClock()
        self._files: dict[str, ManifestFile] = {}
        self._in_force: dict[Key, Object] = {}
        self._owners: dict[Key, list[str]] = {}
        self._shared: set[Key] = set()  # the keys with more than one owner
        self._troubles: dict[Trouble, str] = {}
        self._gone = ""  # what is wrong with the directory itself

    async def run(self, emit: Emit) -> None:
        """Tell what the files say, then what changes in them, until cancelled."""
        with contextlib.closing(Inotify()) as door:
            changed = asyncio.Event()
            loop = asyncio.get_running_loop()
            loop.add_reader(door.fileno(), changed.set)
            try:
                self._attach(door)
                await self._look(None, emit, settled=False)
                for kind in self._selectors:
                    emit(Synced(kind))
                while True:
                    try:
                        async with asyncio.timeout(PERIOD):
                            await changed.wait()
                    except TimeoutError:
                        self._attach(door)
                        await self._look(None, emit, settled=True)
                        continue
                    changed.clear()
                    names = self._names(door)
                    if names is None:
                        self._attach(door)
                    await self._look(names, emit, settled=False)
            finally:
                loop.remove_reader(door.fileno())

    def _attach(self, door: Inotify) -> None:
        """Watch the directory that now has our path; once more does no harm."""
        with contextlib.suppress(OSError):  # gone: the next look says so
            door.add(self._path, WATCHED | Mask.ONLYDIR)

    def _names(self, door: Inotify) -> set[str] | None:
        """Return the names of the files that may have changed. None: any."""
        names: set[str] = set()
        for change in door.read():
            if not change.name or change.mask & Mask.OVERFLOW or change.name.startswith(".."):
                return None
            if change.mask & Mask.CREATE and not (self._path / change.name).is_symlink():
                continue  # its content is told when it is closed
            if _counts(change.name):
                names.add(change.name)
        return names

    async def _look(self, names: set[str] | None, emit: Emit, *, settled: bool) -> None:
        """Read the named files, or all, as far as they have changed, and tell what is different."""
        received = self._clock.monotonic()
        names = None if self._gone else names
        try:
            found = {path.name for path in self._path.iterdir() if _counts(path.name)} if names is None else names
            self._gone = ""
        except OSError as error:
            self._gone = f"{self._path} cannot be read: {error.strerror}; what it said stays"
            self._report(self._all_troubles(), emit)
            return
        missing = self._files.keys() - found if names is None else ()
        touched: set[Key] = set()
        for name in sorted({*found, *missing}):
            touched |= await self._read(name, settled=settled)
        for key in sorted(touched):
            self._settle(key, received, emit)
        self._report(self._all_troubles(), emit)

    async def _read(self, name: str, *, settled: bool) -> set[Key]:
        """Read one file if it has changed; return the keys of the objects to look at again."""
        path = self._path / name
        file = self._files.get(name) or ManifestFile(ManifestReader(str(path)))
        try:
            status = path.stat()
            if settled and time.time() - status.st_mtime < UNSETTLED:
                return set()
            looks = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev, status.st_mode)
            if looks == file.looks or not stat.S_ISREG(status.st_mode):
                return set()
            manifest = await asyncio.to_thread(lambda: file.reader.read(path.read_bytes()))
        except FileNotFoundError:
            if not self._path.is_dir():
                return set()  # it is not the file that is gone
            if path.is_symlink():
                return self._keep(name, file, f"{path} is a link to nothing: mend or remove it")
            self._files.pop(name, None)
            return self._own(name, file.objects, {})
        except OSError as error:
            return self._keep(name, file, f"{path} cannot be read: {error.strerror}; mend its permissions")
        self._files[name] = file
        file.looks = looks
        before, file.objects = file.objects, self._what_counts(file, manifest)
        file.troubles = _troubles(str(path), manifest)
        return self._own(name, before, file.objects)

    def _what_counts(self, file: ManifestFile, manifest: Manifest) -> dict[Key, Object]:
        """Return the file's objects: the good ones, and for the bad ones what they last were."""
        objects = {
            key: item
            for key, item in manifest.objects.items()
            if key[0] in self._selectors and self._selectors[key[0]].matches(item)
        }
        bad = {problem.key for problem in manifest.problems}
        stale = file.objects.keys() - manifest.objects.keys()
        return objects | {key: file.objects[key] for key in stale if key in bad or None in bad}

    def _keep(self, name: str, file: ManifestFile, mend: str) -> set[Key]:
        """Note that a file cannot be read now; what it said stays in force."""
        self._files[name] = file
        file.looks = ()
        file.troubles = {(None, str(self._path / name)): mend}
        return set()

    def _own(self, name: str, before: dict[Key, Object], after: dict[Key, Object]) -> set[Key]:
        """Note whose objects a file has, and return those that it has or had otherwise."""
        for key in before.keys() - after.keys():
            self._owners[key].remove(name)
            if len(self._owners[key]) < 2:
                self._shared.discard(key)
        for key in after.keys() - before.keys():
            self._owners[key] = sorted((*self._owners.get(key, ()), name))
            if len(self._owners[key]) > 1:
                self._shared.add(key)
        return {key for key in before.keys() | after.keys() if before.get(key) is not after.get(key)}

    def _settle(self, key: Key, received: float, emit: Emit) -> None:
        """Decide which file an object counts from, and tell it if it differs from what is in force."""
        owners = self._owners.get(key)
        if not owners:
            self._owners.pop(key, None)
            if self._in_force.pop(key, None) is not None:
                emit(Delete(*key, received))
            return
        item = self._files[owners[0]].objects[key]
        if self._in_force.get(key) != item:
            self._in_force[key] = item
            emit(Upsert(item, received))

    def _all_troubles(self) -> dict[Trouble, str]:
        """Return everything that is wrong now."""
        troubles: dict[Trouble, str] = {(None, str(self._path)): self._gone} if self._gone else {}
        for file in self._files.values():
            troubles |= file.troubles
        for kind, key in self._shared:
            first, *others = self._owners[kind, key]
            where = f"{self._path}/{first}, which counts, and in {' and '.join(others)}"
            troubles[kind, key] = f"{kind} {key} is in {where}: remove it there"
        return troubles

    def _report(self, troubles: dict[Trouble, str], emit: Emit) -> None:
        """Tell troubles that are new, and those that are over."""
        for trouble, mend in troubles.items():
            if self._troubles.get(trouble) != mend:
                emit(Broken(*trouble, mend))
        for kind, key in self._troubles.keys() - troubles.keys():
            emit(Broken(kind, key, ""))
        self._troubles = troubles


def _counts(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix in SUFFIXES


def _troubles(path: str, manifest: Manifest) -> dict[Trouble, str]:
    """Sort a manifest's problems by what they are about; what cannot be told apart is told as the file's."""
    troubles: dict[Trouble, str] = {}
    for problem in manifest.problems:
        about: Trouble = problem.key or (None, path)
        troubles[about] = f"{troubles[about]}; {problem.mend}" if about in troubles else problem.mend
    return troubles

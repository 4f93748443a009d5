# SPDX-License-Identifier: Apache-2.0
"""The kernel's door to file changes: inotify(7), by way of the C library.

A descriptor that can be polled, and nothing more; whoever opens it decides what a change means.
"""

import ctypes
import os
import struct
from enum import IntFlag
from pathlib import Path
from typing import Final

import msgspec

from kproxy.table.errors import KernelError

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_HEADER: Final = struct.Struct("iIII")  # wd, mask, cookie, length of the name


class Mask(IntFlag):
    """What happened, or what to watch for (linux/inotify.h)."""

    ATTRIB = 0x4
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    MOVE_SELF = 0x800
    OVERFLOW = 0x4000
    IGNORED = 0x8000
    ONLYDIR = 0x1000000
    ISDIR = 0x40000000


class FileChange(msgspec.Struct, frozen=True):
    """One event: which watch it belongs to, what happened, and to which name in the watched folder (may be empty)."""

    watch: int
    mask: Mask
    name: str


class Inotify:
    """One inotify descriptor, non-blocking."""

    def __init__(self) -> None:
        self._descriptor = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise KernelError(f"inotify cannot be opened: {_words()}; raise fs.inotify.max_user_instances")

    def fileno(self) -> int:
        """Return the descriptor, for polling."""
        return int(self._descriptor)

    def add(self, path: Path, mask: Mask) -> int:
        """Watch a path, return the number of the watch. Raises KernelError, FileNotFoundError or NotADirectoryError."""
        watch = _LIBC.inotify_add_watch(self._descriptor, os.fsencode(path), int(mask))
        if watch >= 0:
            return int(watch)
        number = ctypes.get_errno()
        if number in {2, 20}:  # ENOENT, ENOTDIR
            raise OSError(number, os.strerror(number), str(path))
        raise KernelError(f"{path} cannot be watched: {_words()}; raise fs.inotify.max_user_watches")

    def read(self) -> list[FileChange]:
        """Return what has happened since the last call; does not wait."""
        try:
            buffer = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return []
        changes = []
        at = 0
        while at < len(buffer):
            watch, mask, _, length = _HEADER.unpack_from(buffer, at)
            at += _HEADER.size
            name = os.fsdecode(buffer[at : at + length].rstrip(b"\0"))
            at += length
            changes.append(FileChange(watch, Mask(mask), name))
        return changes

    def close(self) -> None:
        """Give the descriptor back, and all watches with it."""
        os.close(self._descriptor)


def _words() -> str:
    return os.strerror(ctypes.get_errno())

# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: enter one for a while, or have one of one's own that vanishes with its last user.

The calling *thread* is what enters; sockets it opens and processes it starts meanwhile belong to that namespace for good.
"""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from kproxy.table.errors import KernelError, PermissionDenied

CLONE_NEWNET: Final = 0x40000000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def _own() -> int:
    """Open the calling thread's namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, CLONE_NEWNET):
        raise KernelError(f"a network namespace cannot be entered: {os.strerror(ctypes.get_errno())}")


@contextlib.contextmanager
def private() -> Iterator[None]:
    """Give the calling thread a new, empty namespace without a name; the kernel takes it away once nobody uses it."""
    outside = _own()
    try:
        if _LIBC.unshare(CLONE_NEWNET):
            reason = os.strerror(ctypes.get_errno())
            raise PermissionDenied(f"no network namespace can be made here ({reason}); run as root with CAP_SYS_ADMIN")
        try:
            yield
        finally:
            _enter(outside)
    finally:
        os.close(outside)


@contextlib.contextmanager
def inside(namespace: Path | int) -> Iterator[None]:
    """Have the calling thread enter a namespace, given as a file under ``/run/netns`` or an open descriptor."""
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC) if isinstance(namespace, Path) else namespace
    try:
        outside = _own()
        try:
            _enter(descriptor)
            try:
                yield
            finally:
                _enter(outside)
        finally:
            os.close(outside)
    finally:
        if isinstance(namespace, Path):
            os.close(descriptor)


def ip(lines: Sequence[str]) -> None:
    """Run lines of the ``ip`` command in the thread's namespace. Raises KernelError with the command's words."""
    done = subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)
    if done.returncode:
        words = done.stderr.strip()
        if "not permitted" in words:
            raise PermissionDenied(f"the kernel lets us make no networks here ({words}); run as root")
        raise KernelError(f"ip refused: {words}")

# SPDX-License-Identifier: Apache-2.0
"""Sysctls: read, compare, and write only what differs.

A start without the privilege to write still succeeds where a privileged one (``--init-only``) has set everything before.
"""

import errno
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from kproxy.table.errors import KernelError, PermissionDenied, Unsupported

PROC_SYS: Final = Path("/proc/sys")
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class Sysctl(msgspec.Struct, frozen=True):
    """A wish: ``name`` with dots (``net.ipv4.ip_forward``), or with slashes where a part holds a dot itself.

    ``setting`` is the configuration field that asks for it. ``raise_only``: a larger value in the kernel is left alone.
    ``optional``: it only makes things faster, so a refusal does not matter.
    """

    name: str
    value: int
    setting: str = ""
    raise_only: bool = False
    optional: bool = False

    def __str__(self) -> str:
        """Return it as ``sysctl -w`` takes it."""
        return f"{self.name}={self.value}"


class Outcome(msgspec.Struct, frozen=True):
    """What became of wishes: those written, and an error for each that was refused (``ignored``: optional ones)."""

    written: tuple[Sysctl, ...] = ()
    errors: tuple[KernelError, ...] = ()
    ignored: tuple[KernelError, ...] = ()


class Sysctls:
    """The kernel's settings under ``root``, which a test may replace by a directory of its own."""

    def __init__(self, root: Path = PROC_SYS) -> None:
        self.root = root

    def _path(self, name: str) -> Path:
        return self.root / (name if "/" in name else name.replace(".", "/"))

    def read(self, name: str) -> int | None:
        """Return the value, or None where there is no such setting. Raises KernelError when it cannot be read."""
        try:
            return int(self._path(name).read_text(encoding="ascii"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise KernelError(f"sysctl {name} cannot be read: {error}") from error

    def write(self, wish: Sysctl) -> None:
        """Write without looking. Raises PermissionDenied, Unsupported or KernelError with the mend."""
        off = f", or set {wish.setting} to 0 to leave it alone" if wish.setting else ""
        try:
            with self._path(wish.name).open("r+", encoding="ascii") as file:
                file.write(f"{wish.value}\n")
        except FileNotFoundError as error:
            module = "load the kernel module nf_conntrack" if "nf_conntrack" in wish.name else "check the kernel's modules"
            raise Unsupported(f"sysctl {wish.name} does not exist here: {module}{off}") from error
        except OSError as error:
            if error.errno in _DENIED:
                raise PermissionDenied(
                    f"sysctl {wish} may not be written by this process: run kproxy --init-only once with full privileges "
                    f"in the host's network namespace{off}"
                ) from error
            raise KernelError(f"the kernel refuses sysctl {wish}: {error.strerror}: choose another value{off}") from error

    def satisfied(self, wish: Sysctl) -> bool:
        """Tell whether the kernel holds what is wished for, or more where more is as good. Raises KernelError."""
        current = self.read(wish.name)
        return current is not None and (current == wish.value or (wish.raise_only and current > wish.value))

    def ensure(self, wishes: Iterable[Sysctl]) -> Outcome:
        """Write what differs, all of it even if some is refused."""
        written: list[Sysctl] = []
        errors: list[KernelError] = []
        ignored: list[KernelError] = []
        for wish in wishes:
            try:
                if not self.satisfied(wish):
                    self.write(wish)
                    written.append(wish)
            except KernelError as error:
                (ignored if wish.optional else errors).append(error)
        return Outcome(tuple(written), tuple(errors), tuple(ignored))

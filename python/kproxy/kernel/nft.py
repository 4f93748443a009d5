# SPDX-License-Identifier: Apache-2.0
"""The door to the ``nft`` command: text in, errors of the project's tree out.

Each call starts a process and costs some milliseconds, so it is for structure, for tests and as a fallback; elements travel
by netlink. Text goes to standard input, so its length has no limit.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from typing import Final

from kproxy.table.errors import Busy, KernelError, PermissionDenied, Unsupported

OLDEST: Final = (1, 0, 6)  # lists and reloads every expression we use
TIMEOUT: Final = 300.0  # seconds; half a million elements take five
_VERSION: Final = re.compile(r"v(\d+)\.(\d+)(?:\.(\d+))?")
_LINE: Final = re.compile(r"^(?:/dev/stdin|-|internal):(\d+):", re.MULTILINE)


class NftRefused(KernelError):  # noqa: N818 - reads as what it says
    """``nft`` did not take the text. ``line`` is the first line it complains of, counted from 1; 0 when it names none."""

    def __init__(self, words: str, line: int = 0) -> None:
        super().__init__(words)
        self.line = line


class Nft:
    """Runs ``nft`` in the calling thread's network namespace.

    ``noticed`` is called with the process id of each run that may have changed something, once it has ended: that is the
    port by which the kernel's notifications name it.
    """

    def __init__(self, command: str = "nft", noticed: Callable[[int], None] | None = None) -> None:
        self.command = command
        self.noticed = noticed

    def apply(self, text: str) -> None:
        """Commit commands as one transaction. Raises NftRefused, Busy, PermissionDenied or Unsupported."""
        if text:
            self._run(["-f", "-"], text)

    def check(self, text: str) -> None:
        """Let ``nft`` and the kernel judge commands without committing them. Raises as ``apply`` does."""
        self._run(["-c", "-f", "-"], text)

    def listing(self, what: str) -> str:
        """Return a listing, such as that of ``map ip kproxy service-policies``. Never ask it for a large table."""
        return self._run(["list", *what.split()])

    def version(self) -> tuple[int, int, int]:
        """Return the command's version. Raises Unsupported when it is missing or older than ``OLDEST``."""
        words = self._run(["--version"])
        match = _VERSION.search(words)
        if not match:
            raise Unsupported(f"nft does not tell its version: {words.strip()!r}")
        version = (int(match[1]), int(match[2]), int(match[3] or 0))
        if version < OLDEST:
            raise Unsupported(f"nft is {_dotted(version)}; mode nftables needs {_dotted(OLDEST)} or newer: upgrade nftables")
        return version

    def _run(self, arguments: list[str], text: str | None = None) -> str:
        try:
            process = subprocess.Popen(
                [self.command, *arguments],
                stdin=subprocess.PIPE if text is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=os.environ | {"LC_ALL": "C"},
                text=True,
            )
        except FileNotFoundError:
            raise Unsupported(f"the command {self.command} is not on PATH: install the package nftables") from None
        with process:
            try:
                output, complaint = process.communicate(text, timeout=TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise KernelError(f"nft took longer than {TIMEOUT:.0f} s and was ended") from None
            finally:
                if self.noticed:
                    self.noticed(process.pid)
        if process.returncode:
            raise _error(complaint or f"nft ended with code {process.returncode}", process.returncode)
        return output


def is_installed() -> bool:
    """Tell whether the command is on PATH."""
    return shutil.which("nft") is not None


def _error(complaint: str, code: int) -> KernelError:
    words = "; ".join(dict.fromkeys(line for line in complaint.splitlines() if "rror" in line)) or complaint.strip()
    words = words[:500]
    if "Operation not permitted" in complaint:
        return PermissionDenied(f"nft may not change the rules ({words}): the process needs CAP_NET_ADMIN")
    if "Resource busy" in complaint or "Interrupted system call" in complaint:
        return Busy(f"nft: {words}")
    if code < 0:
        return KernelError(f"nft was killed by signal {-code}")
    match = _LINE.search(complaint)
    return NftRefused(f"nft: {words}", int(match[1]) if match else 0)


def _dotted(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))

# SPDX-License-Identifier: Apache-2.0
"""Programs that run on a host of the lab and never outlive it."""

import asyncio
import ctypes
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from kproxy.lab.host import Host
from kproxy.lab.namespaces import inside
from kproxy.table.errors import KproxyError

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Program:
    """A Python module running as a program of its own inside a host, its words going to a file."""

    def __init__(self, host: Host, log: Path, *arguments: str) -> None:
        self.name = f"{host.name}: python -m {' '.join(arguments)}"
        self.log = log
        with inside(host.namespace), log.open("ab") as words:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - nothing else keeps a child from outliving a crash
            )

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def check(self) -> None:
        """Raise KproxyError with its last words if the program has ended."""
        if self._process.poll() is not None:
            words = self.log.read_text(errors="replace").splitlines()[-8:]
            raise KproxyError(f"{self.name} ended with code {self._process.returncode}:\n  " + "\n  ".join(words))

    @property
    def is_running(self) -> bool:
        """Tell whether it has not ended."""
        return self._process.poll() is None

    def send(self, which: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(which)

    def wait(self, patience: float) -> int:
        """Wait until it has ended, and return its exit code. Raises subprocess.TimeoutExpired."""
        return self._process.wait(patience)

    def kill(self) -> None:
        """End it at once, as ``kill -9`` does, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    async def stop(self, patience: float = 5.0) -> int:
        """Ask it to end, insist after ``patience`` seconds, and return its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, patience)
        except subprocess.TimeoutExpired:
            self.kill()
        return self._process.wait()

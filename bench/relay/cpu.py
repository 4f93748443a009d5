# SPDX-License-Identifier: Apache-2.0
"""What processes cost, by the operating system's accounts: the kernel's work in their name is in it."""

import os
import resource
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_IDLE: Final = (3, 4)  # the columns idle and iowait of /proc/stat


def _threads(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except FileNotFoundError:
        return []


def descendants(pid: int) -> Iterator[int]:
    """Yield a process and all that descend from it and live."""
    yield pid
    for thread in _threads(pid):
        try:
            children = (thread / "children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in children:
            yield from descendants(int(child))


def seconds(pids: Iterable[int]) -> float:
    """Return the processor time that these living processes have had, over all their threads."""
    nanoseconds = 0
    for pid in pids:
        for thread in _threads(pid):
            try:
                nanoseconds += int((thread / "schedstat").read_text().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                continue
    return nanoseconds / 1e9


def _own() -> float:
    """Return the time of this process and all it ever started."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds(descendants(os.getpid())) + ended.ru_utime + ended.ru_stime


def _kernel_threads() -> float:
    """Return the time of the kernel's own threads, which carry everybody's packets."""
    return seconds(descendants(2))


def _busy() -> float:
    """Return the time in which no processor was idle for us: what the hypervisor took is in it."""
    columns = [int(ticks) for ticks in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(ticks for column, ticks in enumerate(columns) if column not in _IDLE) / _TICKS


def foreign() -> float:
    """Return a clock whose advance is processor time that was neither ours nor the kernel's: what others used."""
    return _busy() - _own() - _kernel_threads()

# SPDX-License-Identifier: Apache-2.0
"""What this process and its machine are like: families, privileges, the out-of-memory score, the garbage collector."""

import ctypes
import gc
import logging
import os
from pathlib import Path
from typing import Final

from kproxy.table.terms import Family

log: Final = logging.getLogger(__name__)
M_ARENA_MAX: Final = -8  # malloc.h


def families(proc: Path = Path("/proc")) -> tuple[Family, ...]:
    """Return the families this kernel speaks."""
    return (Family.IPV4, Family.IPV6) if (proc / "net/if_inet6").exists() else (Family.IPV4,)


def set_oom_score(score: int, proc: Path = Path("/proc")) -> None:
    """Make the kernel spare this process. Whoever may not is told so, and goes on."""
    try:
        (proc / "self/oom_score_adj").write_text(f"{score}\n", encoding="ascii")
    except OSError as error:
        log.info("oom_score_adj stays as it is: %s; whoever starts kproxy can set it to %d", error.strerror, score)


def processors() -> int:
    """Return how many processors this machine has, whatever share of them is ours."""
    return os.cpu_count() or 1


def spare_memory() -> None:
    """Ask for one heap instead of one a thread, so that what threads leave behind is used again. Not every libc can."""
    gc.set_threshold(50_000, 20, 50)  # a cluster's objects arrive all at once and stay
    _libc("mallopt", M_ARENA_MAX, 1)


def settle_memory() -> None:
    """Take what the first table consists of out of the garbage collector's sight: it would walk it all again and again.

    What was only needed on the way goes back to the kernel.
    """
    gc.collect()
    gc.freeze()
    _libc("malloc_trim", 0)


def _libc(name: str, *arguments: int) -> None:
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*arguments)

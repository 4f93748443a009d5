# SPDX-License-Identifier: Apache-2.0
"""The lock that every user of legacy iptables takes for as long as it works.

``iptables-restore -w`` waits for it but does not tell how long. So that an operator sees who is held up by whom, the wait is
done here, with a clock; the tool then takes the lock itself, and waits again should somebody have been faster.
"""

import fcntl
import os
import time
from pathlib import Path
from typing import Final

PATH: Final = Path("/run/xtables.lock")
_PAUSE: Final = 0.01


def wait_until_free(patience: float, path: Path | None = None) -> float:
    """Wait until nobody holds the lock, or patience is at its end; return how many seconds that took."""
    where = Path(os.environ.get("XTABLES_LOCKFILE") or path or PATH)
    try:
        descriptor = os.open(where, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0.0  # nobody has ever taken it
    started = time.monotonic()
    try:
        while time.monotonic() - started < patience:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_PAUSE)
            else:
                return time.monotonic() - started if time.monotonic() - started > _PAUSE / 2 else 0.0
        return time.monotonic() - started
    finally:
        os.close(descriptor)

# SPDX-License-Identifier: Apache-2.0
"""How long to wait before the kernel is asked again."""

from typing import Final

FIRST: Final = 0.1
LONGEST: Final = 30.0


def pause_after(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row (at least one): 0.1, doubling up to 30.

    Without chance, unlike the pauses before an API server: each node has a kernel of its own.
    """
    return min(LONGEST, FIRST * 2.0 ** min(failures - 1, 30))

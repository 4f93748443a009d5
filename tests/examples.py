# SPDX-License-Identifier: Apache-2.0
"""How many examples a property is tried on: a tenth in the everyday loop, all of them where everything runs."""

import os
from typing import Final

EVERYDAY: Final = 0.1
LEAST: Final = 3


def examples(all_of_them: int) -> int:
    """Return how many to try. ``EXAMPLES=all`` in the environment, as ``make test`` sets it, asks for all."""
    return all_of_them if os.environ.get("EXAMPLES") == "all" else max(LEAST, round(all_of_them * EVERYDAY))

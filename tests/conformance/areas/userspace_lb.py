# SPDX-License-Identifier: Apache-2.0
"""Area userspace_lb: round robin and affinity of userspace mode."""

from typing import Any

from tests.conformance.result import ModeNotBuilt


def run(case: dict[str, Any]) -> None:
    """Nothing can answer yet."""
    raise ModeNotBuilt(case["area"])

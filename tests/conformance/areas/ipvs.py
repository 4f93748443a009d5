# SPDX-License-Identifier: Apache-2.0
"""Area ipvs: schedulers, excluded ranges and draining of ipvs mode."""

from typing import Any

from tests.conformance.result import ModeNotBuilt


def run(case: dict[str, Any]) -> None:
    """Nothing can answer yet."""
    raise ModeNotBuilt(case["area"])

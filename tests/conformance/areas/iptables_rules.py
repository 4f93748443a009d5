# SPDX-License-Identifier: Apache-2.0
"""Area iptables_rules: the rules of iptables mode, by their effect."""

from typing import Any

from tests.conformance.result import ModeNotBuilt


def run(case: dict[str, Any]) -> None:
    """Nothing can answer yet."""
    raise ModeNotBuilt(case["area"])

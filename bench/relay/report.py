# SPDX-License-Identifier: Apache-2.0
"""An outcome in words: every relay beside the direct path."""

import math

from bench.relay.rounds import Medians, Outcome


def lines(title: str, outcome: Outcome) -> list[str]:
    """Return a line for each target: its rate beside the direct path's, and cost and latency where they were measured."""
    direct = outcome.medians.get("direct")
    noise = f", {outcome.disturbed} of {outcome.samples} samples disturbed" if outcome.disturbed else ""
    return [f"{title}{noise}"] + [f"  {name:<15} {_words(medians, direct)}" for name, medians in outcome.medians.items()]


def _words(medians: Medians, direct: Medians | None) -> str:
    parts = [f"{medians.rate:10.4g}/s" + (f" = {medians.rate / direct.rate:.2f} x direct" if direct else "")]
    if medians.cost:
        parts.append(f"{medians.cost * 1e6:.4g} us of CPU each")
    if not math.isnan(medians.p50):
        parts.append(f"p50 {medians.p50:.0f} us, p99 {medians.p99:.0f} us")
    return ", ".join(parts)

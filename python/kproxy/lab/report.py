# SPDX-License-Identifier: Apache-2.0
"""The demo's tables, for a terminal: who answered how often, and how often it should have."""

from collections.abc import Iterable

from kproxy.lab.dial import Tally
from kproxy.lab.plan import Dial

_BLOCKS = " ▏▎▍▌▋▊▉█"


def bar(share: float, width: int = 8) -> str:
    """Draw a share of 0..1 as a bar of ``width`` cells."""
    eighths = round(share * width * 8)
    return ("█" * (eighths // 8) + (_BLOCKS[eighths % 8] if eighths % 8 else "")).ljust(width)


def answers(tally: Tally, plan: Dial) -> str:
    """Say who answered: ``catalog-1 26 · catalog-2 24``, with the share each should have had."""
    total = max(tally.servers.total(), 1)
    parts = [
        f"{name.rpartition('-')[2]} {bar(count / total)} {100 * count / total:.0f} %"
        for name, count in sorted(tally.servers.items())
    ]
    expected = "one per client" if plan.sticky else f"{100 / max(len(plan.servers), 1):.0f} % each"
    return f"{'  '.join(parts)}   (expected: {expected})"


def dial_table(rows: Iterable[tuple[Dial, Tally]]) -> Iterable[str]:
    """Yield the lines of the table of dials."""
    yield f"{'SERVICE':16}{'FRONTEND':13}{'ADDRESS':31}{'FROM':9}{'DIALS':>6}{'FAILED':>8}  WHO ANSWERED (Pod number)"
    service = ""
    for plan, tally in rows:
        shown = f"[{plan.address}]" if ":" in plan.address else plan.address
        name, service = ("" if plan.service == service else plan.service), plan.service
        address = f"{shown}:{plan.port}/{plan.protocol}"
        counts = f"{tally.dials:6}{tally.failures.total():8}"
        yield f"{name:16}{plan.kind:13}{address:31}{plan.place:9}{counts}  {answers(tally, plan)}"

# SPDX-License-Identifier: Apache-2.0
"""Carries transactions to the kernel: ipsets, then restore text; what must wait goes with a later call.

The text may hold several sections, each a transaction of the kernel's. If a later one is refused those before are in force,
so ``Stale`` tells whether the kernel still holds what it held.
"""

import time
from collections.abc import Callable
from typing import Final

from kproxy.dataplanes.contract import Lock
from kproxy.dataplanes.iptables.committed import Counted
from kproxy.dataplanes.iptables.layout import TABLES, Chain
from kproxy.dataplanes.iptables.transaction import IptablesTransaction, Line, deletion, text_of
from kproxy.kernel import ipset
from kproxy.kernel.xtables import Kind, Xtables, XtablesRefused
from kproxy.kernel.xtables_lock import wait_until_free
from kproxy.table.errors import Busy, KernelError
from kproxy.table.route import RouteKey

FLIGHT_TIME: Final = 0.001  # seconds after which no packet is still on its way through our chains


class TextRefused(KernelError):  # noqa: N818 - reads as what it says
    """A transaction was refused. ``key``: whose line it was; ``is_partial``: a part of it is in force."""

    def __init__(self, words: str, key: RouteKey | None, *, is_partial: bool) -> None:
        super().__init__(words)
        self.key = key
        self.is_partial = is_partial


class Committer:
    """Sends transactions and what they leave for later. ``lock``: what waiting for others has cost."""

    def __init__(self, xtables: Xtables, ended: Callable[[int], None]) -> None:
        self._xtables = xtables
        self._ended = ended
        self._chains: set[Chain] = set()
        self._sets: set[str] = set()
        self._sent = 0.0
        self.lock = Lock()

    def forget(self) -> None:
        """Drop what waits: reading back will find it."""
        self._chains, self._sets = set(), set()

    @property
    def waiting(self) -> bool:
        """Tell whether something waits for packets in flight."""
        return bool(self._chains or self._sets)

    def send(self, transaction: IptablesTransaction, counted: Counted) -> None:
        """Commit a transaction's sections. Raises TextRefused or another KernelError."""
        if transaction.sets.come:
            ipset.restore("".join(f"{line}\n" for line in transaction.set_commands()))
        self._sets -= set(transaction.sets.come)
        lines = transaction.lines(counted)
        if lines:
            self._restore(lines)
        self._chains -= transaction.after.keys()
        self._chains |= set(transaction.gone)
        self._sets |= set(transaction.sets.gone)

    def settle(self) -> None:
        """Delete what nothing leads to any more. Raises KernelError."""
        if not self.waiting:
            return
        time.sleep(max(0.0, self._sent + FLIGHT_TIME - time.monotonic()))
        lines: list[Line] = []
        for table in TABLES:
            lines += deletion(table, sorted(chain for chain in self._chains if chain[0] == table))
        if lines:
            self._restore(lines)
        self._chains = set()
        if self._sets:
            ipset.restore("".join(f"destroy {name}\n" for name in sorted(self._sets)))
            self._sets = set()

    def _restore(self, lines: list[Line]) -> None:
        if self._xtables.kind is Kind.LEGACY:
            waited = self.lock.waited + wait_until_free(self._xtables.wait)
            self.lock = Lock(waited, self.lock.timeouts)
        try:
            self._xtables.restore(text_of(lines), counters=True, ended=self._ended)
        except XtablesRefused as refusal:
            before = lines[: refusal.line - 1] if refusal.line else lines[:-1]
            is_partial = any(line.text == "COMMIT" for line in before)
            key = lines[refusal.line - 1].key if 0 < refusal.line <= len(lines) else None
            raise TextRefused(_words(lines, refusal), key, is_partial=is_partial) from refusal
        except Busy:
            self.lock = Lock(self.lock.waited, self.lock.timeouts + 1)
            raise
        finally:
            self._sent = time.monotonic()


def _words(lines: list[Line], refusal: XtablesRefused) -> str:
    if not 0 < refusal.line <= len(lines):
        return str(refusal)
    line = lines[refusal.line - 1]
    return f"{f'{line.key}: ' if line.key else ''}{refusal} (the line is: {line.text})"

# SPDX-License-Identifier: Apache-2.0
"""What the loop tells about itself. Whoever reports implements this; the loop knows no metric, log or Event."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from kproxy.dataplanes.contract import Difference, Duty
from kproxy.table.route import RouteKey
from kproxy.table.routing_table import Changes, RoutingTable, Times


class Sync(msgspec.Struct, frozen=True):
    """One run of a lane that the kernel took, wholly or all but the refused routes. Times are monotonic seconds.

    ``keys`` are the routes it touched, None: every one (a *full* run). ``changes`` are the times of all changes it carried.
    """

    duty: Duty
    table: RoutingTable
    keys: frozenset[RouteKey] | None
    started: float
    ended: float
    operations: int = 0
    transactions: int = 0
    changes: tuple[Times, ...] = ()
    limits: Mapping[RouteKey, str] = {}

    @property
    def full(self) -> bool:
        """Tell whether nothing was taken for granted."""
        return self.keys is None


class Observer(Protocol):
    """Told on the event loop, as things happen. Calls must be cheap."""

    def resolved(self, changes: Changes, seconds: float) -> None:
        """Note a new wanted table."""

    def queued(self, duty: Duty) -> None:
        """Note that a dataplane's kernel is behind its table from now on."""

    def synced(self, sync: Sync) -> None:
        """Note that the kernel holds what it shall, refused routes aside."""

    def failed(self, duty: Duty, words: str, *, retry_in: float) -> None:
        """Note that a whole run failed; nothing is lost, it will be tried again."""

    def unsettled(self, duty: Duty, words: str) -> None:
        """Note that what no packet can reach any more could not be deleted."""

    def refused(self, duty: Duty, key: RouteKey, words: str, *, retry_in: float) -> None:
        """Note that the kernel refuses one route; what was in force of it stays."""

    def accepted(self, duty: Duty, key: RouteKey) -> None:
        """Note that a refused route is in force now, or gone."""

    def drifted(self, duty: Duty, differences: Sequence[Difference]) -> None:
        """Note that somebody else has changed something of ours; the repair follows at once."""

    def repaired(self, duty: Duty, seconds: float) -> None:
        """Note that the kernel is as it was before somebody changed it, so many seconds after that was noticed."""


class Silent:
    """Reports to nobody."""

    def resolved(self, changes: Changes, seconds: float) -> None:
        """Ignore it."""

    def queued(self, duty: Duty) -> None:
        """Ignore it."""

    def synced(self, sync: Sync) -> None:
        """Ignore it."""

    def failed(self, duty: Duty, words: str, *, retry_in: float) -> None:
        """Ignore it."""

    def unsettled(self, duty: Duty, words: str) -> None:
        """Ignore it."""

    def refused(self, duty: Duty, key: RouteKey, words: str, *, retry_in: float) -> None:
        """Ignore it."""

    def accepted(self, duty: Duty, key: RouteKey) -> None:
        """Ignore it."""

    def drifted(self, duty: Duty, differences: Sequence[Difference]) -> None:
        """Ignore it."""

    def repaired(self, duty: Duty, seconds: float) -> None:
        """Ignore it."""

# SPDX-License-Identifier: Apache-2.0
"""What the relay has done, added up over all Services, and never less than before.

The relay counts by Service and endpoint, and forgets what it has counted for those that leave. Their last counts are kept
here, so that sums only grow.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from kproxy import _core
from kproxy.dataplanes.contract import Durations, RelayReport

CLOSED: Final = ("done", "client-reset", "endpoint-reset", "idle", "drained")  # in the core's order
REFUSED: Final = ("unknown", "no-endpoint", "undialled", "full", "no-descriptor")
FAILED: Final = ("refused", "timed-out")
_MICRO: Final = 1e-6

Name: TypeAlias = tuple[str, str]  # Service, endpoint (empty: the Service itself)
Row: TypeAlias = tuple[int, ...]


class Totals:
    """Sums over everything that was ever there."""

    def __init__(self) -> None:
        self._last: dict[Name, Row] = {}
        self._past: Row = ()

    def take(self, rows: Iterable[tuple[Name, Row]]) -> Row:
        """Take a new reading; return the sums. Who counts from zero again has left and come back in between."""
        now = dict(rows)
        for name, before in self._last.items():
            after = now.get(name)
            if after is None or any(one < other for one, other in zip(after, before, strict=False)):
                self._past = _plus(self._past, before)
        self._last = now
        total = self._past
        for row in now.values():
            total = _plus(total, row)
        return total


def _plus(one: Row, other: Row) -> Row:
    """Add up, taking what a shorter row lacks for nothing."""
    if len(one) < len(other):
        one, other = other, one
    return (*(left + right for left, right in zip(one, other, strict=False)), *one[len(other) :])


class Reporter:
    """Makes reports of a relay's readings."""

    def __init__(self) -> None:
        self._services = Totals()
        self._endpoints = Totals()
        self._dial = Totals()
        self._first_byte = Totals()

    def report(
        self,
        services: "Sequence[_core._RelayWhole]",
        endpoints: "Sequence[_core._RelayCount]",
        refusals: Sequence[int] = (),
    ) -> RelayReport:
        """Add a reading up."""
        (retries,) = self._services.take(((key, ""), (retries,)) for key, retries, _ in services) or (0,)
        counts = self._endpoints.take(((row[0], row[1]), (row[6], *row[4], *row[5])) for row in endpoints)
        counts += (0,) * (1 + len(CLOSED) + len(FAILED) - len(counts))
        return RelayReport(
            active=sum(row[3] for row in endpoints),
            clients=sum(clients for _, _, clients in services),
            closed=dict(zip(CLOSED, counts[1:], strict=False)),
            refused=dict(zip(REFUSED, refusals or (0,) * len(REFUSED), strict=True)),
            failed=dict(zip(FAILED, counts[1 + len(CLOSED) :], strict=True)),
            retries=retries,
            ejections=counts[0],
            dial=self._durations(self._dial, endpoints, lambda row: row[9]),
            first_byte=self._durations(self._first_byte, endpoints, lambda row: row[10]),
        )

    @staticmethod
    def _durations(
        totals: Totals,
        endpoints: "Sequence[_core._RelayCount]",
        of: "Callable[[_core._RelayCount], _core._RelayTimes]",
    ) -> Durations:
        bounds = tuple(end * _MICRO for end in _core.Relay.steps())
        row = totals.take(((each[0], each[1]), (of(each)[1], *of(each)[0])) for each in endpoints if of(each)[0])
        if not row:
            return Durations(bounds, (0,) * (len(bounds) + 1))
        return Durations(bounds, row[1:], row[0] * _MICRO)

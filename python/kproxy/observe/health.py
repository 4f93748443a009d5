# SPDX-License-Identifier: Apache-2.0
"""Whether kproxy is well: the verdicts of /healthz, /livez and /readyz. Pure but for the clock.

A family is late when its oldest change has waited for longer than the time-out; it counts from its first table on. As
kube-proxy, with one difference: a proxy that has brought no table into force at all within the time-out of its start is not
well either, so that a node which cannot see its API server does not look green for ever.
"""

from collections.abc import Iterable

import msgspec

from kproxy.dataplanes.contract import Duty
from kproxy.objects.node import DRAIN_TAINT, Node
from kproxy.table.clock import Clock
from kproxy.table.terms import Family


class FamilyHealth(msgspec.Struct, frozen=True):
    """One family's part. ``updated`` is wall-clock seconds."""

    updated: float
    healthy: bool


class Verdict(msgspec.Struct, frozen=True):
    """Everything the three pages answer from. Times are wall-clock seconds.

    ``healthy``: the proxy is; ``fault`` says what has died in it. ``eligible``: the Node may get traffic from outside.
    ``ready``: every dataplane that serves has a table in force.
    """

    healthy: bool
    eligible: bool
    ready: bool
    updated: float
    now: float
    families: dict[Family, FamilyHealth]
    fault: str = ""


class Health:
    """Told what happens, it says how things are."""

    def __init__(self, timeout: float, *, clock: Clock) -> None:
        self.timeout = timeout
        self.fault = ""  # what has died in this process, as a sentence
        self._clock = clock
        self._started = clock.monotonic()
        self._serving: frozenset[Duty] = frozenset()  # whose first table readiness waits for
        self._queued: dict[Duty, float] = {}  # since when the oldest change waits
        self._updated: dict[Duty, float] = {}  # wall clock
        self._first_wall = clock.wall()
        self._node_known = False
        self._eligible = True

    def expect(self, duties: Iterable[Duty]) -> None:
        """Count on these dataplanes, none of which has a table yet."""
        self._serving = frozenset(duties)

    def serve(self, duties: Iterable[Duty]) -> None:
        """Count on these dataplanes from now on, whose tables are in force, and on no others."""
        self._serving = frozenset(duties)
        self._queued = {duty: since for duty, since in self._queued.items() if duty in self._serving}
        wall = self._clock.wall()
        self._updated = {duty: self._updated.get(duty, wall) for duty in self._serving}

    def queued(self, duty: Duty) -> None:
        """Note that a change waits for the kernel. One that nobody counts on yet may take its time."""
        if duty in self._serving:
            self._queued.setdefault(duty, self._clock.monotonic())

    def updated(self, duty: Duty) -> None:
        """Note that the kernel has all there was to have."""
        if duty in self._serving:
            self._queued.pop(duty, None)
            self._updated[duty] = self._clock.wall()

    @property
    def waiting(self) -> bool:
        """Tell whether any dataplane's change waits."""
        return bool(self._queued)

    def node(self, node: Node | None) -> None:
        """Note the Node as it is now; None: there is none. A node that is being drained or deleted gets no new traffic."""
        if node is None:
            self._eligible = not self._node_known
            return
        self._node_known = True
        drained = any(taint.key == DRAIN_TAINT for taint in node.spec.taints or ())
        self._eligible = not drained and node.metadata.deletion_timestamp is None

    def verdict(self) -> Verdict:
        """Say how things are now."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        late = {duty.family for duty, since in self._queued.items() if now - since >= self.timeout}
        updated: dict[Family, float] = {}
        for duty, moment in self._updated.items():
            updated[duty.family] = min(moment, updated.get(duty.family, moment))
        families = {
            family: FamilyHealth(updated.get(family, self._first_wall), family not in late)
            for family in Family
            if family in updated or family in late
        }
        blind = not self._updated and now - self._started >= self.timeout
        return Verdict(
            healthy=not late and not blind and not self.fault,
            eligible=self._eligible,
            ready=bool(self._updated) and self._serving <= self._updated.keys(),
            updated=max(self._updated.values(), default=self._first_wall),
            now=wall,
            families=families,
            fault=self.fault,
        )

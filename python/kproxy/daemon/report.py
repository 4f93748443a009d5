# SPDX-License-Identifier: Apache-2.0
"""What the loop tells, carried to metrics, health, Events and the log."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from kproxy.daemon.logs import fields
from kproxy.daemon.observer import Sync
from kproxy.dataplanes.contract import Difference, Duty
from kproxy.objects.events import Broken, Delete, Event, Kind, Upsert
from kproxy.objects.node import Node
from kproxy.observe.events import Action, Reason, Recorder, Reference, Weight, object_reference
from kproxy.observe.health import Health
from kproxy.observe.metrics import Metrics
from kproxy.table.clock import Clock
from kproxy.table.route import RouteKey
from kproxy.table.routing_table import Changes, Conflict, Times
from kproxy.table.terms import Family, Mode

log: Final = logging.getLogger(__name__)
API_GROUPS: Final = {Kind.ENDPOINT_SLICE: "discovery.k8s.io/v1", Kind.SERVICE_CIDR: "networking.k8s.io/v1"}
NAMED: Final = 5  # differences and changes that a log line names


def service_reference(key: RouteKey) -> Reference:
    """Refer to the Service of a route."""
    return Reference("Service", key.name, key.namespace)


class Reporter:
    """Implements ``observer.Observer``; also told the sources' events. ``complaints`` are the router's."""

    def __init__(
        self,
        node: str,
        *,
        metrics: Metrics,
        health: Health,
        events: Recorder,
        clock: Clock,
        complaints: Callable[[], Mapping[tuple[Kind, str], tuple[str, ...]]] = dict,
    ) -> None:
        self.broken: dict[tuple[Kind | None, str], str] = {}
        self.limits: dict[Duty, dict[RouteKey, str]] = {}
        self._node = node
        self._metrics = metrics
        self._health = health
        self._events = events
        self._clock = clock
        self._complaints = complaints
        self._known_complaints: dict[tuple[Kind, str], tuple[str, ...]] = {}
        self._conflicts: tuple[Conflict, ...] = ()
        self._refused: dict[Duty, dict[RouteKey, str]] = {}
        self._pending = dict.fromkeys(metrics.changes_total, 0)
        self._failures: dict[Duty, str] = {}

    # What sources tell.

    def told(self, event: Event) -> None:
        """Take an event on its way to the loop."""
        match event:
            case Upsert(object=Node() as node) if node.metadata.name == self._node:
                self._health.node(node)
            case Delete(kind=Kind.NODE, key=self._node):
                self._health.node(None)
            case Broken():
                self._note_broken(event)
        if isinstance(event, Upsert | Delete):
            kind = event.kind if isinstance(event, Delete) else Kind(type(event.object).__name__)
            if kind in self._pending:
                self._metrics.changes_total[kind].inc()
                self._pending[kind] += 1
                self._metrics.changes_pending[kind].set(self._pending[kind])
            if self.broken:
                key = event.key if isinstance(event, Delete) else event.object.metadata.key
                self._mended(kind, key)

    def _note_broken(self, event: Broken) -> None:
        if not event.mend:
            self._mended(event.kind, event.key)
            return
        self.broken[event.kind, event.key] = event.mend
        self._count_broken(event.kind)
        log.warning("%s", event.mend, extra=fields(kind=event.kind or "file", object=event.key))
        if event.kind is not None:
            about = object_reference(event.kind, event.key, API_GROUPS.get(event.kind, "v1"))
            self._events.tell(Weight.WARNING, Reason.OBJECT_BROKEN, Action.READ, event.mend, about)

    def _mended(self, kind: Kind | None, key: str) -> None:
        if self.broken.pop((kind, key), None) is not None:
            self._count_broken(kind)
            log.info("%s %s can be read again", kind or "file", key)

    def _count_broken(self, kind: Kind | None) -> None:
        count = sum(broken is kind for broken, _ in self.broken)
        self._metrics.broken.labels(kind or "file").set(count)

    # What the loop tells.

    def resolved(self, changes: Changes, seconds: float) -> None:
        """Note conflicts and complaints that are new."""
        log.debug("resolved", extra=fields(routes=len(changes.routes), services=len(changes.services), seconds=seconds))
        conflicts = changes.after.conflicts
        if conflicts is not self._conflicts:
            for conflict in sorted(set(conflicts) - set(self._conflicts)):
                words = f"{conflict.frontend} belongs to Service {conflict.winner} already; it is served to that one alone"
                log.warning("Service %s: %s", conflict.loser, words)
                about = object_reference("Service", conflict.loser)
                self._events.tell(Weight.WARNING, Reason.FRONTEND_CONFLICT, Action.SYNC, words, about)
            self._conflicts = conflicts
            self._metrics.conflicts.set(len(conflicts))
        self._metrics.services.set(len(changes.after.services))
        self._note_complaints()

    def _note_complaints(self) -> None:
        complaints = self._complaints()
        if not complaints and not self._known_complaints:
            return
        for (kind, key), sentences in complaints.items():
            for words in sentences:
                if words not in self._known_complaints.get((kind, key), ()):
                    log.warning("%s %s: %s", kind, key, words)
                    about = object_reference(kind, key, API_GROUPS.get(kind, "v1"))
                    self._events.tell(Weight.WARNING, Reason.OBJECT_QUESTIONABLE, Action.READ, words, about)
        self._known_complaints = dict(complaints)

    def queued(self, duty: Duty) -> None:
        """Note that a dataplane's kernel is behind."""
        self._health.queued(duty)
        self._metrics.sync_queued.labels(duty.family).set(self._clock.wall())

    def synced(self, sync: Sync) -> None:
        """Count a run, its latencies, and what the mode cannot do."""
        duty, family, seconds = sync.duty, sync.duty.family, sync.ended - sync.started
        self._health.updated(duty)
        if self._failures.pop(duty, None):
            log.info("%s: the kernel takes changes again", duty)
        metrics = self._metrics
        metrics.synced(family, seconds, full=sync.full, wall=self._clock.wall(), operations=sync.operations)
        for times in sync.changes:
            metrics.change(family, _stations(times), [self._clock.wall() - trigger for trigger in times.triggers])
        if not self._health.waiting:
            for kind in self._pending:
                self._pending[kind] = 0
                metrics.changes_pending[kind].set(0)
        self._note_limits(sync)
        if sync.full or log.isEnabledFor(logging.DEBUG):
            log.log(
                logging.INFO if sync.full else logging.DEBUG,
                "%s: %s",
                duty,
                "everything is in force" if sync.full else "changes are in force",
                extra=fields(operations=sync.operations, seconds=round(seconds, 6)),
            )

    def _note_limits(self, sync: Sync) -> None:
        own = self.limits.setdefault(sync.duty, {})
        for key in list(own) if sync.keys is None else [key for key in sync.keys if key in own]:
            if key not in sync.limits:
                del own[key]
        for key, words in sync.limits.items():
            if own.get(key) != words:
                own[key] = words
                log.warning("%s: %s", key, words)
                self._events.tell(Weight.WARNING, Reason.ROUTE_LIMITED, Action.SYNC, words, service_reference(key))
        self._metrics.limited_routes.labels(sync.duty.family).set(_count(self.limits, sync.duty.family))

    def failed(self, duty: Duty, words: str, *, retry_in: float) -> None:
        """Count a failure; the log names the first of a kind, and then each that comes after a long pause."""
        self._metrics.failed(duty)
        known = self._failures.get(duty) == words and retry_in < 30.0
        self._failures[duty] = words
        level = logging.DEBUG if known else logging.ERROR
        log.log(level, "%s: the sync failed, nothing is lost: %s", duty, words, extra=fields(retry_in=retry_in))

    def unsettled(self, duty: Duty, words: str) -> None:
        """Count a failed clean-up."""
        if duty.mode is Mode.NFTABLES:
            self._metrics.nftables_cleanup_failures.labels(duty.family).inc()
        log.warning("%s: left-overs could not be deleted: %s", duty, words)

    def refused(self, duty: Duty, key: RouteKey, words: str, *, retry_in: float) -> None:
        """Name the Service."""
        self._metrics.refusals.labels(duty.family).inc()
        refused = self._refused.setdefault(duty, {})
        if refused.get(key) != words:
            log.error("%s is refused by the kernel: %s", key, words, extra=fields(retry_in=retry_in))
            self._events.tell(Weight.WARNING, Reason.ROUTE_REFUSED, Action.SYNC, words, service_reference(key))
        refused[key] = words
        self._metrics.refused_routes.labels(duty.family).set(_count(self._refused, duty.family))

    def accepted(self, duty: Duty, key: RouteKey) -> None:
        """Say that it is over."""
        self._refused.get(duty, {}).pop(key, None)
        self._metrics.refused_routes.labels(duty.family).set(_count(self._refused, duty.family))
        log.info("%s is not refused any more", key)

    def drifted(self, duty: Duty, differences: Sequence[Difference]) -> None:
        """Name what others have changed."""
        self._metrics.differences.labels(duty.family).inc(len(differences))
        named = "; ".join(difference.what for difference in differences[:NAMED])
        more = f" and {len(differences) - NAMED} more" if len(differences) > NAMED else ""
        log.warning("%s: somebody has changed our rules, repairing: %s%s", duty, named, more)

    def repaired(self, duty: Duty, seconds: float) -> None:
        """Count a repair."""
        self._metrics.repairs.labels(duty.family).inc()
        words = f"{duty}: rules that somebody else had changed are repaired"
        log.warning("%s", words, extra=fields(seconds=round(seconds, 3)))
        self._events.tell(Weight.WARNING, Reason.RULES_REPAIRED, Action.SYNC, words)

    def serve(self, duties: Collection[Duty]) -> None:
        """Take note of whose table is in force from now on; what others were told of does not count any more."""
        self._health.serve(duties)
        for noted, gauge in ((self.limits, self._metrics.limited_routes), (self._refused, self._metrics.refused_routes)):
            for duty in noted.keys() - set(duties):
                del noted[duty]
            for duty in duties:
                gauge.labels(duty.family).set(_count(noted, duty.family))
        self._failures = {duty: words for duty, words in self._failures.items() if duty in duties}


def _count(noted: Mapping[Duty, Collection[RouteKey]], family: Family) -> int:
    """Count the routes of a family that are noted of any of its dataplanes."""
    return len({key for duty, keys in noted.items() if duty.family is family for key in keys})


def _stations(times: Times) -> dict[str, float]:
    """Return the seconds between the stations a change has passed."""
    if not times.received or not times.resolved:
        return {"resolved_to_committed": times.committed - times.resolved} if times.resolved else {}
    return {
        "received_to_resolved": max(0.0, times.resolved - times.received),
        "resolved_to_committed": max(0.0, times.committed - times.resolved),
        "total": max(0.0, times.committed - times.received),
    }

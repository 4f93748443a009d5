# SPDX-License-Identifier: Apache-2.0
"""One dataplane with what it has and what it shall have: when it is tried, retried, repaired, verified.

State advances only when the kernel said yes. ``due`` tells when there is something to do, ``step`` does what is due; nothing
here sleeps, so a test moves a fake clock and calls ``step``.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from kproxy.daemon.backoff import pause_after
from kproxy.daemon.carry import Carried, Job, carry
from kproxy.daemon.observer import Observer, Sync
from kproxy.daemon.tasks import in_thread
from kproxy.dataplanes.contract import Committed, Dataplane, Difference, Duty
from kproxy.table.clock import Clock
from kproxy.table.errors import KernelError
from kproxy.table.route import RouteKey
from kproxy.table.routing_table import Changes, RoutingTable, Times
from kproxy.table.terms import Mode

log: Final = logging.getLogger(__name__)
T = TypeVar("T")

INLINE: Final = 32  # so many routes are carried on the event loop; more in a thread, for health and API to stay alive
STUBBORN: Final = 3  # after so many failures in a row a single culprit is looked for
VERIFY_SHARE: Final = 0.005  # of all time at most goes into comparing, however large the cluster
SETTLING: Final = 5.0  # seconds after a run in which deletions that had to wait may take a while
QUIET: Final = 2.0  # seconds without a change after which a comparison is in nobody's way
IMPATIENCE: Final = 10.0  # so many times its period a comparison waits for such a moment
REPAIR_PAUSE: Final = 1.0  # between two repairs, should somebody fight us over our rules


class Timing(msgspec.Struct, frozen=True):
    """Seconds. ``minimum`` between the end of a run and the next one; ``verify`` between two full comparisons."""

    minimum: float = 1.0
    verify: float = 30.0
    poll: float = 0.25


class Refusal(msgspec.Struct, frozen=True):
    """A route the kernel refuses, and when it is asked again."""

    words: str
    failures: int
    retry_at: float


class Lane:
    """Carries one dataplane to the wanted table, whatever happens on the way."""

    def __init__(self, dataplane: Dataplane, *, clock: Clock, observer: Observer, timing: Timing | None = None) -> None:
        self.dataplane = dataplane
        self.duty = Duty(dataplane.mode, dataplane.family)
        self.timing = timing or Timing()
        self.table: RoutingTable | None = None  # in force; None: nothing was committed or compared yet
        self.wanted: RoutingTable | None = None
        self.refusals: dict[RouteKey, Refusal] = {}
        self.failure = ""  # why the last run failed; empty: it did not
        self._clock = clock
        self._observer = observer
        self._committed: Committed = None
        self._read = False
        self._running = False
        self._resting = False
        self._turn = asyncio.Lock()  # a dataplane's calls never overlap
        self._trusted = False  # the kernel holds self.table, as far as we know
        self._dirty: set[RouteKey] = set()
        self._node_dirty = False
        self._times: list[Times] = []
        self._failures = 0
        self._retry_at = -math.inf
        self._free_at = -math.inf  # the earliest next run for changes
        self._polled_at = -math.inf
        self._verify_at = math.inf
        self._verify_latest = math.inf
        self._settle_until = -math.inf
        self._drifted_at: float | None = None
        self._repair_at = -math.inf

    @property
    def settled(self) -> bool:
        """Tell whether the kernel holds the wanted table, refused routes aside."""
        return self.wanted is not None and not self._behind and not self._running

    @property
    def in_force(self) -> bool:
        """Tell whether the kernel holds a table, be it not the newest."""
        return self.table is not None and self._trusted

    @property
    def _behind(self) -> bool:
        return bool(self._dirty) or self._node_dirty or not self._trusted

    def offer(self, changes: Changes) -> None:
        """Take note of a new wanted table."""
        first = self.wanted is None
        family = self.dataplane.family
        keys = {change.key for change in changes.routes if change.key.family is family}
        self.wanted = changes.after
        self._dirty |= keys
        self._node_dirty |= changes.node
        if changes.before is None:
            self._trusted = False
        for key in keys & self.refusals.keys():  # it is not the same any more: worth an attempt at once
            self.refusals[key] = msgspec.structs.replace(self.refusals[key], failures=0, retry_at=-math.inf)
        if keys or changes.node or first:
            self._times.append(changes.times)
            self._observer.queued(self.duty)
        elif self.settled and not self.refusals:
            self.table = self.wanted  # the other family's news; nothing to do for this one

    def due(self) -> float:
        """Return the monotonic time at which ``step`` has something to do; infinity: not before something is offered."""
        if self.wanted is None or self._resting:
            return math.inf
        due = [self._polled_at + self.timing.poll]
        due += [self._run_at if self._behind else self._verify_at]
        due += [max(self.free_at, refusal.retry_at) for refusal in self.refusals.values()]
        return min(due)

    @property
    def free_at(self) -> float:
        """Return the time from which on new changes may be carried."""
        return max(self._free_at, self._retry_at)

    @property
    def _run_at(self) -> float:
        """A repair does not wait for the pause between two runs."""
        return self.free_at if self._drifted_at is None else max(self._repair_at, self._retry_at)

    async def ask(self, question: Callable[[Dataplane], T], *, patience: float | None = None) -> T:
        """Ask the dataplane something in a thread, between two runs. Raises TimeoutError if it is busy for too long."""
        async with asyncio.timeout(patience):
            await self._turn.acquire()
        try:
            return await in_thread(question, self.dataplane)
        finally:
            self._turn.release()

    async def rest(self) -> None:
        """Do nothing by itself any more; what is under way ends first."""
        async with self._turn:
            self._resting = True

    def resume(self) -> None:
        """Work again. Others may have written meanwhile, so the kernel is read anew."""
        self._resting = self._read = self._trusted = False

    async def verified(self) -> bool:
        """Compare the kernel with the table in force now, and tell whether they are the same."""
        async with self._turn:
            await self._verify(self._clock.monotonic())
        return self._trusted

    async def step(self) -> None:
        """Do what is due now."""
        async with self._turn:
            await self._step()

    async def _step(self) -> None:
        if self.wanted is None or self._resting:
            return
        now = self._clock.monotonic()
        if now >= self._polled_at + self.timing.poll:
            await self._poll(now)
        if now >= self._verify_at and not self._behind:
            await self._verify(now)
        retries = {key for key, refusal in self.refusals.items() if now >= max(refusal.retry_at, self.free_at)}
        if retries or (self._behind and now >= self._run_at):
            self._running = True
            try:
                await self._run(retries)
            finally:
                self._running = False

    async def _poll(self, now: float) -> None:
        self._polled_at = now
        try:
            if now < self._settle_until:
                await in_thread(self.dataplane.settle)
            else:
                self.dataplane.settle()
        except KernelError as error:
            self._observer.unsettled(self.duty, str(error))
        try:
            foreign = self._trusted and self.dataplane.foreign_changes()
        except KernelError as error:
            log.warning("%s: changes by others cannot be watched: %s", self.duty, error)
            foreign = False
        if foreign:
            await self._verify(now)

    async def _verify(self, now: float) -> None:
        """Compare the kernel with the table in force; what differs makes the lane distrust it, and so repair it."""
        self._verify_at = math.inf
        try:
            committed, differences = await in_thread(self._compare)
        except KernelError as error:
            log.warning("%s: the rules cannot be read back: %s", self.duty, error)
            self._verify_at = self._clock.monotonic() + REPAIR_PAUSE
            return
        ended = self._clock.monotonic()
        self._verify_after(ended, max(self.timing.verify, (ended - now) / VERIFY_SHARE))
        self._committed = committed
        if differences:
            self._trusted = False
            self._drifted_at = now
            self._observer.drifted(self.duty, differences)
            self._observer.queued(self.duty)

    def _verify_after(self, now: float, pause: float) -> None:
        self._verify_at = now + pause
        self._verify_latest = now + IMPATIENCE * pause

    def _compare(self) -> tuple[Committed, Sequence[Difference]]:
        committed = self.dataplane.read_back()
        return committed, self.dataplane.verify(committed, self.table or RoutingTable())

    async def _run(self, retries: set[RouteKey]) -> None:
        """Make one attempt with all that is due, and take note of what came of it."""
        assert self.wanted is not None  # noqa: S101 - step has looked
        started = self._clock.monotonic()
        full = not self._trusted
        keys = frozenset(self._dirty | retries)
        times, self._times = self._times, []
        node, self._node_dirty = self._node_dirty, False
        self._dirty = set()
        wanted = self.wanted
        job = Job(
            committed=self._committed,
            known=self.table or RoutingTable(),
            wanted=wanted,
            trusted=self._trusted,
            keys=keys,
            node=node,
            held=frozenset(self.refusals.keys() - keys),
            stubborn=self._failures >= STUBBORN,
        )
        if full or len(keys) > INLINE or self.dataplane.mode is Mode.IPTABLES:  # which starts a process for each change
            done = await in_thread(self._carry, job)
        else:
            done = self._carry(job)
        ended = self._clock.monotonic()
        self._committed, self._trusted = done.committed, done.trusted
        if done.trusted:
            self.table = done.table
        self._note_refusals(keys, done, ended, full=full)
        if done.failure is None:
            self._succeeded(started, ended, None if full else keys, done, times)
        else:
            self._dirty |= keys
            self._node_dirty |= node
            self._times = times + self._times
            self._failed(done.failure, ended)

    def _carry(self, job: Job) -> Carried:
        if not self._read:
            try:
                job = msgspec.structs.replace(job, committed=self.dataplane.read_back())
            except KernelError as error:
                return Carried(None, job.known, False, {}, str(error), {}, 0, 0)
            self._read = True
        return carry(self.dataplane, job)

    def _note_refusals(self, keys: frozenset[RouteKey], done: Carried, now: float, *, full: bool) -> None:
        for key, words in done.refused.items():
            earlier = self.refusals.get(key)
            failures = (earlier.failures if earlier else 0) + 1
            pause = pause_after(failures)
            self.refusals[key] = Refusal(words, failures, now + pause)
            self._observer.refused(self.duty, key, words, retry_in=pause)
        if done.failure is not None:
            return
        freed = [key for key in self.refusals if key in keys and key not in done.refused]
        if full:
            freed += [key for key in self.refusals if key not in keys and self._gone(key)]
        for key in freed:
            del self.refusals[key]
            self._observer.accepted(self.duty, key)
        if freed:  # what stood in the way of the others may be gone
            self.refusals = {
                key: msgspec.structs.replace(refusal, retry_at=now) if key not in done.refused else refusal
                for key, refusal in self.refusals.items()
            }

    def _gone(self, key: RouteKey) -> bool:
        return self.wanted is not None and self.wanted.get(key) is None

    def _succeeded(
        self, started: float, ended: float, keys: frozenset[RouteKey] | None, done: Carried, times: Sequence[Times]
    ) -> None:
        self._failures, self._retry_at, self.failure = 0, -math.inf, ""
        self._free_at = ended + self.timing.minimum
        self._settle_until = ended + SETTLING
        if math.isinf(self._verify_at):
            self._verify_after(ended, self.timing.verify)
        else:  # a comparison holds up changes, so it waits for a quiet moment
            self._verify_at = min(max(self._verify_at, ended + QUIET), self._verify_latest)
        self._observer.synced(
            Sync(
                duty=self.duty,
                table=done.table,
                keys=keys,
                started=started,
                ended=ended,
                operations=done.operations,
                transactions=done.transactions,
                changes=tuple(msgspec.structs.replace(change, committed=ended) for change in times),
                limits=done.limits,
            )
        )
        if self._drifted_at is not None:
            self._observer.repaired(self.duty, ended - self._drifted_at)
            self._drifted_at = None
            self._repair_at = ended + REPAIR_PAUSE
        if self._behind:
            self._observer.queued(self.duty)

    def _failed(self, words: str, now: float) -> None:
        self._failures += 1
        pause = pause_after(self._failures)
        self._retry_at = now + pause
        self.failure = words
        self._observer.failed(self.duty, words, retry_in=pause)

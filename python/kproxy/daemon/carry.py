# SPDX-License-Identifier: Apache-2.0
"""One attempt to bring a dataplane to a table, isolating exactly what the kernel refuses.

A refusal that names routes is believed: these are pinned to what is in force and the rest is sent again. One that names
nobody is narrowed down by halving where that is safe and there is reason to think that a single route is at fault, within a
budget, because a kernel out of memory refuses everything.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from kproxy.daemon.pinning import changes_between, pinned
from kproxy.dataplanes.contract import Applied, Committed, Dataplane, Refused
from kproxy.table.errors import KernelError
from kproxy.table.route import Route, RouteKey
from kproxy.table.routing_table import Changes, RoutingTable

BUDGET: Final = 64  # transactions one attempt may send while narrowing down
log: Final = logging.getLogger(__name__)

Part: TypeAlias = frozenset[RouteKey | None]  # what is tried together; None stands for the node's facts


class Job(msgspec.Struct, frozen=True):
    """What shall be carried.

    ``known`` is the table last in force; ``trusted`` says that the kernel still holds it, else everything is compared.
    ``keys`` may differ between the two tables (ignored unless trusted), ``node``: the node's facts may. ``held`` are left as
    they are known. ``stubborn``: it failed before, so look for the culprit even though the kernel said that trying again
    may help.
    """

    committed: Committed
    known: RoutingTable
    wanted: RoutingTable
    trusted: bool
    keys: frozenset[RouteKey]
    node: bool
    held: frozenset[RouteKey] = frozenset()
    stubborn: bool = False


class Carried(msgspec.Struct, frozen=True):
    """What came of it.

    ``table`` is in force where ``trusted``, and ``committed`` is its value. ``failure`` says why not all of it is wanted's.
    """

    committed: Committed
    table: RoutingTable
    trusted: bool
    refused: Mapping[RouteKey, str]
    failure: str | None
    limits: Mapping[RouteKey, str]
    operations: int
    transactions: int


class _Attempt:
    """The state of one attempt."""

    def __init__(self, dataplane: Dataplane, job: Job) -> None:
        self.dataplane = dataplane
        self.job = job
        self.committed = job.committed
        self.table = job.known
        self.trusted = job.trusted
        self.refused: dict[RouteKey, str] = {}
        self.suspects: set[RouteKey] = set()  # refused alone by a kernel that may only be having a bad moment
        self.applied = False
        self.dropped: set[RouteKey] = set()  # refused in their old form too, by a kernel that has lost it
        self.limits: dict[RouteKey, str] = {}
        self.operations = 0
        self.transactions = 0

    def everything(self) -> Part:
        """Return all that may differ and is not held."""
        job, family = self.job, self.dataplane.family
        keys: set[RouteKey | None] = set(job.keys)
        if not job.trusted:
            keys = {route.key for table in (job.wanted, job.known) for route in table.routes(family)}
        if job.node or not job.trusted:
            keys.add(None)
        return frozenset(keys - job.held)

    def send(self, part: Part, outstanding: Part) -> Refused | None:
        """Bring the kernel to the wanted values of ``part``; all else keeps the value it has. None: done."""
        job, family = self.job, self.dataplane.family
        rest = (job.held | self.refused.keys() | outstanding) - part
        stays: dict[RouteKey, Route | None] = {
            key: None if key in self.dropped else self.table.get(key) for key in rest if key is not None
        }
        after = pinned(job.wanted, stays)
        if None in rest:
            after = msgspec.structs.replace(after, node=self.table.node)
        before = self.table if self.trusted else None
        changes = changes_between(before, after, (key for key in part if key), family, node=None in part)
        if not changes:
            self.table = after
            return None
        answer = self._commit(changes)
        if isinstance(answer, Refused):
            return answer
        self.committed, self.table, self.trusted = answer.committed, after, True
        self.limits |= answer.limits
        self.applied = True
        return None

    def _commit(self, changes: Changes) -> Applied | Refused:
        try:
            transaction = self.dataplane.compile(self.committed, changes)
            self.transactions += 1
            self.operations += transaction.operations
            return self.dataplane.commit(transaction)
        except KernelError as error:
            return Refused(str(error), retry=error.retry)
        except Exception as error:  # a fault of ours in one Service must not stop the others: it is narrowed down
            log.exception("a fault in the %s dataplane, please report it", self.dataplane.mode)
            return Refused(f"internal fault: {error!r}", retry=False)

    def blame(self, part: Part, no: Refused) -> Part:
        """Note whom the kernel blames; return what of the part that is."""
        blamed = no.blame & part
        self.refused |= {key: no.words for key in blamed if key}
        if not self.trusted:
            self.dropped |= no.blame & (self.job.held | self.refused.keys()) - blamed
        return blamed

    def kernel_is_empty(self) -> bool:
        """Tell whether there is nothing in the kernel that sending a part first would take away."""
        return not any(difference.key for difference in self.dataplane.verify(self.committed, RoutingTable()))

    def suspect(self, key: RouteKey, no: Refused) -> None:
        """Note that the kernel refuses a route that was sent alone."""
        self.refused[key] = no.words
        if no.retry:
            self.suspects.add(key)

    def result(self, failure: str | None = None) -> Carried:
        """Sum up. A kernel that took nothing at all says nothing about single routes."""
        if self.suspects and not self.applied:
            failure = failure or self.refused[min(self.suspects)]
            self.refused = {key: words for key, words in self.refused.items() if key not in self.suspects}
        return Carried(
            self.committed,
            self.table,
            self.trusted,
            self.refused,
            failure,
            self.limits,
            self.operations,
            self.transactions,
        )


def carry(dataplane: Dataplane, job: Job) -> Carried:
    """Bring the dataplane to the wanted table as far as the kernel lets. Blocks; what the kernel says is never raised."""
    attempt = _Attempt(dataplane, job)
    waiting: list[Part] = [attempt.everything()]
    while waiting:
        part = waiting.pop()
        dropped = len(attempt.dropped)
        no = attempt.send(part, frozenset().union(*waiting))
        if no is None:
            continue
        blamed = attempt.blame(part, no)
        if blamed or len(attempt.dropped) > dropped:
            waiting.append(part - blamed)
        elif (
            (no.retry and not job.stubborn)
            or attempt.transactions >= BUDGET
            or part <= {None}
            or not (attempt.trusted or attempt.kernel_is_empty())
        ):
            return attempt.result(no.words)
        elif len(part) == 1:
            attempt.suspect(next(key for key in part if key), no)
        else:
            waiting += _halves(part)
    return attempt.result()


def _halves(part: Part) -> Sequence[Part]:
    """Split, the node's facts first among the parts that are taken from the end."""
    ordered = sorted(part, key=lambda key: (key is None, str(key)))
    middle = len(ordered) // 2
    return frozenset(ordered[:middle]), frozenset(ordered[middle:])

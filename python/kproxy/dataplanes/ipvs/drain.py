# SPDX-License-Identifier: Apache-2.0
"""Takes away what is on its way out, once no connection depends on it or its time is over.

What drains is asked for its connections, nothing else: after a second, then ever more rarely. The time begins anew after a
restart, which finds what drains by its weight of 0.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from kproxy.dataplanes.ipvs.commit import Committer, ServerDoor
from kproxy.dataplanes.ipvs.committed import Committed, Draining
from kproxy.dataplanes.ipvs.counters import Counting
from kproxy.dataplanes.ipvs.frontends import Pool
from kproxy.dataplanes.ipvs.transaction import ElementChange
from kproxy.kernel.ipvs_values import HeldReal, Operation, ServerKey
from kproxy.table.addresses import join_port

FLIGHT_TIME: Final = 0.001  # seconds after which no packet is still on its way through our chains
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
_GROWTH: Final = 1.5


class Drain:
    """What is left to be taken away of one family."""

    def __init__(
        self,
        committer: Committer,
        door: ServerDoor,
        counting: Counting,
        *,
        patience: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._committer = committer
        self._door = door
        self._counting = counting
        self._patience = patience
        self._clock = clock
        self._later: list[ElementChange] = []
        self._deadlines: dict[tuple[ServerKey, str], float] = {}
        self._due = 0.0
        self._pause = FIRST_PAUSE
        self._sent = 0.0

    def begin(self, later: Sequence[ElementChange]) -> None:
        """Take over what a transaction leaves for later; what drains since is looked at soon."""
        self._later += later
        self._sent = self._due = self._clock()
        self._pause = FIRST_PAUSE

    def forget(self) -> None:
        """Drop what waits: the kernel has been read anew. What drains goes on to; its time does not begin again."""
        self._later.clear()

    def settle(self, committed: Committed) -> None:
        """Take away what is due. Raises KernelError."""
        if self._later:
            rest = self._sent + FLIGHT_TIME - self._clock()
            if rest > 0:
                time.sleep(rest)
            later, self._later = self._later, []
            self._committer.elements(later)
        waiting = {(key, name) for key, each in committed.draining.items() for name in each.reals}
        self._deadlines = {one: deadline for one, deadline in self._deadlines.items() if one in waiting}
        now = self._clock()
        if not (committed.draining or committed.obsolete) or now < self._due:
            return
        self._due = now + self._pause
        self._pause = min(self._pause * _GROWTH, LONGEST_PAUSE)
        for key, draining in list(committed.draining.items()):
            self._look(key, draining, committed, now)
        self._forget_records(committed)

    def _look(self, key: ServerKey, draining: Draining, committed: Committed, now: float) -> None:
        held = {join_port(each.server.address, each.server.port): each for each in self._door.reals(key)}
        finished = {
            name: held.get(name) for name, hurried in draining.reals.items() if hurried or self._ends(key, name, held, now)
        }
        for real in finished.values():
            if real is not None:
                self._counting.keep_real(key, real)
        reals = {name: hurried for name, hurried in draining.reals.items() if name not in finished}
        is_over = draining.leaves and not reals
        if is_over:
            self._counting.keep_server(key, self._door.servers(key.family).get(key))
            self._door.apply([Operation.delete_server(key)])
        else:
            self._door.apply([Operation.delete_real(key, real.server) for real in finished.values() if real is not None])
        for name in finished:
            self._deadlines.pop((key, name), None)
        if is_over:
            committed.pools.pop(key, None)
        elif key in committed.pools:
            pool = committed.pools[key]
            committed.pools[key] = Pool(
                pool.server, {name: each for name, each in pool.reals.items() if name not in finished}
            )
        if reals:
            committed.draining[key] = msgspec.structs.replace(draining, reals=reals)
        else:
            del committed.draining[key]

    def _ends(self, key: ServerKey, name: str, held: dict[str, HeldReal], now: float) -> bool:
        """Tell whether a real server is done with: gone, idle, or over its time."""
        deadline = self._deadlines.setdefault((key, name), now + self._patience)
        real = held.get(name)
        return real is None or not (real.active or real.inactive) or now >= deadline

    def _forget_records(self, committed: Committed) -> None:
        """Delete the records whose virtual servers have gone."""
        leaving = {each.owner for each in committed.draining.values() if each.leaves}
        gone = [element for element, owner in committed.obsolete.items() if owner not in leaving]
        self._committer.elements([ElementChange(False, element, None, None) for element in gone])
        for element in gone:
            del committed.obsolete[element]
            committed.elements.pop(element, None)

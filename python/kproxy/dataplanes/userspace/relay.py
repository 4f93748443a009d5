# SPDX-License-Identifier: Apache-2.0
"""The relay as a thing of its own: one a process, shared by the dataplanes of both families.

It starts when it is first told something, in the network namespace of the thread that tells it. What it holds is kept here,
beside it: a new process begins with none, whatever the kernel's rules say.
"""

import logging
import threading
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from kproxy import _core
from kproxy.dataplanes.contract import RelayReport
from kproxy.dataplanes.userspace.layout import Options
from kproxy.dataplanes.userspace.report import Reporter
from kproxy.dataplanes.userspace.services import Service
from kproxy.dataplanes.userspace.transaction import Telling
from kproxy.table.errors import KernelError, PermissionDenied
from kproxy.table.terms import Family

log: Final = logging.getLogger(__name__)
PATIENCE: Final = 5.0  # seconds that one family waits for the other before a relay that relieves another one starts


class RelayHandle:
    """Starts the relay, tells it, asks it. ``inherit`` is a Unix socket on which another process hands its sockets over."""

    def __init__(self, options: Options, inherit: int | None = None) -> None:
        self.options = options
        self._inherit = inherit
        self._relay: _core.Relay | None = None
        self._held: dict[Family, dict[str, Service]] = {family: {} for family in Family}
        self._users = 0
        self._reporter = Reporter()
        self._told: set[Family] = set()
        self._waits_until = 0.0
        self._turn = threading.RLock()  # the dataplanes of both families are at work at once

    def held(self, family: Family) -> Mapping[str, Service]:
        """Return the Services of a family it was told of. Only that family's own thread changes them."""
        return MappingProxyType(self._held[family])

    @property
    def is_running(self) -> bool:
        """Tell whether it was started and not stopped."""
        return self._relay is not None

    def acquire(self) -> None:
        """Count one more dataplane that needs it."""
        self._users += 1

    def release(self) -> None:
        """Count one dataplane less; without any it ends, and its connections with it."""
        self._users -= 1
        if self._users <= 0:
            self.stop()

    def start(self) -> "_core.Relay":
        """Start it, if it does not run. Raises KernelError when it cannot, or when it has died."""
        with self._turn:
            if self._relay is None:
                self._relay = self._started()
        if fault := self._relay.fault():
            raise KernelError(f"the relay has died: {fault}")
        return self._relay

    def _started(self) -> "_core.Relay":
        options = self.options
        try:
            relay = _core.Relay(
                options.ports, mark=options.own, workers=options.workers, wishes=options.wishes, inherit=self._inherit
            )
        except _core.RelayError as error:
            raise _refused(error, options) from error
        self._inherit = None
        return relay

    def tell(self, telling: Telling, teller: Family) -> None:
        """Change Services, all at once. Raises KernelError.

        A relay that relieves another one accepts clients of both families from its start on, so it starts once it was told
        of both, or has waited for long; the other one serves until then.
        """
        with self._turn:
            if not self._told:
                self._waits_until = time.monotonic() + PATIENCE
            self._told.add(teller)
            if self._relay is None and not self._is_due:
                self._note(telling, teller)
                return
            if not telling and self._relay is not None:
                return
            first, relay = self._relay is None, self.start()
            held = self._held[teller]
            if first and self._everything():
                relay.apply(list({**self._everything(), **telling.upserts}.values()), [])
            else:
                relay.apply(list(telling.upserts.values()), [key for key in telling.removes if key in held])
            self._note(telling, teller)

    @property
    def _is_due(self) -> bool:
        return self._inherit is None or len(self._told) >= self._users or time.monotonic() >= self._waits_until

    def _note(self, telling: Telling, teller: Family) -> None:
        held = self._held[teller]
        held |= telling.upserts
        for key in telling.removes:
            held.pop(key, None)

    def _everything(self) -> dict[str, Service]:
        return {key: service for held in self._held.values() for key, service in held.items()}

    def follow_up(self) -> None:
        """Start, if somebody has waited long enough for the other family. Raises KernelError."""
        with self._turn:
            if self._relay is None and self._told and self._is_due:
                self.start().apply(list(self._everything().values()), [])

    def undo(self, telling: Telling, before: Mapping[str, Service], teller: Family) -> None:
        """Take back what was told. ``before`` are the Services held by then."""
        upserts = {key: before[key] for key in telling.upserts if key in before}
        self.tell(Telling(upserts, frozenset(telling.upserts.keys() - before.keys())), teller)

    def counts(self) -> "tuple[list[_core._RelayWhole], list[_core._RelayCount], list[_core._RelayCount]]":
        """Return what it counted: of Services, of frontends, of endpoints."""
        return self._relay.stats() if self._relay else ([], [], [])

    def connections(self) -> int:
        """Return how many clients there are."""
        return self._relay.connections if self._relay else 0

    def fault(self) -> str | None:
        """Return what a part of it that died said last; None: all is well."""
        return self._relay.fault() if self._relay else None

    def report(self) -> RelayReport:
        """Tell what it has done. May be called from any thread."""
        services, _, endpoints = self.counts()
        return self._reporter.report(services, endpoints, self._relay.refusals() if self._relay else ())

    def hand_over(self, channel: int) -> None:
        """Send its sockets to the process that relieves this one, over a Unix socket. Raises KernelError."""
        try:
            self.start().hand_over(channel)
        except _core.RelayError as error:
            raise _refused(error, self.options) from error

    def drain(self, seconds: float) -> None:
        """Take no new clients; whoever is there has so many seconds."""
        if self._relay:
            self._relay.drain(seconds)

    def stop(self) -> None:
        """End it, and every connection with it."""
        if self._relay:
            self._relay.stop()
        self._relay = None
        for held in self._held.values():
            held.clear()
        self._told = set()


def _refused(error: "_core.RelayError", options: Options) -> KernelError:
    words = f"the relay on ports {options.ports[0]} and {options.ports[1]} cannot be started: {error.strerror}"
    if isinstance(error, PermissionError) or error.errno == 1:
        return PermissionDenied(f"{words}: the process needs CAP_NET_ADMIN")
    return KernelError(words)

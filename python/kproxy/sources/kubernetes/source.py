# SPDX-License-Identifier: Apache-2.0
"""An API server as a source: one reflector a kind, all over one connection."""

import asyncio
from collections.abc import Iterable

from kproxy.objects.events import Emit
from kproxy.sources.kubernetes.connection import Connection
from kproxy.sources.kubernetes.observer import Observer
from kproxy.sources.kubernetes.reflector import Reflector, Timing
from kproxy.sources.watches import Watch
from kproxy.table.clock import Clock, SystemClock


class KubernetesSource:
    """Tells what an API server knows of the watched kinds: Upsert, Delete, Synced (once a kind) and Broken."""

    def __init__(
        self,
        connection: Connection,
        watches: Iterable[Watch],
        *,
        clock: Clock | None = None,
        observer: Observer | None = None,
        timing: Timing | None = None,
    ) -> None:
        clock = clock or SystemClock()
        self._reflectors = [Reflector(watch, connection, clock=clock, observer=observer, timing=timing) for watch in watches]

    async def run(self, emit: Emit) -> None:
        """Tell what is, then what changes, until cancelled. What may heal is retried for ever."""
        async with asyncio.TaskGroup() as tasks:
            for reflector in self._reflectors:
                tasks.create_task(reflector.run(emit))

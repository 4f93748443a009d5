# SPDX-License-Identifier: Apache-2.0
"""The table without a daemon: sources are read until enough is known, and resolved once."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kproxy.config.loading import Start, complete, load
from kproxy.daemon.gate import Gate
from kproxy.daemon.settings import routing_settings
from kproxy.objects.events import Broken, Event, Source
from kproxy.routing.router import Router
from kproxy.sources.directory import DirectorySource
from kproxy.sources.host import HostSource
from kproxy.sources.kubernetes.source import KubernetesSource
from kproxy.sources.kubernetes.transport import connect
from kproxy.sources.watches import watches_of
from kproxy.table.clock import SystemClock
from kproxy.table.errors import KproxyError

log: Final = logging.getLogger(__name__)
PATIENCE: Final = 60.0


def resolve_manifests(directory: str, flags: Sequence[str]) -> Router:
    """Resolve what a directory of manifests says, with the daemon's flags. Raises KproxyError."""
    return resolve(complete(load([*flags, f"--manifests={directory}"]), nftables_works=True))


def resolve(start: Start) -> Router:
    """Resolve what the start's sources say now. Raises KproxyError when they do not tell within a minute."""
    router = Router(routing_settings(start.config))
    events = asyncio.run(_collect(start, router.settings.node))
    if router.apply(events) is None:
        raise KproxyError("the sources do not tell of Services and EndpointSlices: check --manifests or --kubeconfig")
    return router


async def _collect(start: Start, node: str) -> list[Event]:
    clock = SystemClock()
    manifests = start.config.kproxy.manifests
    gate = Gate(clock.monotonic(), node=node, wants_node=not manifests)
    events: list[Event] = []
    changed = asyncio.Event()

    def emit(event: Event) -> None:
        if isinstance(event, Broken) and event.mend:
            log.warning("%s", event.mend)
        events.append(event)
        gate.note(event)
        changed.set()

    watches = watches_of(node)
    transport = None if manifests else connect(start.config.client_connection.kubeconfig, start.master)
    objects: Source = KubernetesSource(transport, watches) if transport else DirectorySource(Path(manifests), watches)
    tasks = [asyncio.ensure_future(source.run(emit)) for source in (objects, HostSource())]
    deadline = clock.monotonic() + PATIENCE
    try:
        while (opens := gate.opens_at()) > clock.monotonic():
            if clock.monotonic() > deadline:
                raise KproxyError(f"still unknown after {PATIENCE:.0f} s: {', '.join(gate.missing())}; check the sources")
            changed.clear()
            try:
                async with asyncio.timeout(max(0.01, min(opens, deadline) - clock.monotonic())):
                    await changed.wait()
            except TimeoutError:
                pass
            for task in tasks:
                if task.done():
                    task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if transport:
            await transport.close()
    return events

# SPDX-License-Identifier: Apache-2.0
"""The daemon's state as values: for ``kproxy status`` and ``kproxy explain``."""

import time
from typing import TYPE_CHECKING

from kproxy import __version__
from kproxy.observe.explain import Explanation, explain, service_of
from kproxy.observe.status import LaneStatus, RefusedRoute, Status, size_of
from kproxy.routing.trace import trace_service
from kproxy.table.addresses import family_of
from kproxy.table.interpret import Packet

if TYPE_CHECKING:
    from kproxy.daemon.app import App


def status_of(app: "App") -> Status:
    """Return the running state."""
    now = time.monotonic()
    table = app.router.table
    lanes = []
    for lane in app.switch.lanes:
        family = lane.duty.family
        routes, frontends, endpoints = size_of(lane.table, family) if lane.table else (0, 0, 0)
        refused = {
            str(key): RefusedRoute(refusal.words, refusal.failures, max(0.0, refusal.retry_at - now))
            for key, refusal in lane.refusals.items()
        }
        limits = {str(key): words for key, words in app.limits.get(lane.duty, {}).items()}
        lanes.append(
            LaneStatus(
                mode=lane.duty.mode,
                family=family,
                in_force=lane.table is not None,
                settled=lane.settled,
                failure=lane.failure,
                routes=routes,
                frontends=frontends,
                endpoints=endpoints,
                refused=refused,
                limits=limits,
            )
        )
    return Status(
        version=__version__,
        node=app.settings.node,
        mode=app.settings.mode,
        coming=app.switch.coming.settings.mode if app.switch.coming else "",
        leaving=tuple(map(str, app.switch.leaving)),
        started=app.started,
        services=len(table.services),
        waiting_for=app.switch.now.loop.feed.missing,
        lanes=tuple(lanes),
        conflicts=table.conflicts,
        broken={f"{kind or 'file'} {key}": words for (kind, key), words in app.broken.items()},
        complaints={f"{kind} {key}": words for (kind, key), words in app.router.complaints.items()},
    )


def explanation_of(app: "App", packet: Packet) -> Explanation:
    """Explain a packet by the table in force, and say where that is not the newest one. Raises ValueError."""
    family = family_of(packet.destination)
    lanes = [lane for lane in app.switch.now.lanes if lane.duty.family is family]
    lane = min(lanes, key=lambda lane: lane.settled, default=None)
    notes = []
    if lane is None:
        notes.append(f"this node does not serve {family}")
    elif lane.table is None:
        notes.append("no table is in force yet: this is what will be, not what is")
    elif not lane.settled:
        notes.append(f"newer changes are on their way to the kernel{f': {lane.failure}' if lane.failure else ''}")
    table = lane.table if lane and lane.table else app.router.table
    name = service_of(packet, table)
    shape = app.router.store.services.get(name)
    traces = trace_service(shape, app.router.store.slices_of(name), app.router.view) if shape else ()
    for lane in lanes:
        notes += [f"{key} is refused by the kernel: {no.words}" for key, no in lane.refusals.items() if key.service == name]
        notes += [f"{key}: {words}" for key, words in app.limits.get(lane.duty, {}).items() if key.service == name]
    return explain(packet, table, {trace.key: trace for trace in traces}, notes)

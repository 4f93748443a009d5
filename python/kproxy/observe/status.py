# SPDX-License-Identifier: Apache-2.0
"""The running state as one JSON value, for ``kproxy status`` and for whoever debugs."""

from collections.abc import Mapping

import msgspec

from kproxy.table.routing_table import Conflict, RoutingTable
from kproxy.table.terms import Family, Mode


class RefusedRoute(msgspec.Struct, frozen=True):
    """A route the kernel refuses. ``retry_in`` is seconds from now."""

    words: str
    failures: int
    retry_in: float


class LaneStatus(msgspec.Struct, frozen=True):
    """One dataplane. ``settled``: the kernel holds the newest table, refused routes aside."""

    mode: Mode
    family: Family
    in_force: bool
    settled: bool
    failure: str
    routes: int
    frontends: int
    endpoints: int
    refused: Mapping[str, RefusedRoute] = {}
    limits: Mapping[str, str] = {}


class Status(msgspec.Struct, frozen=True):
    """All of it. ``waiting_for``: what the first table still needs. ``started`` is wall-clock seconds.

    ``coming`` is the mode that a switch is on its way to, ``leaving`` what established connections still need of others.
    """

    version: str
    node: str
    mode: str
    started: float
    services: int
    coming: str = ""
    leaving: tuple[str, ...] = ()
    waiting_for: tuple[str, ...] = ()
    lanes: tuple[LaneStatus, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    broken: Mapping[str, str] = {}
    complaints: Mapping[str, tuple[str, ...]] = {}


def size_of(table: RoutingTable, family: Family) -> tuple[int, int, int]:
    """Count a family's routes, frontends, and endpoints."""
    routes = frontends = endpoints = 0
    for route in table.routes(family):
        routes += 1
        frontends += len(route.frontends)
        endpoints += len(route.all)
    return routes, frontends, endpoints


def as_text(status: Status) -> str:
    """Write a status for a person."""
    lines = [f"kproxy {status.version} on node {status.node}, mode {status.mode}, {status.services} Services"]
    if status.waiting_for:
        lines.append(f"no table in force yet: waiting for {', '.join(status.waiting_for)}")
    if status.coming:
        lines.append(f"mode {status.coming} is coming: it takes over once it is in force and verified")
    lines += [f"{part} is leaving: established connections need it" for part in status.leaving]
    for lane in status.lanes:
        state = (
            "in force and newest" if lane.settled else "in force, newer changes wait" if lane.in_force else "not in force"
        )
        size = f"{lane.routes} routes, {lane.frontends} frontends, {lane.endpoints} endpoints"
        lines.append(f"{lane.mode} {lane.family}: {state}; {size}")
        if lane.failure:
            lines.append(f"  the last sync failed: {lane.failure}")
        lines += [
            f"  refused {name}: {refused.words} ({refused.failures} times, again in {max(0.0, refused.retry_in):.1f} s)"
            for name, refused in lane.refused.items()
        ]
        lines += [f"  limited {name}: {words}" for name, words in lane.limits.items()]
    lines += [
        f"conflict: {conflict.frontend} belongs to {conflict.winner}; {conflict.loser} waits for it"
        for conflict in status.conflicts
    ]
    lines += [f"broken: {name}: {words}" for name, words in status.broken.items()]
    lines += [f"questionable: {name}: {words}" for name, sentences in status.complaints.items() for words in sentences]
    return "\n".join(lines) + "\n"

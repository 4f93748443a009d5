# SPDX-License-Identifier: Apache-2.0
"""Kubernetes Events: what an operator should see beside the object it is about. Told at once, sent when there is time.

``tell`` never blocks and never fails: the same thing told again within six minutes only counts, more than the allowed number
a minute is dropped, and an API server that does not answer costs the events and nothing else.
"""

import asyncio
import datetime as dt
import enum
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from kproxy.table.clock import Clock
from kproxy.table.errors import SourceError

log: Final = logging.getLogger(__name__)
QUEUE: Final = 100
REMEMBERED: Final = 1000
AGAIN: Final = 360.0  # seconds after which the same thing is worth writing again, as kube-proxy's recorder
NOTE_LIMIT: Final = 1024  # characters the API takes
ATTEMPTS: Final = 3
CONTROLLER: Final = "kproxy"


class Weight(enum.StrEnum):
    """The API's two types of Event."""

    NORMAL = "Normal"
    WARNING = "Warning"


class Reason(enum.StrEnum):
    """Why an Event is sent: kube-proxy's reasons first, then ours."""

    STARTING = "Starting"
    HEALTH_SERVER = "FailedToStartProxierHealthcheck"
    METRICS_SERVER = "FailedToStartMetricServer"
    HEALTH_PORT = "FailedToStartServiceHealthcheck"
    MODE_CHOSEN = "ProxyModeChosen"
    SYSCTL_REFUSED = "SysctlRefused"
    ROUTE_REFUSED = "RouteRefused"
    ROUTE_LIMITED = "RouteLimited"
    FRONTEND_CONFLICT = "FrontendConflict"
    OBJECT_BROKEN = "ObjectBroken"
    OBJECT_QUESTIONABLE = "ObjectQuestionable"
    RULES_REPAIRED = "RulesRepaired"
    TAKEN_OVER = "RulesTakenOver"
    CONFIG_APPLIED = "ConfigurationApplied"
    MODE_SWITCHED = "ProxyModeSwitched"
    RELAY_DIED = "RelayDied"
    MODE_REFUSED = "ProxyModeRefused"


class Action(enum.StrEnum):
    """What kproxy was doing."""

    START = "StartKubeProxy"
    LISTEN = "Listen"
    SYNC = "SyncRules"
    READ = "ReadObject"
    RECONFIGURE = "Reconfigure"


class Reference(msgspec.Struct, frozen=True):
    """The object an Event is about. As kube-proxy does, its name serves as UID."""

    kind: str
    name: str
    namespace: str = ""
    api_version: str = "v1"


def node_reference(name: str) -> Reference:
    """Refer to a Node."""
    return Reference("Node", name)


def object_reference(kind: str, key: str, api_version: str = "v1") -> Reference:
    """Refer to an object by ``namespace/name``."""
    namespace, slash, name = key.partition("/")
    return Reference(kind, name, namespace, api_version) if slash else Reference(kind, key, "", api_version)


class Told(msgspec.Struct):
    """One thing worth an Event, and how often it was told."""

    weight: Weight
    reason: Reason
    action: Action
    note: str
    about: Reference
    first: float
    last: float
    name: str = ""  # of the Event in the API; empty: not written yet
    count: int = 1
    written: float = 0.0


class Poster(Protocol):
    """The part of an API connection that Events need."""

    async def post(self, path: str, body: bytes) -> bytes:
        """Create an object."""

    async def patch(self, path: str, body: bytes) -> bytes:
        """Change an object."""


class Recorder:
    """Takes what happens; ``run`` sends it. ``counted`` hears ``sent``, ``repeated``, ``dropped`` or ``failed``."""

    def __init__(
        self, node: str, *, clock: Clock, per_minute: int = 60, counted: Callable[[str], None] = lambda _: None
    ) -> None:
        self.per_minute = per_minute
        self._node = node
        self._clock = clock
        self._counted = counted
        self._known: OrderedDict[tuple[str, Reference, str], Told] = OrderedDict()
        self._queue: asyncio.Queue[Told] = asyncio.Queue(QUEUE)
        self._sent: list[float] = []  # when, within the last minute

    def tell(self, weight: Weight, reason: Reason, action: Action, note: str, about: Reference | None = None) -> None:
        """Take note; ``about`` None means this node."""
        about = about or node_reference(self._node)
        note = note[:NOTE_LIMIT]
        now = self._clock.wall()
        key = (reason, about, note)
        told = self._known.get(key)
        if told is None:
            told = self._known[key] = Told(weight, reason, action, note, about, now, now)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        else:
            told.count += 1
            told.last = now
            self._known.move_to_end(key)
            if now - told.written < AGAIN:
                self._counted("repeated")
                return
        told.written = now
        try:
            self._queue.put_nowait(told)
        except asyncio.QueueFull:
            self._counted("dropped")

    async def run(self, api: Poster) -> None:
        """Send what was told, until cancelled."""
        while True:
            told = await self._queue.get()
            if not self._may_send():
                self._counted("dropped")
                continue
            self._counted("sent" if await self._send(api, told) else "failed")

    def _may_send(self) -> bool:
        now = self._clock.monotonic()
        self._sent = [moment for moment in self._sent if now - moment < 60.0]
        if len(self._sent) >= self.per_minute:
            return False
        self._sent.append(now)
        return True

    async def _send(self, api: Poster, told: Told) -> bool:
        for attempt in range(ATTEMPTS):
            try:
                if told.name:
                    body = {"series": {"count": told.count, "lastObservedTime": micro_time(told.last)}}
                    await api.patch(f"{path_of(told.about)}/{told.name}", msgspec.json.encode(body))
                else:
                    event = event_of(told, self._node)
                    await api.post(path_of(told.about), msgspec.json.encode(event))
                    told.name = event["metadata"]["name"]
            except SourceError as error:
                if error.status in (401, 403, 404, 409, 422):  # saying it again does not help
                    log.debug("an Event is not taken: %s", error)
                    told.name = ""  # it may have expired: written anew next time
                    return False
                await asyncio.sleep(max(error.retry_after, 2.0**attempt))
            else:
                return True
        return False


def path_of(about: Reference) -> str:
    """Return where Events about an object are created; those about a cluster-wide object live in ``default``."""
    return f"/apis/events.k8s.io/v1/namespaces/{about.namespace or 'default'}/events"


def micro_time(seconds: float) -> str:
    """Write wall-clock seconds as the API's MicroTime."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def event_of(told: Told, node: str) -> dict[str, Any]:
    """Return the object to create."""
    about = told.about
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": f"{about.name}.{secrets.token_hex(8)}",
            "namespace": about.namespace or "default",
        },
        "eventTime": micro_time(told.first),
        "reportingController": CONTROLLER,
        "reportingInstance": f"{CONTROLLER}-{node}"[:128],
        "action": told.action,
        "reason": told.reason,
        "type": told.weight,
        "note": told.note,
        "regarding": {
            "apiVersion": about.api_version,
            "kind": about.kind,
            "name": about.name,
            "namespace": about.namespace,
            "uid": f"{about.namespace}/{about.name}" if about.namespace else about.name,
        },
    }

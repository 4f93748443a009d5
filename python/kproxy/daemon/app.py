# SPDX-License-Identifier: Apache-2.0
"""The whole daemon, put together: the only module that knows every layer.

Sources tell the reporter and the loop; the loop resolves and carries; the observer's calls fan out from here to health-check
node ports, the clean-up of stale flows, and readiness. What has been put into the kernel stays when the process ends.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from kproxy import __version__
from kproxy.config.live import Apply, End, judge
from kproxy.config.loading import Start
from kproxy.config.node_ips import node_addresses, node_ips
from kproxy.config.write import as_values
from kproxy.daemon import logs, process, settings
from kproxy.daemon.config_file import contents
from kproxy.daemon.fitness import require_fit
from kproxy.daemon.flows import Door, FlowCleaner
from kproxy.daemon.gate import Gate
from kproxy.daemon.loop import Loop
from kproxy.daemon.observer import Sync
from kproxy.daemon.pages import health_pages, local_pages, metrics_pages
from kproxy.daemon.report import Reporter
from kproxy.daemon.scrape import Scraper
from kproxy.daemon.servers import Place, serve
from kproxy.daemon.signals import ended
from kproxy.daemon.state import explanation_of, status_of
from kproxy.daemon.systemd import Notifier
from kproxy.daemon.takeover import take_over
from kproxy.daemon.tasks import first_ended
from kproxy.dataplanes.contract import Dataplane
from kproxy.objects.events import Event, Source
from kproxy.observe.events import Action, Poster, Reason, Recorder, Weight, object_reference
from kproxy.observe.explain import Explanation
from kproxy.observe.health import Health, Verdict
from kproxy.observe.health_ports import HealthPorts, places
from kproxy.observe.http import LOCAL_SOCKET, Server
from kproxy.observe.metrics import Metrics
from kproxy.observe.status import Status
from kproxy.routing.router import Router
from kproxy.table.clock import Clock, SystemClock
from kproxy.table.errors import ConfigError
from kproxy.table.interpret import Packet
from kproxy.table.routing_table import Changes, HealthPort

log: Final = logging.getLogger(__name__)


class Outside(msgspec.Struct, frozen=True):
    """What the app is given of the outside world. ``api`` is None where there is no API server; ``flows``: no clean-up."""

    sources: Sequence[Source]
    dataplanes: Sequence[Dataplane]
    api: Poster | None = None
    flows: Door | None = None
    close: Callable[[], Awaitable[None]] | None = None


class App(Reporter):
    """A daemon, ready to run. It is the loop's observer itself: what a reporter does, and then what only it can."""

    def __init__(
        self, start: Start, outside: Outside, *, metrics: Metrics, clock: Clock | None = None, notes: Sequence[str] = ()
    ) -> None:
        clock = clock or SystemClock()
        own = settings.routing_settings(start.config)
        self.start = start
        self.settings = own
        self.outside = outside
        self._notes = notes
        self.families = tuple(dataplane.family for dataplane in outside.dataplanes)
        self.health = Health(settings.health_timeout(own), clock=clock, families=self.families)
        self.events = Recorder(
            own.node,
            clock=clock,
            per_minute=start.config.kproxy.events_per_minute,
            counted=lambda result: metrics.events.labels(result).inc(),
        )
        self.router = Router(own, started=clock.wall())
        super().__init__(
            own.node,
            metrics=metrics,
            health=self.health,
            events=self.events,
            clock=clock,
            complaints=lambda: self.router.complaints,
        )
        metrics.families(self.families, own.mode)
        self.loop = Loop(
            self.router,
            outside.dataplanes,
            clock=clock,
            gate=Gate(
                clock.monotonic(),
                node=own.node,
                wants_node=outside.api is not None,
                wants_pod_cidrs=own.detect_local_mode == "NodeCIDR",
                fits=lambda node: require_fit(start.config, node, self.families),
            ),
            observer=self,
            timing=settings.timing(own),
        )
        self.ports = HealthPorts(lambda: self.health.verdict().healthy, clock=clock, failed=self._port_failed)
        self.cleaners = self._cleaners(outside.flows, clock)
        self.scraper = Scraper(self.loop.lanes, metrics, settings.traffic_cap(start.config), clock=clock)
        self.notifier = Notifier()
        self.started = clock.wall()
        self._ready = False

    def _cleaners(self, door: Door | None, clock: Clock) -> list[FlowCleaner]:
        if door is None:
            return []
        return [
            FlowCleaner(
                lane.dataplane.family,
                door,
                clock=clock,
                settled=lambda lane=lane: lane.settled,  # type: ignore[misc]
                cleaned=self._cleaned,
            )
            for lane in self.loop.lanes
        ]

    def emit(self, event: Event) -> None:
        """Take an event from a source."""
        self.told(event)
        self.loop.emit(event)

    # The loop's observer, beyond what a reporter does.

    def resolved(self, changes: Changes, seconds: float) -> None:
        """Bring health-check node ports up to date at once: they do not wait for the kernel."""
        super().resolved(changes, seconds)
        services = changes.after.services
        names = services if changes.before is None else changes.services
        ports = {name: services[name].health if name in services else None for name in names}
        if ports:
            self.ports.update(ports)
        if changes.before is None or changes.node:
            self._place_ports(changes)
        for cleaner in self.cleaners:
            cleaner.resolved(changes)

    def _place_ports(self, changes: Changes) -> None:
        node = changes.after.node
        known = node_ips(node_addresses(self.router.store.node), self.settings.bind_address).known
        own = (*node.ipv4.addresses, *node.ipv6.addresses)
        self.ports.listen_on(places(self.start.config.node_port_addresses, known, own, self.families))

    def synced(self, sync: Sync) -> None:
        """Start cleaning flows, and tell that we are ready once every family's table is in force."""
        super().synced(sync)
        for cleaner in self.cleaners:
            cleaner.synced(sync)
        if not self._ready and self.health.verdict().ready:
            self._ready = True
            self._metrics.ready.set(1)
            words = f"{len(sync.table.services)} Services in force"
            log.info("ready: %s", words)
            self.notifier.ready(words)
            process.settle_memory()

    def _cleaned(self, family: Any, count: int, seconds: float) -> None:  # noqa: ANN401
        self._metrics.flows_seconds.labels(family).observe(seconds)
        self._metrics.flows_deleted.labels(family).inc(count)

    def _port_failed(self, port: HealthPort, words: str) -> None:
        self._metrics.health_port_failures.inc()
        log.error("%s", words)
        about = object_reference("Service", port.service)
        self.events.tell(Weight.WARNING, Reason.HEALTH_PORT, Action.LISTEN, words, about)

    # What the pages show.

    def verdict(self) -> Verdict:
        """Return how well we are."""
        return self.health.verdict()

    def mode(self) -> str:
        """Return the mode in force."""
        return self.settings.mode

    def configuration(self) -> Mapping[str, Any]:
        """Return the configuration in force as plain values."""
        return as_values(self.start.config)

    async def metrics(self) -> bytes:
        """Return all series."""
        self._metrics.health_ports.set(len(self.ports.listening))
        return await self.scraper.expose()

    def status(self) -> Status:
        """Return the running state."""
        return status_of(self)

    async def explain(self, packet: Packet) -> Explanation:
        """Tell what a packet meets."""
        return explanation_of(self, packet)

    # Running.

    async def run(self) -> None:
        """Run until a signal or an error ends it. Rules stay in the kernel. Raises KproxyError."""
        config = self.start.config
        log.info(
            "kproxy starts",
            extra=logs.fields(version=__version__, node=self.settings.node, mode=self.settings.mode),
        )
        self.events.tell(Weight.NORMAL, Reason.STARTING, Action.START, f"kproxy {__version__}, mode {self.settings.mode}")
        for words in self._notes:
            log.warning("%s", words)
            self.events.tell(Weight.NORMAL, Reason.MODE_CHOSEN, Action.START, words)
        hard = config.bind_address_hard_fail
        health = Place("health", config.healthz_bind_address, Reason.HEALTH_SERVER, "healthzBindAddress", hard)
        metrics = Place("metrics", config.metrics_bind_address, Reason.METRICS_SERVER, "metricsBindAddress", hard)
        try:
            await first_ended(
                self._until_signal(),
                self.loop.run(),
                self.ports.run(),
                *(source.run(self.emit) for source in self.outside.sources),
                *(cleaner.run() for cleaner in self.cleaners),
                serve(health, health_pages(self, self._metrics.health_asked), self.events),
                serve(metrics, metrics_pages(self, profiling=config.enable_profiling), self.events),
                self._serve_locally(),
                self._send_events(),
                self._follow_config(),
                self._take_over(),
                self._stay_alive(),
            )
        finally:
            self.notifier.stopping()
            for dataplane in self.outside.dataplanes:
                dataplane.close()
            if self.outside.close:
                await self.outside.close()

    async def _until_signal(self) -> None:
        signal = await ended()
        log.info("%s: kproxy ends, its rules stay in force", signal.name)

    async def _serve_locally(self) -> None:
        server = Server(local_pages(self))
        try:
            await server.listen_locally(LOCAL_SOCKET)
        except OSError as error:
            log.warning("`kproxy explain` and `kproxy status` cannot ask this daemon: %s; does another one run here?", error)
        try:
            await asyncio.Event().wait()
        finally:
            await server.close()

    async def _send_events(self) -> None:
        if self.outside.api is None:
            await asyncio.Event().wait()
        else:
            await self.events.run(self.outside.api)

    async def _take_over(self) -> None:
        await take_over(self.loop.lanes, self.events)
        await asyncio.Event().wait()

    async def _stay_alive(self) -> None:
        """Tell systemd that the event loop turns."""
        if self.notifier.watchdog is None:
            await asyncio.Event().wait()
        while True:
            self.notifier.alive()
            await asyncio.sleep(self.notifier.watchdog or 1.0)

    async def _follow_config(self) -> None:
        """Apply changes of the configuration file, or end with the words that say why not."""
        if not self.start.config_file:
            await asyncio.Event().wait()
        async for text in contents(Path(self.start.config_file)):
            match judge(self.start, text):
                case Apply(fields=fields, start=start):
                    await self.reconfigure(start, fields)
                case End(words=words):
                    self._metrics.reloads.labels("ended").inc()
                    raise ConfigError(words)
                case _:
                    log.debug("the configuration file was written anew and says the same")

    async def reconfigure(self, start: Start, changed: Sequence[str]) -> None:
        """Put another configuration in force without ending."""
        config = start.config
        self.start = start
        self.settings = settings.routing_settings(config)
        logs.set_up(config.logging)
        self.health.timeout = settings.health_timeout(self.settings)
        self.events.per_minute = config.kproxy.events_per_minute
        self.scraper.cap(settings.traffic_cap(config))
        self.loop.retime(settings.timing(self.settings))
        await self.loop.feed.reconfigure(lambda: self.router.reconfigure(self.settings))
        self._place_ports(Changes(None, self.router.table))
        words = f"applied without a restart: {', '.join(changed)}"
        for warning in start.warnings:
            log.warning("%s", warning)
        log.info("the configuration file has changed; %s", words)
        self._metrics.reloads.labels("applied").inc()
        self.events.tell(Weight.NORMAL, Reason.CONFIG_APPLIED, Action.RECONFIGURE, f"configuration {words}")

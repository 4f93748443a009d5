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
from kproxy.daemon.ending import Ending
from kproxy.daemon.feed import Feed
from kproxy.daemon.fitness import require_fit
from kproxy.daemon.flows import Door, FlowCleaner
from kproxy.daemon.gate import Gate
from kproxy.daemon.modes import Part
from kproxy.daemon.observer import Sync
from kproxy.daemon.pages import health_pages, local_pages, metrics_pages
from kproxy.daemon.regime import Parts, Regime
from kproxy.daemon.report import Reporter
from kproxy.daemon.scrape import Scraper
from kproxy.daemon.servers import Place, serve
from kproxy.daemon.state import explanation_of, status_of
from kproxy.daemon.succession import Predecessor
from kproxy.daemon.switch import Switch
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
from kproxy.routing.settings import Settings
from kproxy.table.clock import Clock, SystemClock
from kproxy.table.errors import ConfigError, KernelError
from kproxy.table.interpret import Packet
from kproxy.table.routing_table import Changes, HealthPort, RoutingTable
from kproxy.table.terms import Family

log: Final = logging.getLogger(__name__)


class Outside(msgspec.Struct, frozen=True):
    """What the app is given of the outside world. ``api`` is None where there is no API server; ``flows``: no clean-up.

    ``parts`` are the dataplanes of the mode to begin with, ``opener`` opens those of others. ``predecessor`` is another
    kproxy that serves this node until this one does.
    """

    sources: Sequence[Source]
    parts: Parts
    opener: Callable[[Part, Settings], Sequence[Dataplane]]
    api: Poster | None = None
    flows: Door | None = None
    close: Callable[[], Awaitable[None]] | None = None
    predecessor: Predecessor | None = None


class App(Reporter):
    """A daemon, ready to run. It is the loop's observer itself: what a reporter does, and then what only it can."""

    def __init__(
        self, start: Start, outside: Outside, *, metrics: Metrics, clock: Clock | None = None, notes: Sequence[str] = ()
    ) -> None:
        clock = clock or SystemClock()
        own = settings.routing_settings(start.config)
        self.start = start
        self.outside = outside
        self._notes = notes
        self.health = Health(settings.health_timeout(own), clock=clock)
        self.events = Recorder(
            own.node,
            clock=clock,
            per_minute=start.config.kproxy.events_per_minute,
            counted=lambda result: metrics.events.labels(result).inc(),
        )
        super().__init__(
            own.node,
            metrics=metrics,
            health=self.health,
            events=self.events,
            clock=clock,
            complaints=lambda: self.router.complaints,
        )
        gate = Gate(
            clock.monotonic(),
            node=own.node,
            wants_node=outside.api is not None,
            wants_pod_cidrs=own.detect_local_mode == "NodeCIDR",
            fits=lambda node: require_fit(start.config, node, self.families),
        )
        router = Router(own, started=clock.wall())
        feed = Feed(router, clock=clock, gate=gate, resolved=self.resolved)
        first = Regime(own, router, feed, outside.parts, clock=clock, observer=self)
        self.switch = Switch(first, outside.opener, clock=clock, observer=self, serves=self._serve)
        self.ending = Ending(self.switch, clock=clock)
        self.health.expect(first.duties)
        metrics.serve(own.mode, first.duties)
        self.families = tuple(dict.fromkeys(duty.family for duty in first.duties))
        self.ports = HealthPorts(lambda: self.health.verdict().healthy, clock=clock, failed=self._port_failed)
        self.cleaners = self._cleaners(outside.flows, clock)
        self.scraper = Scraper(lambda: self.switch.lanes, metrics, settings.traffic_cap(start.config), clock=clock)
        self.notifier = Notifier()
        self.started = clock.wall()
        self._ready = False

    def _cleaners(self, door: Door | None, clock: Clock) -> list[FlowCleaner]:
        if door is None:
            return []
        return [
            FlowCleaner(
                family,
                door,
                clock=clock,
                settled=lambda family=family: self._is_settled(family),  # type: ignore[misc]
                cleaned=self._cleaned,
            )
            for family in self.families
        ]

    def _is_settled(self, family: Family) -> bool:
        return all(lane.settled for lane in self.switch.now.lanes if lane.duty.family is family)

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.switch.now.settings

    @property
    def router(self) -> Router:
        """The router whose table is in force."""
        return self.switch.now.router

    def emit(self, event: Event) -> None:
        """Take an event from a source."""
        self.told(event)
        self.switch.emit(event)

    # The loop's observer, beyond what a reporter does.

    def resolved(self, changes: Changes, seconds: float) -> None:
        """Bring health-check node ports up to date at once: they do not wait for the kernel."""
        super().resolved(changes, seconds)
        if self.outside.predecessor and not self._ready:
            self.outside.predecessor.begin()
        services = changes.after.services
        names = services if changes.before is None else changes.services
        ports = {name: services[name].health if name in services else None for name in names}
        if ports:
            self.ports.update(ports)
        if changes.before is None or changes.node:
            self._place_ports(changes.after)
        for cleaner in self.cleaners:
            cleaner.resolved(changes)

    def _place_ports(self, table: RoutingTable) -> None:
        node = table.node
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
            if self.outside.predecessor:
                self.outside.predecessor.done()
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
                self.ending.wait(),
                self.switch.run(),
                self.ports.run(),
                *(source.run(self.emit) for source in self.outside.sources),
                *(cleaner.run() for cleaner in self.cleaners),
                serve(health, health_pages(self, self._metrics.health_asked), self.events),
                serve(metrics, metrics_pages(self, profiling=config.enable_profiling), self.events),
                self._serve_locally(),
                self._send_events(),
                self._follow_config(),
                self._take_over(),
                self._watch_relays(),
                self._stay_alive(),
            )
            await first_ended(self.ending.finish(), self._stay_alive())
        finally:
            self.notifier.stopping()
            self.switch.close()
            self.ending.close()
            if self.outside.predecessor:
                self.outside.predecessor.close()
            if self.outside.close:
                await self.outside.close()

    async def _serve_locally(self) -> None:
        server, known = Server(local_pages(self)), ""
        try:
            while True:
                try:
                    await server.listen_locally(LOCAL_SOCKET)
                    break
                except OSError as error:
                    if str(error) != known:
                        known = str(error)
                        log.info("another kproxy runs here: `kproxy explain` and `kproxy status` ask it until it ends")
                    await asyncio.sleep(1.0)
            await asyncio.Event().wait()
        finally:
            await server.close()

    async def _send_events(self) -> None:
        if self.outside.api is None:
            await asyncio.Event().wait()
        else:
            await self.events.run(self.outside.api)

    async def _watch_relays(self) -> None:
        """Turn red where a relay has died: its clients are refused, and only a new process mends it."""
        while True:
            faults = [fault for relay in self.switch.relays if (fault := relay.fault())]
            words = f"the relay has died, start kproxy anew: {faults[0]}" if faults else ""
            if words and words != self.health.fault:
                log.error("%s", words)
                self.events.tell(Weight.WARNING, Reason.RELAY_DIED, Action.SYNC, words)
            self.health.fault = words
            await asyncio.sleep(1.0)

    async def _take_over(self) -> None:
        if self.outside.predecessor:
            await self.outside.predecessor.gone()
        await take_over(self.switch, self.events)
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
                case Apply() as change:
                    await self.reconfigure(change)
                case End(words=words):
                    self._metrics.reloads.labels("ended").inc()
                    raise ConfigError(words)
                case _:
                    log.debug("the configuration file was written anew and says the same")

    async def reconfigure(self, change: Apply) -> None:
        """Put another configuration in force without ending. A mode that cannot serve here leaves the old one in force."""
        try:
            await self.switch.want(settings.routing_settings(change.start.config))
        except KernelError as error:
            mode = self.settings.mode
            words = f"mode {change.start.config.mode} cannot serve here, {mode} stays in force: {error}"
            log.error("%s", words)  # noqa: TRY400 - the sentence says it all
            self.events.tell(Weight.WARNING, Reason.MODE_REFUSED, Action.RECONFIGURE, words)
            change = change.keeping(mode)
            await self.switch.want(settings.routing_settings(change.start.config))
        config = change.start.config
        self.start = change.start
        logs.set_up(config.logging)
        self.health.timeout = settings.health_timeout(self.settings)
        self.events.per_minute = config.kproxy.events_per_minute
        self.scraper.cap(settings.traffic_cap(config))
        self._place_ports(self.router.table)
        words = f"applied without a restart: {', '.join(change.fields)}"
        for warning in change.start.warnings:
            log.warning("%s", warning)
        log.info("the configuration file has changed; %s", words)
        self._metrics.reloads.labels("applied").inc()
        self.events.tell(Weight.NORMAL, Reason.CONFIG_APPLIED, Action.RECONFIGURE, f"configuration {words}")

    async def _serve(self, regime: Regime) -> None:
        """Have everything look at the mode that is in force from now on."""
        before, mode = self.settings.mode, regime.settings.mode
        await self.scraper.serve(regime.lanes)
        self.serve(regime.duties)
        self._metrics.serve(mode, regime.duties)
        self.health.timeout = settings.health_timeout(regime.settings)
        regime.loop.feed.tell(self.resolved)
        words = f"mode {mode} is in force and verified; {before} takes no new connections and leaves"
        log.info("%s", words)
        self.events.tell(Weight.NORMAL, Reason.MODE_SWITCHED, Action.RECONFIGURE, words)

# SPDX-License-Identifier: Apache-2.0
"""From a start to a running app: mode, sysctls, sources."""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from kproxy import __version__
from kproxy.config.effective import effective
from kproxy.config.loading import Start, node_name
from kproxy.daemon import process
from kproxy.daemon.app import App, Outside
from kproxy.daemon.flows import Door
from kproxy.daemon.modes import choose_mode, open_part, parts_of
from kproxy.daemon.succession import Predecessor
from kproxy.kernel.conntrack import Conntrack
from kproxy.kernel.conntrack_sysctls import conntrack_sysctls
from kproxy.kernel.sysctl import Outcome, Sysctls
from kproxy.objects.events import Source
from kproxy.observe.events import Action, Poster, Reason, Weight
from kproxy.observe.metrics import Metrics
from kproxy.sources.directory import DirectorySource
from kproxy.sources.host import HostSource
from kproxy.sources.watches import watches_of
from kproxy.table.errors import KernelError

log: Final = logging.getLogger(__name__)


def initialise(start: Start) -> None:
    """Do what wants full privileges. Raises the first thing that was refused; all the others were done nevertheless."""
    outcome = _set_sysctls(start)
    for error in outcome.errors:
        log.error("%s", error)
    if outcome.errors:
        raise outcome.errors[0]


def _set_sysctls(start: Start) -> Outcome:
    outcome = Sysctls().ensure(conntrack_sysctls(start.config.conntrack, process.processors()))
    for sysctl in outcome.written:
        log.info("sysctl %s is set", sysctl)
    for error in outcome.ignored:
        log.debug("%s", error)
    return outcome


async def run(start: Start) -> None:
    """Run the daemon until it is told to end. Raises KproxyError."""
    for words in start.warnings:
        log.warning("%s", words)
    families = process.families()
    start, note = choose_mode(start, families)
    process.set_oom_score(start.config.oom_score_adj or 0)
    outcome = _set_sysctls(start)
    metrics = Metrics(version=__version__)
    api, sources, close = _sources(start, metrics)
    settings = effective(start.config)
    wanted = parts_of(settings)
    predecessor = Predecessor.find(wanted)
    parts = {
        part: open_part(part, settings, families, inherit=predecessor.sockets(part) if predecessor else None)
        for part in wanted
    }
    outside = Outside(
        sources=sources,
        parts=parts,
        opener=lambda part, settings: open_part(part, settings, families),
        api=api,
        flows=_flow_door(),
        close=close,
        predecessor=predecessor,
    )
    if start.config.kproxy.conntrack_mask:
        log.warning(
            "kproxy.conntrackMask is set, but no mode built into this kproxy uses it yet: --count-bytes counts per endpoint"
        )
    app = App(start, outside, metrics=metrics, notes=[note] if note else [])
    for error in outcome.errors:  # connections go on to work with the kernel's own limits: not worth staying away for
        log.error("%s", error)
        app.events.tell(Weight.WARNING, Reason.SYSCTL_REFUSED, Action.START, str(error))
    await app.run()


def _sources(start: Start, metrics: Metrics) -> tuple[Poster | None, list[Source], Callable[[], Awaitable[None]] | None]:
    """Return the connection to the API server if there is one, where objects come from, and how to let go of it."""
    watches = watches_of(node_name(start.config))
    manifests = start.config.kproxy.manifests
    if manifests:
        return None, [DirectorySource(Path(manifests), watches), HostSource()], None
    from kproxy.sources.kubernetes.source import KubernetesSource  # noqa: PLC0415 - 15 MB that manifests do without
    from kproxy.sources.kubernetes.transport import connect  # noqa: PLC0415

    transport = connect(start.config.client_connection.kubeconfig, start.master, observer=metrics)
    return transport, [KubernetesSource(transport, watches, observer=metrics), HostSource()], transport.close


def _flow_door() -> Door | None:
    try:
        return Conntrack()
    except KernelError as error:
        log.warning("stale UDP flows will not be cleaned up: %s", error)
        return None

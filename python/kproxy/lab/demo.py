# SPDX-License-Identifier: Apache-2.0
"""``kproxy lab demo``: the main job, watched. One failed dial and the exit code is not 0."""

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from kproxy.lab.cluster import API_URL, Cluster
from kproxy.lab.dial import Tally, dial_many, dial_until
from kproxy.lab.histogram import Histogram, counter
from kproxy.lab.plan import Dial, dials
from kproxy.lab.report import dial_table

DIALS: Final = 40  # of every frontend from every place
BUSY: Final = "catalog"


def _say(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)


async def demo(manifests: list[Path], nodes: int = 3) -> int:
    """Run the demo and return the exit code."""
    began = time.monotonic()
    _say(f"Starting {nodes} nodes, an API server and a client outside, each in a network namespace of its own …")
    async with Cluster(nodes) as cluster:
        await cluster.apply(*manifests)
        await cluster.start_daemons()
        pods = sum(len(item.pods) for item in cluster.controllers.deployments.values())
        _say(
            f"{len(cluster.controllers.services)} Services, {pods} Pods; a kproxy on every node has its table in force "
            f"after {time.monotonic() - began:.1f} s.",
            "",
        )
        rows = [(plan, await dial_many(plan.host, plan.address, plan.port, plan.protocol, DIALS)) for plan in dials(cluster)]
        _say(*dial_table(rows), "")
        failed = _judge(rows)
        failed += await _roll(cluster)
        _say(*await _latency(cluster), "")
        for daemon in cluster.daemons.values():
            daemon.check()
    total = time.monotonic() - began
    _say(f"{'Every dial was answered by the right Pod' if not failed else f'{failed} dials FAILED'}; {total:.0f} s in all.")
    return 1 if failed else 0


def _judge(rows: Iterable[tuple[Dial, Tally]]) -> int:
    """Count failed dials and answers by a server that should not have had them, and name them."""
    failed = 0
    for plan, tally in rows:
        wrong = {name: count for name, count in tally.servers.items() if name not in plan.servers}
        for words, count in (*tally.failures.items(), *((f"answered by {name}", count) for name, count in wrong.items())):
            _say(f"FAILED: {plan.service} {plan.kind} {plan.address}:{plan.port} from {plan.place}: {words} ({count} times)")
            failed += count
    return failed


async def _roll(cluster: Cluster) -> int:
    """Scale and roll one Service while it is dialled without pause from three places."""
    _say(f"Now {BUSY} is scaled 4 → 7 → 3 → 5 and every Pod of it replaced, while it is dialled without pause …")
    stop = asyncio.Event()
    plans = [plan for plan in dials(cluster) if plan.service == BUSY]
    dialling = [
        asyncio.create_task(dial_until(stop, plan.host, plan.address, plan.port, plan.protocol, at_once=4)) for plan in plans
    ]
    changes = 0
    for replicas in (7, 3, 5):
        await cluster.controllers.scale(BUSY, replicas)
        changes += 1
        await asyncio.sleep(1.5)
    await cluster.controllers.roll(BUSY)
    changes += 10
    await asyncio.sleep(3.5)  # the last Pods leave
    stop.set()
    failed = 0
    for plan, tally in zip(plans, await asyncio.gather(*dialling), strict=True):
        failed += tally.failures.total()
        words = "".join(f"  {count} times: {why}" for why, count in tally.failures.items())
        _say(
            f"  {plan.kind} {plan.address} from {plan.place}: {tally.dials} dials, {tally.failures.total()} failed, "
            f"{len(tally.servers)} Pods answered, slowest {1000 * tally.slowest:.0f} ms{words}"
        )
    return failed


async def _latency(cluster: Cluster) -> Iterable[str]:
    """Tell how long it took from the API's change to the kernel, from the daemons' own histograms."""
    lines = ["From an event's bytes at the daemon to the kernel's yes:"]
    for node in cluster.topology.nodes:
        scrape = await cluster.metrics(node)
        histogram = Histogram.read(scrape, "kproxy_change_duration_seconds", station="total")
        lines.append(
            f"  {node.name}: {histogram.count} changes, p50 {1000 * histogram.quantile(0.5):.1f} ms, "
            f"p99 {1000 * histogram.quantile(0.99):.1f} ms; "
            f"{counter(scrape, 'kproxy_refused_packets_total'):.0f} packets met reject or drop"
        )
    return lines


async def up(manifests: list[Path], nodes: int = 3) -> int:
    """Keep a cluster running for people to play with, until Ctrl-C."""
    async with Cluster(nodes) as cluster:
        await cluster.apply(*manifests)
        await cluster.start_daemons()
        _say("The cluster runs; Ctrl-C ends it. From another terminal, as root:")
        for host in (cluster.topology.fabric, cluster.topology.outside, *(node.host for node in cluster.topology.nodes)):
            _say(f"  on {host.name}:  nsenter --net={host.path} bash")
        _say(
            f"  the API: nsenter --net={cluster.topology.fabric.path} curl {API_URL}/api/v1/services",
            "  why:     nsenter --net=… kproxy explain 192.0.2.100 192.0.2.1:30080/TCP",
        )
        await asyncio.Event().wait()
    return 0

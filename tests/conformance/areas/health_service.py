# SPDX-License-Identifier: Apache-2.0
"""Area health_service: health-check node ports, on real sockets.

A loopback address of our own stands for each address the case names, so that nothing else on the machine is in the way.
"""

import asyncio
import os
from typing import Any

import msgspec

from kproxy.observe.health_ports import WILDCARD, HealthPorts, answer, places
from kproxy.observe.http import render
from kproxy.table.clock import FakeClock
from kproxy.table.routing_table import HealthPort
from kproxy.table.terms import Family

_OURS = f"127.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
_STANDS_FOR = {WILDCARD[Family.IPV4]: f"{_OURS}.1", "127.0.0.1": f"{_OURS}.2"}


def run(case: dict[str, Any]) -> None:
    """Go through the steps; after each compare where it listens and what it answers there."""
    given, expect = case["input"], case["expect"]
    if "steps" not in given:
        port = HealthPort(given["service"], 1, given["localEndpoints"])
        headers = _headers(render(answer(port, proxy_healthy=True), close=False))
        for name, value in expect["headers"].items():
            assert headers.get(name.lower()) == str(value), f"{name} is {headers.get(name.lower())!r}"
        return
    asyncio.run(_steps(given["steps"], expect["afterEachStep"]))


def _headers(answered: bytes) -> dict[str, str]:
    _, *lines = answered.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


class _Node:
    """The state the steps turn. A Service that is new, or has moved to another port, has no count until the next one."""

    def __init__(self) -> None:
        self.healthy = True
        self.services: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        self.failures: list[str] = []
        self.ports = HealthPorts(
            lambda: self.healthy, clock=FakeClock(), failed=lambda _, words: self.failures.append(words)
        )
        self.listen_on([])

    def listen_on(self, node_port_addresses: list[str]) -> None:
        chosen = places(node_port_addresses, {}, ["127.0.0.1", "::1"], [Family.IPV4])
        self.ports.listen_on(_STANDS_FOR[address] for address in chosen)

    async def take(self, step: dict[str, Any]) -> None:
        before = self.services
        if "nodePortAddresses" in step:
            self.listen_on(step["nodePortAddresses"] or [])
        if "syncServices" in step:
            self.services = step["syncServices"] or {}
            self.counts = {name: count for name, count in self.counts.items() if self.services.get(name) == before[name]}
        if "syncEndpoints" in step:
            self.counts = {name: count for name, count in (step["syncEndpoints"] or {}).items() if name in self.services}
        self.healthy = step.get("proxyHealthy", self.healthy)
        gone: dict[str, HealthPort | None] = dict.fromkeys(before.keys() - self.services.keys())
        there = {name: HealthPort(name, port, self.counts.get(name, 0)) for name, port in self.services.items()}
        self.ports.update(gone | there)
        await self.ports.settle()
        assert not self.failures, self.failures


async def _steps(steps: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    node = _Node()
    for number, (step, wanted) in enumerate(zip(steps, expected, strict=True)):
        await node.take(step)
        where = {_stood_for(text) for text in node.ports.listening}
        if "listening" in wanted:
            assert where == set(wanted["listening"]), f"after step {number}: listens on {where}"
        statuses, counts = {}, {}
        for name, port in node.services.items():
            address = next((text.rpartition(":")[0] for text in node.ports.listening if text.endswith(f":{port}")), None)
            if address is None:
                continue
            statuses[name], body = await _ask(address, port)
            counts[name] = body["localEndpoints"]
            if len(node.services) == 1:
                _compare(wanted, statuses[name], body, number)
        for key, found in (("status", statuses), ("localEndpoints", counts)):
            if isinstance(wanted.get(key), dict):
                assert found == wanted[key], f"after step {number}: {found}"
    node.ports.update(dict.fromkeys(node.services))
    await node.ports.settle()


def _compare(wanted: dict[str, Any], status: int, body: dict[str, Any], number: int) -> None:
    if isinstance(wanted.get("status"), int):
        assert status == wanted["status"], f"after step {number}: {status}"
    if isinstance(wanted.get("localEndpoints"), int):
        assert body["localEndpoints"] == wanted["localEndpoints"], f"after step {number}: {body}"
    if "body" in wanted:
        assert {name: body[name] for name in wanted["body"]} == wanted["body"], f"after step {number}: {body}"


def _stood_for(text: str) -> str:
    address, _, port = text.rpartition(":")
    return f"{next(name for name, ours in _STANDS_FOR.items() if ours == address)}:{port}"


async def _ask(address: str, port: int) -> tuple[int, dict[str, Any]]:
    reader, writer = await asyncio.open_connection(address, port)
    writer.write(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), msgspec.json.decode(body)

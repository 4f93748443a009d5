# SPDX-License-Identifier: Apache-2.0
"""A changed Service: when the relay obeys, what the first hand-over takes, and what traffic notices of changes."""

import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bars
from bench.relay import load
from bench.relay.lineup import Lineup
from bench.relay.report import lines
from bench.relay.rounds import Load, Target, alternate
from bench.relay.serve import Offer, others, service
from bench.timing import seconds
from kproxy._core import Relay
from kproxy.lab.namespaces import ip

_SERVICES: Final = 10_000
_CHANGES: Final = 300


def _greeter(word: bytes) -> socket.socket:
    """Return a server that greets everybody with a word and closes."""
    server = socket.create_server(("127.0.0.1", 0), backlog=1024)

    def greet() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    connection.sendall(word)

    threading.Thread(target=greet, daemon=True).start()
    return server


@pytest.fixture(name="relay")
def a_relay(node: None) -> Iterator[Relay]:
    """Start a relay on a plain port, with 10,000 Services of five endpoints."""
    del node
    ip(["link set lo up"])
    relay = Relay((0, 0), mark=0, transparent=False)
    relay.apply(others(_SERVICES), [])
    yield relay
    relay.stop()


def test_change(benchmark: BenchmarkFixture, relay: Relay, bars: Bars) -> None:
    """One of 10,000 Services gets another endpoint: the next client meets it."""
    words = (b"one", b"two")
    servers = [_greeter(word) for word in words]
    endpoints = [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]
    port = relay.ports[0]
    offer = Offer("bench/changing", "TCP", "0.0.0.0", port, tuple(endpoints))
    taken, stale = [], 0
    for number in range(_CHANGES):
        turn = number % 2
        taken.append(seconds(lambda turn=turn: relay.apply([service(offer, [endpoints[turn]])], [])))  # type: ignore[misc]
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            stale += client.recv(16) != words[turn]
    benchmark.pedantic(relay.apply, args=([service(offer, endpoints)], []), rounds=50)
    for server in servers:
        server.close()
    told = f"p99 {statistics.quantiles(taken, n=100)[98] * 1e6:.0f} us, {_CHANGES} changes among {_SERVICES:,} Services"
    bars.most("a Service changed, from Python's call to its return, p50, us", statistics.median(taken) * 1e6, 200, told)
    bars.most("clients after a change that met the endpoint before it", stale, 0)


def test_first_hand_over(benchmark: BenchmarkFixture, node: None, bars: Bars) -> None:
    """10,000 Services of five endpoints each reach a relay that knows nothing."""
    del node
    ip(["link set lo up"])
    services = others(_SERVICES)

    def started() -> tuple[tuple[Relay], dict[str, object]]:
        return (Relay((0, 0), mark=0, transparent=False),), {}

    taken = []

    def hand_over(relay: Relay) -> None:
        began = time.perf_counter()
        relay.apply(services, [])
        taken.append(time.perf_counter() - began)

    benchmark.pedantic(hand_over, setup=started, rounds=10)
    bars.most(
        "first hand-over of 10,000 Services x 5, ms", statistics.median(taken) * 1e3, 50, f"best {min(taken) * 1e3:.1f}"
    )


def test_traffic(benchmark: BenchmarkFixture, lineup: Lineup, bars: Bars, figure: Callable[[str], None]) -> None:
    """100 changes a second among 10,000 Services do not lengthen the tail of new connections."""
    address = lineup.addresses["ours"]
    lineup.ours.order(f"fill {_SERVICES}")

    def under(words: str) -> Load:
        lineup.ours.order(words)
        time.sleep(0.2)
        return load.web(lineup.bed, address, connections=64, close=True)

    targets = {"at rest": Target(lambda: under("rest")), "changing": Target(lambda: under("churn 100"))}
    outcome = benchmark.pedantic(alternate, args=(targets,), rounds=1)
    lineup.ours.order("rest")
    title = f"new connections while Services change, {lineup.name}"
    for line in lines(title, outcome):
        figure(line)
    bars.most(f"{title}, p99 beside a relay at rest", outcome["changing"].p99 / outcome["at rest"].p99, 1.2)

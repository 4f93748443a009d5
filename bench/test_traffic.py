# SPDX-License-Identifier: Apache-2.0
"""What packets pay: the first of a connection at the first and the last of 10,000 Services, and bulk, counted or not."""

import contextlib
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bar
from bench.tables import SERVICES, endpoint, facts, route, table, whole
from kproxy.dataplanes.nftables.dataplane import NftablesDataplane
from kproxy.lab.namespaces import inside
from kproxy.table.terms import Family
from tests.bed import PORT, Bed, accept_forever, child

COUNT = 10_000


def _loaded(bed: Bed, *, count_bytes: bool) -> NftablesDataplane:
    """Put 10,000 Services of two endpoints into the node."""
    routes = [route(number, (endpoint(2 * number, PORT), endpoint(2 * number + 1, PORT))) for number in range(COUNT)]
    with inside(bed.node.namespace):
        dataplane = NftablesDataplane(Family.IPV4, count_bytes=count_bytes)
    bed.commit(dataplane, whole(table(routes, facts("172.20.0.0/24"))))
    return dataplane


def _connects(bed: Bed, address: str, port: int, count: int = 400) -> list[float]:
    taken = []
    with inside(bed.client.namespace):
        for _ in range(count):
            dial = socket.socket()
            began = time.perf_counter()
            with contextlib.suppress(ConnectionResetError):  # the server resets at once: the handshake is over by then
                dial.connect((address, port))
            taken.append(time.perf_counter() - began)
            dial.close()
    return taken


@pytest.fixture(name="bed")
def a_bed() -> Iterator[Bed]:
    """Build the three hosts."""
    bed = Bed()
    yield bed
    bed.close()


@pytest.mark.parametrize("counting", [False, True])
def test_first_packet(benchmark: BenchmarkFixture, bed: Bed, bar: Bar, *, counting: bool) -> None:
    """A connect to the last of 10,000 Services costs what one to the first costs."""
    dataplane = _loaded(bed, count_bytes=counting)
    first, last = str(SERVICES[1]), str(SERVICES[COUNT])
    samples: dict[str, list[float]] = {first: [], last: [], "direct": []}
    with child(bed.server, accept_forever):
        time.sleep(0.2)
        for _ in range(28):  # short turns, so that noise falls on all alike
            for where in samples:
                target = (endpoint(0).address, PORT) if where == "direct" else (where, 80)
                samples[where] += _connects(bed, *target, count=100)
        benchmark.pedantic(_connects, args=(bed, last, 80, 50), rounds=1)
    dataplane.close()
    p10 = {where: statistics.quantiles(taken, n=10)[0] * 1e6 for where, taken in samples.items()}
    p50 = {where: statistics.median(taken) * 1e6 for where, taken in samples.items()}
    words = f"p10 {p10[first]:.1f} and {p10[last]:.1f} us (direct {p10['direct']:.1f})"
    bar(
        f"first packet, last beside first Service, p10, counting {'on' if counting else 'off'}",
        p10[last] / p10[first],
        1.1,
        words,
    )
    bar(f"first packet, last beside first Service, p50, counting {'on' if counting else 'off'}", p50[last] / p50[first], 1.2)


def _bulk(bed: Bed) -> float:
    """Return gigabits per second of one stream through the last Service."""
    with inside(bed.client.namespace):
        command = ["iperf3", "-c", str(SERVICES[COUNT]), "-p", "80", "-t", "2", "-J"]
        done = subprocess.run(command, check=True, capture_output=True)
    report = msgspec.json.decode(done.stdout)
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9


def test_bulk(benchmark: BenchmarkFixture, bar: Bar) -> None:
    """Counting bytes costs bulk traffic at most 3 %."""
    beds = {counting: Bed() for counting in (False, True)}
    planes = [_loaded(bed, count_bytes=counting) for counting, bed in beds.items()]
    rates: dict[bool, list[float]] = {False: [], True: []}
    with contextlib.ExitStack() as servers:
        for bed in beds.values():
            with inside(bed.server.namespace):
                server = subprocess.Popen(["iperf3", "-s", "-p", str(PORT)], stdout=subprocess.DEVNULL)
            servers.callback(server.wait)
            servers.callback(server.kill)
        time.sleep(0.3)
        for _ in range(9):
            for counting, bed in beds.items():
                rates[counting].append(_bulk(bed))
        benchmark.pedantic(_bulk, args=(beds[True],), rounds=1)
    for plane in planes:
        plane.close()
    for bed in beds.values():
        bed.close()
    off, on = statistics.median(rates[False]), statistics.median(rates[True])
    lost = 1 - statistics.median(counted / plain for plain, counted in zip(rates[False], rates[True], strict=True))
    bar("bulk, share lost to counting, median of neighbouring runs", lost, 0.03, f"{on:.1f} beside {off:.1f} Gbit/s")

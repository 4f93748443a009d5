# SPDX-License-Identifier: Apache-2.0
"""20,000 silent connections through our relay: each lives, and costs two descriptors and no pipe.

``make bench-vm`` runs it in the emulated machine: elsewhere a process may often hold fewer descriptors. Forty thousand ends
that ask every half a minute whether their peer lives are much for such a machine, so its queues are made long: a question
lost three times in a row ends a connection.
"""

import contextlib
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bars
from bench.relay.bed import Bed
from bench.relay.memory import held, idle
from bench.relay.ours import Ours, ours
from bench.relay.programs import running
from bench.relay.services import BACKENDS, IDLE, Place

_COUNT: Final = 20_000
_ADDRESS: Final = "10.99.9.4"
_DESCRIPTORS: Final = 2 * _COUNT + 1000
_QUEUE: Final = Path("/proc/sys/net/core/netdev_max_backlog")


def _may_hold() -> int:
    """Let this process, and those it starts, hold as many descriptors as are needed; return how many it may hold."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < _DESCRIPTORS:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


pytestmark = pytest.mark.skipif(
    _may_hold() < _DESCRIPTORS, reason=f"a process may hold only {_may_hold()} descriptors here: run make bench-vm"
)


@pytest.fixture
def _long_queues() -> Iterator[None]:
    """Let packets wait instead of being dropped."""
    before = _QUEUE.read_text(encoding="ascii")
    _QUEUE.write_text("100000", encoding="ascii")
    yield
    _QUEUE.write_text(before, encoding="ascii")


@contextlib.contextmanager
def _relaying() -> Iterator[tuple[Bed, Ours]]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relays-")))
        bed = Bed()
        stack.callback(bed.close)
        command = [sys.executable, "-m", "bench.relay.holder", "accept", str(IDLE.port)]
        listens = [Place(IDLE, BACKENDS[0], IDLE.port)]
        stack.enter_context(running(bed.backend, command, folder / "backend.log", listens=listens))
        place = Place(IDLE, _ADDRESS, IDLE.port)
        bed.own([_ADDRESS])
        yield bed, stack.enter_context(ours(bed, "ours", _ADDRESS, [place], folder))


@pytest.mark.usefixtures("_long_queues")
def test_many(benchmark: BenchmarkFixture, bars: Bars, figure: Callable[[str], None]) -> None:
    """All of them are open at once, and each answers once more."""
    with _relaying() as (bed, relay):
        before = held(relay.pid)
        with idle(bed, _ADDRESS, _COUNT) as again:
            benchmark.pedantic(again, rounds=1)
            grown = held(relay.pid) - before
    figure(f"{_COUNT:,} idle connections: {grown.memory / _COUNT:.0f} B each")
    bars.most(f"{_COUNT:,} idle connections, descriptors each", grown.descriptors / _COUNT, 2)
    bars.most(f"{_COUNT:,} idle connections, pipes", grown.pipes, 0)

# SPDX-License-Identifier: Apache-2.0
"""Memory of the whole process tree, at rest and at its peak, fed by an API server in a process of its own."""

import time
import urllib.request
from pathlib import Path

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.cluster import cluster
from bench.conftest import Bar
from kproxy.lab.host import Host
from kproxy.lab.namespaces import inside
from kproxy.lab.processes import Program
from tests.faults.daemon import FLAGS

_PERIOD = 0.05  # seconds between looks; the daemon's own peak is the kernel's figure and misses nothing


class Memory(msgspec.Struct, frozen=True):
    """Megabytes: a while after the table was in force, and the most there ever was."""

    rest: float
    peak: float


def _field(path: Path, name: str) -> float:
    """Return a field of a file under /proc in megabytes; 0 when the process is gone."""
    try:
        lines = path.read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(float(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def _tree(pid: int) -> list[int]:
    """Return a process and all that it started."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += _tree(int(child))
    return found


def _program(pid: int) -> str:
    """Return the file a process runs; empty when it is gone."""
    try:
        return str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return ""


def _share(pids: list[int]) -> float:
    """Return the processes' proportional share of memory. One that has not called exec yet is its parent still."""
    own = _program(pids[0])
    kept = [pid for pid in pids if pid == pids[0] or _program(pid) != own]
    return sum(_field(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in kept)


def _ready(node: Host) -> bool:
    try:
        with inside(node.namespace), urllib.request.urlopen("http://127.0.0.1:10256/readyz", timeout=5):
            return True
    except OSError:
        return False


def measure(log: Path, services: int, endpoints: int) -> Memory:
    """Start the daemon in front of a cluster of that size, and watch its memory until it rests."""
    node = Host("memory")
    children = 0.0
    with inside(node.namespace):
        feed = cluster(services, endpoints)
        lab = feed.__enter__()
    daemon = Program(node, log, "kproxy", f"--master={lab.url}", *FLAGS)
    try:
        deadline = time.monotonic() + 180
        while not _ready(node):
            daemon.check()
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            tree = _tree(daemon.pid)
            children = max(children, _share(tree) - _share(tree[:1]))
            time.sleep(_PERIOD)
        time.sleep(10)
        own = _field(Path(f"/proc/{daemon.pid}/status"), "VmHWM")
        return Memory(_share(_tree(daemon.pid)), own + children)
    finally:
        daemon.kill()
        feed.__exit__(None, None, None)
        node.close()


@pytest.mark.parametrize(("services", "endpoints", "most"), [(10_000, 2, 130), (5_000, 50, 350)])
def test_memory(benchmark: BenchmarkFixture, bar: Bar, tmp_path: Path, services: int, endpoints: int, most: int) -> None:
    """The daemon rests below its bar; its peak, and that of every process it starts, is no more than half above."""
    taken = benchmark.pedantic(measure, args=(tmp_path / "log", services, endpoints), rounds=1)
    words = f"rest {taken.rest:.0f} MB, peak {taken.peak:.0f} MB"
    bar(f"memory at rest, {services} x {endpoints}, MB", taken.rest, most, words)
    bar(f"memory, peak over rest, {services} x {endpoints}", taken.peak / taken.rest, 1.5, words)

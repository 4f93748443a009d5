# SPDX-License-Identifier: Apache-2.0
"""Mode ipvs beside ``ipvsadm``: a whole load, a resync where nothing changed, repairs. Needs a kernel with IPVS.

``make bench-vm`` runs it in the emulated machine, where this kernel has none.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bar
from bench.tables import sized, whole
from bench.timing import seconds
from kproxy._core import NftSocket
from kproxy.dataplanes.contract import Applied
from kproxy.dataplanes.ipvs.dataplane import IpvsDataplane
from kproxy.kernel.ipvs import Ipvs
from kproxy.kernel.ipvs_values import Operation, RealServer, ServerKey, VirtualServer
from kproxy.lab.namespaces import ip, private
from kproxy.table.errors import KernelError
from kproxy.table.routing_table import Changes, RoutingTable
from kproxy.table.terms import Family, Protocol

SERVICES: Final = 1_000
ENDPOINTS: Final = 5
STARTING: Final = {"subprocess.Popen", "os.fork", "os.posix_spawn"}  # events of Python's that start a process
FOREIGN: Final = ServerKey.at(Protocol.TCP, "192.0.2.80", 80)


def why_not() -> str:
    """Say why nothing here can run on this kernel, or nothing."""
    try:
        Ipvs()
    except KernelError as error:
        return f"{error}; here: scripts/vm pytest bench/test_ipvs.py --benchmark-only"
    return ""


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@contextlib.contextmanager
def opened() -> Iterator[IpvsDataplane]:
    """Open a dataplane in a namespace of its own."""
    with private():
        ip(["link set lo up"])
        dataplane = IpvsDataplane(Family.IPV4)
        try:
            yield dataplane
        finally:
            dataplane.close()


def bring(dataplane: IpvsDataplane, table: RoutingTable) -> int:
    """Read what the kernel holds, make it as the table says; return how many operations that took."""
    transaction = dataplane.compile(dataplane.read_back(), whole(table))
    assert isinstance(applied := dataplane.commit(transaction), Applied), applied
    return transaction.operations


def listed() -> Sequence[str]:
    """Return what IPVS holds as ``ipvsadm`` would be told."""
    held = Ipvs().dump().values()
    lines = []
    for each in held:
        lines.append(str(Operation.add_server(each.server)))
        lines += [str(Operation.add_real(each.server.key, real.server)) for real in each.reals]
    return lines


def ipvsadm(*arguments: str, lines: Sequence[str] = ()) -> None:
    """Run the tool."""
    subprocess.run(
        ["ipvsadm", *arguments],
        input="".join(f"{line}\n" for line in lines),
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def test_load(benchmark: BenchmarkFixture, bar: Bar) -> None:
    """1,000 Services of 5 endpoints, from routes to the kernel's yes: at most 1.5 times ``ipvsadm -R`` of the same."""
    table = sized(SERVICES, ENDPOINTS)
    with opened() as dataplane:
        bring(dataplane, table)
        lines = listed()
    assert len(lines) == SERVICES * (1 + ENDPOINTS)

    def ours() -> float:
        with opened() as dataplane:
            return seconds(lambda: bring(dataplane, table))

    def theirs() -> float:
        with private():
            ip(["link set lo up"])
            return seconds(lambda: ipvsadm("-R", lines=lines))

    tools, mine = theirs(), benchmark.pedantic(ours, rounds=1)
    bar(f"ipvs load {SERVICES} x {ENDPOINTS}, ratio to ipvsadm -R", mine / tools, 1.5, f"{mine:.2f} s beside {tools:.2f} s")


def test_a_resync_where_nothing_changed(benchmark: BenchmarkFixture, bar: Bar) -> None:
    """No process, no operation: whether it is asked for by the loop or by a restart."""
    table = sized(SERVICES, ENDPOINTS)
    with opened() as dataplane:
        bring(dataplane, table)
        generation = NftSocket().generation()
        started: list[str] = []
        sys.addaudithook(lambda event, _: started.append(event) if event in STARTING else None)
        assert not dataplane.foreign_changes()
        committed = dataplane.read_back()
        assert not dataplane.verify(committed, table)
        operations = benchmark.pedantic(dataplane.compile, args=(committed, Changes(table, table)), rounds=1).operations
        dataplane.settle()
        bar("ipvs resync, operations", operations, 0)
        bar("ipvs resync, nftables transactions", NftSocket().generation() - generation, 0)
        bar("ipvs resync, processes", len(started), 0)


def clear() -> None:
    """Delete every virtual server."""
    ipvsadm("-C")


def delete_rules() -> None:
    """Delete our nftables table."""
    subprocess.run(["nft", "delete", "table", "ip", "kproxy-ipvs"], check=True)


def test_repair(benchmark: BenchmarkFixture, bar: Bar) -> None:
    """What somebody destroys is noticed and mended within 20 times ``ipvsadm -L -n``; a foreign server stays as it is."""
    table = sized(SERVICES, ENDPOINTS)
    foreign = [Operation.add_server(VirtualServer(FOREIGN)), Operation.add_real(FOREIGN, RealServer("192.0.2.81", 80))]
    taken = {}
    with opened() as dataplane:
        bring(dataplane, table)
        before = listed()
        dataplane.foreign_changes()
        listing = seconds(lambda: ipvsadm("-L", "-n"))

        def repair() -> float:
            began = time.perf_counter()
            while not dataplane.foreign_changes():  # it looks now and then only
                assert time.perf_counter() < began + 30 * listing
                time.sleep(0.05)
            bring(dataplane, table)
            return time.perf_counter() - began

        for harm in (clear, delete_rules):
            harm()
            Ipvs().apply(foreign)
            taken[harm] = repair()
            assert sorted(listed()) == sorted([*before, *map(str, foreign)])
        clear()
        benchmark.pedantic(repair, rounds=1)
    for harm, figure in taken.items():
        words = f"{figure:.2f} s beside {listing:.2f} s"
        bar(f"ipvs repair: {harm.__doc__} Ratio to ipvsadm -L -n", figure / listing, 20, words)

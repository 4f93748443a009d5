# SPDX-License-Identifier: Apache-2.0
"""Bulk through every relay: one stream, eight, download, and bodies of 4 MiB over eight connections."""

from collections.abc import Callable
from functools import partial
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bars
from bench.relay import load
from bench.relay.bed import Bed
from bench.relay.lineup import Lineup
from bench.relay.report import lines
from bench.relay.rounds import Load, alternate

_STREAMS: Final[dict[str, tuple[Callable[[Bed, str], Load], float]]] = {
    "1 stream": (load.bulk, 0.90),
    "8 streams": (partial(load.bulk, streams=8), 0.88),
    "download": (partial(load.bulk, download=True), 0.75),
}
_SHAPES: Final = {**_STREAMS, "4 MiB bodies": (load.bodies, 0.85)}


@pytest.mark.parametrize("shape", _SHAPES)
def test_bulk(benchmark: BenchmarkFixture, lineup: Lineup, bars: Bars, figure: Callable[[str], None], shape: str) -> None:
    """As fast as no relay at all, and far cheaper than one that copies."""
    sample, of_direct = _SHAPES[shape]
    outcome = benchmark.pedantic(alternate, args=(lineup.targets(sample),), rounds=1)
    title = f"{shape}, {lineup.name}"
    for line in lines(title, outcome):
        figure(line)
    ours = outcome["ours"]
    if not lineup.deployed:
        bars.least(f"{title}, x direct", ours.rate / outcome["direct"].rate, of_direct)
    for peer, times in (("HAProxy", 2.2), ("nginx", 2.2), ("HAProxy splice", 1.1)):
        bars.least(f"{title}, x {peer}", ours.rate / outcome[peer].rate, times)
    if shape in _STREAMS:
        for peer, share in (("HAProxy", 0.30), ("HAProxy splice", 0.75)):
            bars.most(f"{title}, CPU per GB beside {peer}", ours.cost / outcome[peer].cost, share)

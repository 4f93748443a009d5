# SPDX-License-Identifier: Apache-2.0
"""Alternating rounds: A, B, C, A, B, C, … and the median of each, so that whatever else happens falls on all alike."""

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from bench.relay import cpu

ROUNDS: Final = int(os.environ.get("RELAY_ROUNDS", "5"))
SECONDS: Final = float(os.environ.get("RELAY_SECONDS", "1"))
_FOREIGN: Final = 0.12  # of one processor: more than this, used by others, spoils a sample
_TRIES: Final = 3


class Load(NamedTuple):
    """What a load reports: units a second, units in all, and latency in microseconds where it is measured."""

    rate: float
    units: float
    p50: float = math.nan
    p99: float = math.nan


class Medians(NamedTuple):
    """The medians of a target's samples. ``cost``: processor seconds the relay used per unit."""

    rate: float
    cost: float
    p50: float
    p99: float


class Target(NamedTuple):
    """What is measured: how one sample is taken, and the process (with all it started) whose time it costs."""

    sample: Callable[[], Load]
    process: int | None = None


class _Sample(NamedTuple):
    load: Load
    cost: float
    disturbed: bool


def _take(target: Target) -> _Sample:
    pids = [] if target.process is None else list(cpu.descendants(target.process))
    began, others, used = time.perf_counter(), cpu.foreign(), cpu.seconds(pids)
    load = target.sample()
    used = cpu.seconds(pids) - used
    share = (cpu.foreign() - others) / (time.perf_counter() - began)
    return _Sample(load, used / load.units if load.units else math.nan, share > _FOREIGN)


def _undisturbed(target: Target, tries: int) -> _Sample:
    """Take a sample, and take it anew while others use the processors; the last try counts whatever it met."""
    for _ in range(tries - 1):
        sample = _take(target)
        if not sample.disturbed:
            return sample
    return _take(target)


@dataclass(frozen=True)
class Outcome:
    """What a run of rounds found, and how many of its samples others disturbed."""

    medians: Mapping[str, Medians]
    disturbed: int
    samples: int

    def __getitem__(self, name: str) -> Medians:
        return self.medians[name]


def alternate(targets: Mapping[str, Target], rounds: int = ROUNDS) -> Outcome:
    """Measure every target once a round and return their medians."""
    taken: dict[str, list[_Sample]] = {name: [] for name in targets}
    tries = _TRIES
    for _ in range(rounds):
        for name, target in targets.items():
            sample = _undisturbed(target, tries)
            tries = 1 if sample.disturbed else tries  # a machine that stays busy is not waited for
            taken[name].append(sample)
    medians = {
        name: Medians(
            statistics.median(sample.load.rate for sample in samples),
            statistics.median(sample.cost for sample in samples),
            statistics.median(sample.load.p50 for sample in samples),
            statistics.median(sample.load.p99 for sample in samples),
        )
        for name, samples in taken.items()
    }
    everything = [sample for samples in taken.values() for sample in samples]
    return Outcome(medians, sum(sample.disturbed for sample in everything), len(everything))

# SPDX-License-Identifier: Apache-2.0
"""A Prometheus histogram, read back from the text format."""

import math
from typing import Self

import msgspec
from prometheus_client.parser import text_string_to_metric_families


class Histogram(msgspec.Struct, frozen=True):
    """Upper bounds and cumulative counts, all label sets added up."""

    bounds: tuple[float, ...]
    counts: tuple[float, ...]

    @classmethod
    def read(cls, text: str, name: str, **labels: str) -> Self:
        """Read one histogram out of a scrape, of the series that carry these labels; empty where it is not there."""
        sums: dict[float, float] = {}
        for family in text_string_to_metric_families(text):
            if family.name == name:
                for sample in family.samples:
                    if sample.name == f"{name}_bucket" and labels.items() <= sample.labels.items():
                        bound = float(sample.labels["le"])
                        sums[bound] = sums.get(bound, 0.0) + sample.value
        bounds = tuple(sorted(sums))
        return cls(bounds, tuple(sums[bound] for bound in bounds))

    @property
    def count(self) -> int:
        """How many observations."""
        return int(self.counts[-1]) if self.counts else 0

    def quantile(self, share: float) -> float:
        """Estimate a quantile by linear interpolation, as Prometheus does; NaN without observations."""
        if not self.count:
            return math.nan
        rank, below, low = share * self.count, 0.0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=True):
            if count >= rank:
                if math.isinf(bound):
                    return low
                return low + (bound - low) * ((rank - below) / (count - below) if count > below else 1.0)
            below, low = count, bound
        return low


def counter(text: str, name: str) -> float:
    """Add up all samples of one counter or gauge in a scrape; 0 where it is not there."""
    return sum(
        sample.value for family in text_string_to_metric_families(text) for sample in family.samples if sample.name == name
    )

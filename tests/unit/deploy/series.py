# SPDX-License-Identifier: Apache-2.0
"""What the daemon exposes, and what a PromQL expression asks for: names of series with their labels."""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from kproxy.dataplanes.contract import Counters, Duty, RelayReport, Traffic
from kproxy.observe.metrics import Metrics
from kproxy.observe.relayed import RelayCollector
from kproxy.observe.traffic import Cap, TrafficCollector
from kproxy.table.route import RouteKey
from kproxy.table.terms import Family, Mode, Protocol

PROMETHEUS_OWN: Final = {"up": {"instance", "job"}}
SCRAPED: Final = frozenset({"instance", "job"})  # labels that scraping adds
_SUFFIXES: Final = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
_SERIES: Final = re.compile(r"\b((?:kproxy|kubeproxy|rest_client|process)_[a-z0-9_]+|up)\b(?:\{([^}]*)\})?")
_MATCHER: Final = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"[^"]*"')
_GROUPED: Final = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")


class Asked(msgspec.Struct, frozen=True):
    """One series in an expression, with the labels its selector names."""

    name: str
    labels: frozenset[str]


def exposed() -> dict[str, set[str]]:
    """Return every series the daemon can expose, by its exact name, with its labels."""
    metrics = Metrics()
    metrics.serve(Mode.NFTABLES, [Duty(Mode.NFTABLES, family) for family in Family])
    key = RouteKey("shop", "web", "http", Protocol.TCP, Family.IPV4)
    traffic = Traffic(connections=1, packets=1, bytes=1)
    counters = Counters({(key, "ClusterIP"): traffic}, {(key, "10.0.0.1:80"): traffic}, {"no-endpoints": 1})
    collector = TrafficCollector(Cap())
    collector.take(Duty(Mode.NFTABLES, Family.IPV4), counters)
    metrics.registry.register(collector)
    relayed = RelayCollector()
    relayed.take([RelayReport(closed={"done": 1}, failed={"refused": 1})])
    metrics.registry.register(relayed)
    found: dict[str, set[str]] = {}
    for registered in list(metrics.registry._collector_to_names):
        labels = set(getattr(registered, "_labelnames", ()))
        for family in registered.collect():
            for suffix in _SUFFIXES.get(family.type, ("",)):
                found[family.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def asked(expression: str) -> Iterator[Asked]:
    """Yield the series an expression selects."""
    for match in _SERIES.finditer(_GROUPED.sub("", expression)):
        yield Asked(match[1], frozenset(_MATCHER.findall(match[2] or "")))


def grouped(expression: str) -> set[str]:
    """Return the labels an expression groups by or joins on."""
    return {label.strip() for group in _GROUPED.findall(expression) for label in group.split(",")}


def unknown(expression: str) -> list[str]:
    """Name what an expression asks for and the daemon does not have; nothing when all is well."""
    known = exposed() | PROMETHEUS_OWN
    series = list(asked(expression))
    if not series:
        return ["it asks for nothing"]
    troubles = [f"no series {one.name}" for one in series if one.name not in known]
    for one in series:
        troubles += [f"{one.name} has no label {label}" for label in one.labels - known.get(one.name, set()) - SCRAPED]
    every = set[str]().union(*(known.get(one.name, set()) for one in series)) | SCRAPED
    return troubles + [f"nothing here has label {label}" for label in grouped(expression) - every]

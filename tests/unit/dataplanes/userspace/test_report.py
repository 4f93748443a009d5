# SPDX-License-Identifier: Apache-2.0
"""Sums of what the relay has counted only grow, whoever leaves."""

from typing import Any

from kproxy import _core
from kproxy.dataplanes.userspace.report import CLOSED, FAILED, REFUSED, Reporter

STEPS = len(_core.Relay.steps()) + 1


def endpoint(name: str, done: int, refused: int, dials: int) -> Any:
    """Return the row of an endpoint with so many connections that are done, and failed dials."""
    times = ([dials, *[0] * (STEPS - 1)], dials * 10) if dials else ([], 0)
    return ("shop/web", name, done, 0, [done, 0, 0, 0, 0], [refused, 0], 0, 0, 0, times, ([], 0))


def test_an_endpoint_that_leaves_stays_in_the_sums() -> None:
    """And one that comes back from zero is added to them."""
    reporter = Reporter()
    reporter.report([("shop/web", 2, 0)], [endpoint("a", 5, 1, 6), endpoint("b", 1, 0, 1)])
    left = reporter.report([("shop/web", 2, 0)], [endpoint("b", 2, 0, 2)])
    back = reporter.report([("shop/web", 3, 1)], [endpoint("a", 1, 0, 1), endpoint("b", 2, 0, 2)])
    gone = reporter.report([], [])

    assert [one.closed["done"] for one in (left, back, gone)] == [7, 8, 8]
    assert [one.failed["refused"] for one in (left, back, gone)] == [1, 1, 1]
    assert [one.retries for one in (left, back, gone)] == [2, 3, 3]
    assert [one.dial.counts[0] for one in (left, back, gone)] == [8, 9, 9]
    assert round(gone.dial.seconds * 1e6) == 90
    assert gone.clients == 0


def test_before_anything_happens_everything_is_zero() -> None:
    """Each reason is there from the start, so that its first time shows."""
    report = Reporter().report([], [])

    assert dict(report.closed) == dict.fromkeys(CLOSED, 0)
    assert dict(report.refused) == dict.fromkeys(REFUSED, 0)
    assert dict(report.failed) == dict.fromkeys(FAILED, 0)
    assert len(report.dial.counts) == len(report.dial.bounds) + 1 == STEPS

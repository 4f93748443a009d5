# SPDX-License-Identifier: Apache-2.0
"""Pauses between failures."""

from hypothesis import given
from hypothesis import strategies as st

from kproxy.sources.kubernetes.backoff import Backoff


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 2000))
def test_a_pause_stays_within_its_bounds(chance: float, failures: int) -> None:
    """Never more than the longest, never less than half of what is due, however many failures there were."""
    backoff = Backoff(0.5, 30.0, chance=lambda: chance)
    backoff.failures = failures
    due = min(30.0, 0.5 * 2.0 ** min(failures, 100))
    assert due / 2 <= backoff.pause() <= due


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1e9))
def test_the_server_is_obeyed_within_reason(chance: float, asked: float) -> None:
    """Retry-After is a lower bound, up to ten times the longest pause."""
    pause = Backoff(0.5, 30.0, chance=lambda: chance).pause(asked)
    assert pause >= min(asked, 300.0)
    assert pause <= 330.0


def test_a_success_starts_over() -> None:
    """The next failure waits as the first one did."""
    backoff = Backoff(1.0, 30.0, chance=lambda: 1.0)
    assert [backoff.pause() for _ in range(3)] == [1.0, 2.0, 4.0]
    backoff.reset()
    assert backoff.pause() == 1.0

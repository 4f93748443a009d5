# SPDX-License-Identifier: Apache-2.0
"""Durations are Go's text, to the nanosecond."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.config.durations import Duration, parse_duration


@pytest.mark.parametrize(
    ("text", "nanoseconds", "printed"),
    [
        ("0", 0, "0s"),
        ("0s", 0, "0s"),
        ("1ns", 1, "1ns"),
        ("1.5us", 1_500, "1.5µs"),
        ("1500µs", 1_500_000, "1.5ms"),
        ("500ms", 500_000_000, "500ms"),
        (".5s", 500_000_000, "500ms"),
        ("90s", 90 * 10**9, "1m30s"),
        ("15m", 900 * 10**9, "15m0s"),
        ("24h", 86_400 * 10**9, "24h0m0s"),
        ("1h0.5s", 3600 * 10**9 + 5 * 10**8, "1h0m0.5s"),
        ("-1s", -(10**9), "-1s"),
        ("+1m", 60 * 10**9, "1m0s"),
    ],
)
def test_text(text: str, nanoseconds: int, printed: str) -> None:
    """What Go reads is read, and printed as Go prints it."""
    duration = parse_duration(text)

    assert (duration, str(duration)) == (nanoseconds, printed)


@pytest.mark.parametrize("text", ["", "-", "1", "s", ".s", "1x", "1s ", " 1s", "1s2", "1 s", "1m-1s", "9999999h", "٣s"])
def test_no_duration(text: str) -> None:
    """What Go refuses is refused by a sentence that shows the text."""
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_round_trip(nanoseconds: int) -> None:
    """Printing and reading loses nothing."""
    assert parse_duration(str(Duration(nanoseconds))) == nanoseconds

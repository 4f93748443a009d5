# SPDX-License-Identifier: Apache-2.0
"""Durations as the configuration writes them: Go's text, such as ``1h30m``, ``500ms`` or ``-1s``.

The grammar and the printed form are those of Go's ``time.ParseDuration`` and ``Duration.String`` (package ``time``), so
that a file we write is byte for byte what upstream would write. Whole nanoseconds are kept: a round trip loses nothing.
"""

import re
from typing import Final

_UNITS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # U+00B5
    "μs": 10**3,  # U+03BC
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART: Final = re.compile(r"(?P<whole>[0-9]*)(?:\.(?P<fraction>[0-9]*))?(?P<unit>[a-zµμ]+)", re.ASCII)
_LIMIT: Final = 2**63  # nanoseconds are a signed 64-bit number in Go


class Duration(int):
    """A span of time in whole nanoseconds, possibly negative. ``str()`` is Go's text, and false means zero."""

    __slots__ = ()

    @classmethod
    def of(cls, seconds: float) -> "Duration":
        """Make a duration from seconds."""
        return cls(round(seconds * 10**9))

    @property
    def seconds(self) -> float:
        """The same in seconds."""
        return int(self) / 10**9

    def __str__(self) -> str:
        return format_duration(self)

    def __repr__(self) -> str:
        return f"Duration({str(self)!r})"


def parse_duration(text: str) -> Duration:
    """Read Go's text. Raises ValueError with a sentence that names the text and the mend."""
    rest = text[1:] if text[:1] in {"+", "-"} else text
    if rest == "0":
        return Duration()
    total = 0
    position = 0
    while match := _PART.match(rest, position):
        whole, fraction, unit = match["whole"], match["fraction"] or "", _UNITS.get(match["unit"])
        if unit is None or not (whole or fraction):
            break
        total += int(whole or "0") * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
        position = match.end()
    if not rest or position != len(rest):
        raise ValueError(f"{text!r} is not a duration: write a number with a unit, such as 500ms, 30s, 15m or 1h30m")
    if total >= _LIMIT:
        raise ValueError(f"{text!r} is too long a duration: at most 292 years (2562047h)")
    return Duration(-total if text[:1] == "-" else total)


def _decimal(value: int, unit: int) -> str:
    """Print ``value`` in ``unit`` without trailing zeros."""
    whole, fraction = divmod(value, unit)
    if not fraction:
        return str(whole)
    digits = len(str(unit)) - 1
    return f"{whole}.{fraction:0{digits}d}".rstrip("0")


def format_duration(nanoseconds: int) -> str:
    """Print as Go does: ``0s``, ``1.5ms``, ``1m30s``, ``24h0m0s``."""
    if nanoseconds < 0:
        return f"-{format_duration(-nanoseconds)}"
    if nanoseconds == 0:
        return "0s"
    for unit in ("ns", "µs", "ms"):
        if nanoseconds < _UNITS[unit] * 1000:
            return f"{_decimal(nanoseconds, _UNITS[unit])}{unit}"
    minutes, rest = divmod(nanoseconds, _UNITS["m"])
    hours, minutes = divmod(minutes, 60)
    seconds = f"{_decimal(rest, _UNITS['s'])}s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds

# SPDX-License-Identifier: Apache-2.0
"""What every bench shares: bars, ratios told at the end, a namespace to work in, and the relays beside each other."""

from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from bench.relay.lineup import Lineup, lineup
from kproxy.lab.namespaces import private

_FIGURES: list[str] = []


class Bar(Protocol):
    """Records a figure beside its bar, and fails where it falls short."""

    def __call__(self, name: str, value: float, most: float, words: str = "") -> None:
        """``value`` may be at most ``most``; ``words`` says what was measured."""


@pytest.fixture
def bar() -> Bar:
    """Compare a figure with its bar; the comparison is printed at the end of the run either way."""

    def compare(name: str, value: float, most: float, words: str = "") -> None:
        holds = value <= most
        _FIGURES.append(f"{'holds ' if holds else 'MISSED'}  {name}: {value:.3g} (bar: at most {most:g})  {words}")
        assert holds, _FIGURES[-1]

    return compare


class Bars:
    """Several bars of one measurement: all of them are told, then any that was missed fails the bench."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def most(self, name: str, value: float, limit: float, words: str = "") -> None:
        """``value`` may be at most ``limit``; ``words`` says what was measured."""
        self._tell(name, value, limit, "at most", words, holds=value <= limit)

    def least(self, name: str, value: float, limit: float, words: str = "") -> None:
        """``value`` must be at least ``limit``; ``words`` says what was measured."""
        self._tell(name, value, limit, "at least", words, holds=value >= limit)

    def _tell(self, name: str, value: float, limit: float, side: str, words: str, *, holds: bool) -> None:
        line = f"{'holds ' if holds else 'MISSED'}  {name}: {value:.3g} (bar: {side} {limit:g})  {words}".rstrip()
        _FIGURES.append(line)
        if not holds:
            self.missed.append(line)


@pytest.fixture
def bars() -> Iterator[Bars]:
    """Collect the bars of one bench, and fail it at its end for those it missed."""
    collected = Bars()
    yield collected
    if collected.missed:
        pytest.fail("\n".join(collected.missed), pytrace=False)


@pytest.fixture(scope="module", params=[False, True], ids=["bound", "deployed"], name="lineup")
def every_lineup(request: pytest.FixtureRequest) -> Iterator[Lineup]:
    """Have all relays run beside each other: once bound to their addresses, once deployed behind one interception."""
    with lineup(deployed=request.param) as made:
        yield made


@pytest.fixture
def figure() -> Callable[[str], None]:
    """Record a figure that has no bar."""
    return lambda words: _FIGURES.append(f"        {words}")


@pytest.fixture
def node() -> Iterator[None]:
    """Put the calling thread into an empty network namespace of its own."""
    with private():
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print every figure once more, together."""
    if _FIGURES:
        terminalreporter.section("figures and bars (ratios are of one run; absolute times belong to this machine)")
        for line in _FIGURES:
            terminalreporter.write_line(line)

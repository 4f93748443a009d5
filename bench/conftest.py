# SPDX-License-Identifier: Apache-2.0
"""What every bench shares: bars, ratios told at the end, and a namespace to work in."""

from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

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

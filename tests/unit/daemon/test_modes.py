# SPDX-License-Identifier: Apache-2.0
"""Which mode serves where nobody chose, and what is said about it."""

from collections.abc import Callable, Iterable

import pytest

from kproxy.config.effective import Effective
from kproxy.config.loading import load
from kproxy.daemon import modes
from kproxy.daemon.modes import choose_mode
from kproxy.table.errors import Unsupported
from kproxy.table.terms import Family, Mode

Kernel = Callable[..., None]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Return what sets the modes that work on this kernel; the others say which module they miss."""

    def works(*working: Mode) -> None:
        def probe(settings: Effective, families: Iterable[Family]) -> None:
            assert set(families) == set(Family)
            if settings.mode not in working:
                raise Unsupported(f"no module for {settings.mode}")

        monkeypatch.setattr(modes, "probe", probe)

    return works


def test_nftables_serves_where_it_works(kernel: Kernel) -> None:
    """It is the default, and that is said once."""
    kernel(Mode.NFTABLES, Mode.IPTABLES)
    start, words = choose_mode(load([]), tuple(Family))

    assert start.config.mode == Mode.NFTABLES
    assert "nftables is used" in words


def test_iptables_serves_where_nftables_does_not_work(kernel: Kernel) -> None:
    """The sentence says why, and how to make it a choice."""
    kernel(Mode.IPTABLES)
    start, words = choose_mode(load([]), tuple(Family))

    assert start.config.mode == Mode.IPTABLES
    assert start.nftables_works is False
    assert "no module for nftables" in words
    assert "iptables is used" in words


def test_where_neither_works_both_reasons_are_told(kernel: Kernel) -> None:
    """Nothing is changed in the kernel; whoever reads it knows what to mend."""
    kernel()
    with pytest.raises(Unsupported, match=r"no module for nftables.*no module for iptables.*mend one of them"):
        choose_mode(load([]), tuple(Family))


def test_a_mode_that_was_chosen_is_not_replaced(kernel: Kernel) -> None:
    """Who asked for nftables gets an error, not another mode."""
    kernel(Mode.IPTABLES)
    with pytest.raises(Unsupported, match="no module for nftables"):
        choose_mode(load(["--proxy-mode=nftables"]), tuple(Family))


def test_a_mode_that_works_and_was_chosen_needs_no_words(kernel: Kernel) -> None:
    """As asked."""
    kernel(Mode.IPTABLES)
    start, words = choose_mode(load(["--proxy-mode=iptables"]), tuple(Family))

    assert (start.config.mode, words) == (Mode.IPTABLES, "")

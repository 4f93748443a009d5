# SPDX-License-Identifier: Apache-2.0
"""kube-proxy's rules go once ours are verified; its virtual servers once no connection needs them, or patience has ended."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence

import pytest

from kproxy.daemon import takeover
from kproxy.daemon.modes import Part
from kproxy.daemon.switch import Switch
from kproxy.dataplanes import upstream
from kproxy.dataplanes.contract import Dataplane
from kproxy.dataplanes.upstream import Removal
from kproxy.observe.events import Action, Reason, Recorder, Reference, Weight
from kproxy.table.errors import KernelError


class Ours(Switch):
    """A switch whose own rules are verified when it is asked."""

    def __init__(self, done: list[str]) -> None:
        self.done = done

    async def in_force(self) -> None:
        """Say so."""
        self.done.append("in force")

    async def others(self) -> dict[Part, Sequence[Dataplane]]:
        """Return none."""
        return {}

    async def verified(self) -> None:
        """Say so."""
        self.done.append("verified")

    async def see_off(self, others: Iterable[Part]) -> None:
        """Have nothing to do."""


class Told(Recorder):
    """Keeps the weights and words of Events."""

    def __init__(self) -> None:
        self.events: list[tuple[Weight, str]] = []

    def tell(self, weight: Weight, reason: Reason, action: Action, note: str, about: Reference | None = None) -> None:
        """Keep one."""
        del reason, action, about
        self.events.append((weight, note))


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is done to a node that has kube-proxy's servers with connections, in order."""
    done: list[str] = []
    counts: Iterator[int | KernelError] = iter([2, KernelError("busy"), 1, 0])

    def remove(*, spare: bool = False) -> Removal:
        done.append("spare" if spare else "remove")
        return Removal(("rules",), ("servers",), (), 2) if spare else Removal(("servers",))

    def connections() -> int:
        count = next(counts)
        done.append(str(count))
        if isinstance(count, KernelError):
            raise count
        return count

    monkeypatch.setattr(takeover, "_PAUSE", 0.0)
    monkeypatch.setattr(upstream, "found", lambda: ["IPVS"])
    monkeypatch.setattr(upstream, "remove", remove)
    monkeypatch.setattr(upstream, "connections", connections)
    return done


def test_established_connections_are_waited_for(done: list[str]) -> None:
    """A look that fails is no reason to cut them."""
    told = Told()
    asyncio.run(takeover.take_over(Ours(done), told))
    assert done == ["in force", "verified", "spare", "2", "busy", "1", "0", "remove"]
    assert [weight for weight, _ in told.events] == [Weight.NORMAL, Weight.NORMAL]
    assert told.events[1][1].endswith("servers")


def test_but_not_for_ever(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience ends."""
    monkeypatch.setattr(takeover, "PATIENCE", 0.0)
    asyncio.run(takeover.take_over(Ours(done), Told()))
    assert done == ["in force", "verified", "spare", "remove"]

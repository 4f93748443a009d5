# SPDX-License-Identifier: Apache-2.0
"""Our relay, as a process of its own beside its peers."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.relay.bed import Bed
from bench.relay.programs import running
from bench.relay.serve import Offer, Plan
from bench.relay.services import Place

OUR_PORT: Final = 20_400


class Ours:
    """The handle on it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid

    def order(self, words: str) -> None:
        """Have something done: see ``serve``."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n".encode())


@contextlib.contextmanager
def ours(bed: Bed, name: str, address: str, places: Sequence[Place], folder: Path) -> Iterator[Ours]:
    """Run it: a relay for every port it listens on."""
    plans = [
        Plan(port, any(place.transparent for place in here), tuple(_offer(place, address) for place in here))
        for port in sorted({place.port for place in places})
        if (here := [place for place in places if place.port == port])
    ]
    command = [sys.executable, "-m", "bench.relay.serve", msgspec.json.encode(plans).decode()]
    with running(bed.proxy, command, folder / f"{name}.log", listens=places) as process:
        yield Ours(process)


def _offer(place: Place, address: str) -> Offer:
    service = place.service
    return Offer(service.name, service.protocol, address, service.port, tuple(service.endpoints()))

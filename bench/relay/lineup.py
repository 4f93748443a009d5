# SPDX-License-Identifier: Apache-2.0
"""Everybody at the start: the bed, its backends, and every relay running beside every other.

A line-up stands *bound*, each relay on an address of its own where nothing tracks connections, or *deployed*, all behind
the same interception with connection tracking, and kernel DNAT beside them.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.relay.backends import backends
from bench.relay.bed import Bed
from bench.relay.interception import intercept
from bench.relay.ours import OUR_PORT, Ours, ours
from bench.relay.peers import haproxy, nginx
from bench.relay.rounds import Load, Target
from bench.relay.services import DIRECT, SERVICES, Place, bound, intercepted
from kproxy.table.terms import Protocol

_HAPROXY: Final = "10.99.9.1"
_SPLICING: Final = "10.99.9.2"
_NGINX: Final = "10.99.9.3"
_OURS: Final = "10.99.9.4"
_KERNEL: Final = "10.99.9.5"


@dataclass
class Lineup:
    """Who runs where: addresses by name, and the process of each relay."""

    bed: Bed
    deployed: bool
    folder: Path
    addresses: dict[str, str] = field(default_factory=lambda: {"direct": DIRECT})
    processes: dict[str, int] = field(default_factory=dict)
    ours: Ours = field(init=False)

    @property
    def name(self) -> str:
        """How this line-up is called in figures."""
        return "deployed" if self.deployed else "bound"

    def targets(self, sample: Callable[[Bed, str], Load], *without: str) -> dict[str, Target]:
        """Return one load as targets: the direct path, kernel DNAT where it is set up, and all relays but those named."""
        return {name: self._target(sample, name) for name in self.addresses if name not in without}

    def _target(self, sample: Callable[[Bed, str], Load], name: str) -> Target:
        address = self.addresses[name]
        return Target(lambda: sample(self.bed, address), self.processes.get(name))


@contextlib.contextmanager
def lineup(*, deployed: bool) -> Iterator[Lineup]:
    """Start everybody and end them all when the block ends."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relays-")))
        bed = Bed()
        stack.callback(bed.close)
        made = Lineup(bed, deployed, folder)
        stack.enter_context(backends(bed, folder))
        places = (
            _intercepted() if deployed else {address: bound(address) for address in (_HAPROXY, _SPLICING, _NGINX, _OURS)}
        )
        if deployed:
            intercept(bed, places, _KERNEL)
            made.addresses["kernel DNAT"] = _KERNEL
        else:
            bed.own(places)
        made.ours = stack.enter_context(ours(bed, "ours", _OURS, places[_OURS], folder))
        made.processes = {
            "HAProxy": stack.enter_context(haproxy(bed, "haproxy", places[_HAPROXY], folder)),
            "HAProxy splice": stack.enter_context(haproxy(bed, "splicing", places[_SPLICING], folder, splice=True)),
            "nginx": stack.enter_context(nginx(bed, "nginx", places[_NGINX], folder)),
            "ours": made.ours.pid,
        }
        addresses = zip(made.processes, (_HAPROXY, _SPLICING, _NGINX, _OURS), strict=True)
        made.addresses.update(addresses)
        yield made


def _intercepted() -> dict[str, list[Place]]:
    """Return everybody's places behind the interception; ours has one port for all, the peers one a service."""
    datagrams = [place for place in intercepted(20_300) if place.service.protocol is Protocol.UDP]
    return {
        _HAPROXY: _only_tcp(intercepted(20_100)),
        _SPLICING: _only_tcp(intercepted(20_200)),
        _NGINX: _only_tcp(intercepted(20_300)) + [place._replace(transparent=False) for place in datagrams],
        _OURS: [Place(service, "0.0.0.0", OUR_PORT, transparent=True) for service in SERVICES],
    }


def _only_tcp(places: Sequence[Place]) -> list[Place]:
    return [place for place in places if place.service.protocol is Protocol.TCP]

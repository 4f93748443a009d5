# SPDX-License-Identifier: Apache-2.0
"""Counters: connections, packets and bytes from IPVS's own statistics, refused packets from the table.

A frontend may have several virtual servers, an endpoint stand in several of them; the counts are added. They are the
kernel's, so they live as long as the virtual server does, over restarts too. What counts from zero again (a server that went
and came back, whoever took it away) is added to what it had counted before.
"""

from collections.abc import Hashable, Mapping
from typing import Final

from kproxy import _core
from kproxy.dataplanes.contract import Counters, Traffic
from kproxy.dataplanes.ipvs import layout
from kproxy.dataplanes.ipvs.committed import Committed
from kproxy.dataplanes.ipvs.layout import Reason
from kproxy.kernel.ipvs_values import Held, HeldReal, ServerKey, Statistics
from kproxy.kernel.nfnl import NUMBERS, refused
from kproxy.kernel.nft_elements import number
from kproxy.table.addresses import join_port
from kproxy.table.route import RouteKey
from kproxy.table.terms import EndpointSet, Family

Count = tuple[int, int, int]  # connections, packets, bytes
_NOTHING: Final[Count] = (0, 0, 0)


class Counting:
    """Reads the counters of one family."""

    def __init__(self, family: Family, socket: "_core.NftSocket") -> None:
        self._family = family
        self._socket = socket
        self._last: dict[Hashable, Count] = {}
        self._base: dict[Hashable, Count] = {}

    def read(self, committed: Committed, held: Mapping[ServerKey, Held]) -> Counters:
        """Add up what the kernel holds. Raises KernelError."""
        frontends: dict[tuple[RouteKey, str], Traffic] = {}
        endpoints: dict[tuple[RouteKey, str], Traffic] = {}
        for key, route in (committed.routes or {}).items():
            sums = {endpoint.key: _NOTHING for which in EndpointSet for endpoint in route.endpoints(which)}
            for frontend in route.frontends:
                total = _NOTHING
                for server in committed.serves.get(key, {}).get(str(frontend), ()):
                    found = held.get(server)
                    total = _add(total, self._total(server, found.statistics if found else None))
                    reals = {_name(real): real for real in found.reals} if found else {}
                    for name, known in sums.items():
                        real = reals.get(name)
                        sums[name] = _add(known, self._total((server, name), real.statistics if real else None))
                frontends[key, str(frontend)] = Traffic(*total)
            endpoints.update(((key, name), Traffic(*total)) for name, total in sums.items())
        return Counters(frontends, endpoints, self._refused())

    def keep_server(self, server: ServerKey, found: Held | None) -> None:
        """Note the last count of a virtual server that goes."""
        self._total(server, found.statistics if found else None)

    def keep_real(self, server: ServerKey, real: HeldReal) -> None:
        """Note the last count of a real server that goes."""
        self._total((server, _name(real)), real.statistics)

    def _total(self, place: Hashable, statistics: Statistics | None) -> Count:
        """Return all that was ever counted in a place."""
        last = self._last.get(place, _NOTHING)
        now = _count(statistics) if statistics is not None else last
        if now < last:
            self._base[place] = _add(self._base.get(place, _NOTHING), last)
        if now != last:
            self._last[place] = now
        return _add(self._base.get(place, _NOTHING), now)

    def _refused(self) -> dict[str, int]:
        try:
            dumped = self._socket.dump(NUMBERS[self._family], layout.TABLE, layout.REFUSALS)
        except _core.NetlinkError as error:
            raise refused(error) from error
        counts = {element[0]: element[3] or 0 for element in dumped}
        return {str(reason): counts.get(number(reason.code), 0) for reason in Reason}


def _name(real: HeldReal) -> str:
    return join_port(real.server.address, real.server.port)


def _count(statistics: Statistics) -> Count:
    return (
        statistics.connections,
        statistics.packets_in + statistics.packets_out,
        statistics.bytes_in + statistics.bytes_out,
    )


def _add(one: Count, other: Count) -> Count:
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2])

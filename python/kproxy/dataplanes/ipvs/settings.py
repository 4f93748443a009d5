# SPDX-License-Identifier: Apache-2.0
"""What of the host mode ipvs needs to be set: policy routing, sysctls, time-outs."""

import platform
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from kproxy.dataplanes.ipvs.layout import Options
from kproxy.kernel.ipvs import Timeouts
from kproxy.kernel.policy_routes import PolicyRoutes
from kproxy.kernel.sysctl import Sysctl, Sysctls
from kproxy.table.terms import Family

if TYPE_CHECKING:
    from kproxy.dataplanes.ipvs.commit import ServerDoor

REUSE_IS_RIGHT: Final = (5, 9)  # before, a client's port that was used again lost a second under conn_reuse_mode 1


def sysctls(options: Options, release: str) -> Iterator[Sysctl]:
    """Yield what IPVS has to be told for all of the network namespace."""
    match = re.match(r"(\d+)\.(\d+)", release)
    is_old = match is not None and (int(match[1]), int(match[2])) < REUSE_IS_RIGHT
    yield Sysctl("net.ipv4.vs.conntrack", 1)  # else no source is ever rewritten
    yield Sysctl("net.ipv4.vs.conn_reuse_mode", 0 if is_old else 1)
    yield Sysctl("net.ipv4.vs.expire_nodest_conn", 1)  # flows move when their endpoint has been taken away
    yield Sysctl("net.ipv4.vs.expire_quiescent_template", 1)  # affinity does not hold a client to a leaving endpoint
    yield Sysctl("net.ipv4.ip_forward", 1)
    if options.strict_arp:
        yield Sysctl("net.ipv4.conf.all.arp_ignore", 1, "strictARP")
        yield Sysctl("net.ipv4.conf.all.arp_announce", 2, "strictARP")


class HostSettings:
    """Sets and checks them for one family."""

    def __init__(self, family: Family, options: Options, known: Sysctls) -> None:
        self._wishes = tuple(sysctls(options, platform.release()))
        self._delivery = PolicyRoutes(options.delivery(family))
        self._timeouts = Timeouts(options.tcp_timeout, options.tcp_fin_timeout, options.udp_timeout)
        self._sysctls = known

    def ensure(self, door: "ServerDoor") -> None:
        """Set what is not as it must be. Raises KernelError with the mend."""
        outcome = self._sysctls.ensure(self._wishes)
        if outcome.errors:
            raise outcome.errors[0]
        self._delivery.ensure()
        if self._timeouts != Timeouts():
            door.set_timeouts(self._timeouts)

    def are_right(self, door: "ServerDoor") -> bool:
        """Tell whether everything is as it must be, by reading alone. Raises KernelError."""
        if not all(self._sysctls.satisfied(wish) for wish in self._wishes) or not self._delivery.works():
            return False
        if self._timeouts == Timeouts():
            return True
        wanted, held = msgspec.structs.astuple(self._timeouts), msgspec.structs.astuple(door.timeouts())
        return all(want in (0, have) for want, have in zip(wanted, held, strict=True))

    def remove(self) -> None:
        """Take policy routing away; sysctls and time-outs stay as they are. Raises KernelError."""
        self._delivery.remove()

    def close(self) -> None:
        """Give back sockets."""
        self._delivery.close()

# SPDX-License-Identifier: Apache-2.0
"""How virtual servers let go of new connections while another mode serves already: they lead them to this node itself.

IPVS takes every packet for an address and port that it has a virtual server for, whatever the rules before it have decided;
deleting the server would break the connections it holds. So each gets one more real server, the local kind: a packet for it
goes on as if there were no IPVS, to whoever serves it now or to nobody. The others take no new connections.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from kproxy.kernel.ipvs_values import Forwarding, Held, HeldReal, Operation, RealServer, ServerKey, VirtualServer
from kproxy.table.terms import Family

_HERE: Final = {Family.IPV4: "127.0.0.1", Family.IPV6: "::1"}


def parting(held: Mapping[ServerKey, Held]) -> Iterator[Operation]:
    """Yield what has still to be changed. Servers by mark stay as they are: nothing new is marked any more."""
    for key, each in held.items():
        if key.protocol is None:
            continue
        here = RealServer(_HERE[key.family], key.port, forwarding=Forwarding.LOCAL)
        plain = VirtualServer(key, one_packet=each.server.one_packet)  # some schedulers choose what has weight 0
        if each.server != plain:
            yield Operation.set_server(plain)
        if not any(map(is_here, each.reals)):
            yield Operation.add_real(key, here)
        elif all(real.server != here for real in each.reals):  # left from an earlier parting, with weight 0
            yield Operation.set_real(key, here)
        for real in each.reals:
            if real.server.weight and not is_here(real):
                yield Operation.set_real(key, msgspec.structs.replace(real.server, weight=0))


def is_here(real: HeldReal) -> bool:
    """Tell whether a real server is the one that leads on to this node."""
    return real.server.forwarding is Forwarding.LOCAL

# SPDX-License-Identifier: Apache-2.0
"""One address that a client may dial."""

import msgspec

from kproxy.table.addresses import join_port
from kproxy.table.terms import FrontendKind, Protocol, Role


class Sources(msgspec.Struct, frozen=True, gc=False):
    """Who may dial a LoadBalancer IP.

    ``ranges`` are disjoint canonical prefixes of the frontend's family, sorted; none of them means that nobody may.
    ``itself``: a range holds this node, so a packet whose source is the frontend's own address is let in as well (the
    kernel picks that source when the address is bound on this node).
    """

    ranges: tuple[str, ...]
    itself: bool = False


class Frontend(msgspec.Struct, frozen=True, gc=False):
    """An address, protocol and port that clients dial. A NodePort has no address (``""``)."""

    kind: FrontendKind
    protocol: Protocol
    address: str
    port: int
    sources: Sources | None = None  # None: everybody. Only a LoadBalancer IP ever has some

    @property
    def role(self) -> Role:
        """Tell which traffic policy governs it."""
        return Role.INTERNAL if self.kind is FrontendKind.CLUSTER_IP else Role.EXTERNAL

    @property
    def claim(self) -> tuple[str, Protocol, int]:
        """What only one Service can have: address (or ``""``), protocol, port."""
        return (self.address, self.protocol, self.port)

    def __str__(self) -> str:
        """Return ``10.96.0.1:80/TCP``, or ``*:30080/TCP`` for a NodePort."""
        return f"{join_port(self.address, self.port) if self.address else f'*:{self.port}'}/{self.protocol}"

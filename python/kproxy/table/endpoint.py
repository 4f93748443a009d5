# SPDX-License-Identifier: Apache-2.0
"""One address and port that serves a Service port."""

import msgspec


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """An endpoint, with the facts that decide whether and by whom it is used.

    ``key`` is ``address:port`` (IPv6 in brackets): its identity within a route, cheap to hash. ``node`` is the node's name
    or empty when unknown; ``local`` says that it is this node. ``weight`` is 0..100, 0 takes no new connections.
    Hints are kept for ``explain``; the sets of a route have them already applied.
    """

    key: str
    address: str
    port: int
    node: str = ""
    local: bool = False
    pod: str = ""
    zone: str = ""
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    weight: int = 1
    zone_hints: tuple[str, ...] = ()
    node_hints: tuple[str, ...] = ()

# SPDX-License-Identifier: Apache-2.0
"""Opens the dataplanes of several families over one relay."""

from collections.abc import Iterable

from kproxy.dataplanes.userspace.dataplane import UserspaceDataplane
from kproxy.dataplanes.userspace.layout import Options
from kproxy.dataplanes.userspace.relay import RelayHandle
from kproxy.table.terms import Family


def open_userspace(
    families: Iterable[Family], options: Options | None = None, *, inherit: int | None = None
) -> list[UserspaceDataplane]:
    """Open a dataplane for each family. ``inherit``: a Unix socket on which another process hands over its sockets."""
    relay = RelayHandle(options or Options(), inherit)
    return [UserspaceDataplane(family, relay) for family in families]

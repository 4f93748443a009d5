# SPDX-License-Identifier: Apache-2.0
"""From events to changes: the one object the loop talks to."""

from collections.abc import Iterable, Mapping

from kproxy.objects.events import Event, Kind
from kproxy.routing.settings import Settings
from kproxy.table.routing_table import Changes, RoutingTable


class Router:
    """Owns what the cluster says and the table that follows from it. Pure: no I/O, no clock of its own.

    ``started`` is the wall-clock time since which endpoint changes are counted as ours to program.
    """

    def __init__(self, settings: Settings, *, started: float = 0.0) -> None:
        self.settings = settings
        raise NotImplementedError

    @property
    def table(self) -> RoutingTable:
        """The table that all events so far lead to; empty until the cluster is known."""
        raise NotImplementedError

    @property
    def complaints(self) -> Mapping[tuple[Kind, str], tuple[str, ...]]:
        """What is wrong with objects that are in use nevertheless: sentences by kind and key, as of now."""
        raise NotImplementedError

    def apply(self, events: Iterable[Event]) -> Changes | None:
        """Take in events. None until Services and EndpointSlices are Synced.

        The first Changes have no table before. Later ones say what differs from ``table`` as it was; they may be empty
        (false), and even then ``after`` and ``services`` may hold news for health ports and conntrack.
        """
        raise NotImplementedError

    def reconfigure(self, settings: Settings) -> Changes | None:
        """Take other settings. None until there is a table."""
        raise NotImplementedError

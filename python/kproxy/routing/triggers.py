# SPDX-License-Identifier: Apache-2.0
"""Since when endpoint changes have been waiting for us: the times their controller wrote on the slices.

kube-proxy's rules for its network programming latency: a time counts if its slice was a change, if it can be read and lies
after our own start; a deleted slice takes all times of its Service with it.
"""

import datetime as dt

import msgspec

from kproxy.objects.endpointslice import TRIGGER_ANNOTATION, EndpointSlice


def trigger_time(slice_: EndpointSlice) -> float | None:
    """Read a slice's time in seconds since the epoch. None: it has none, or none that can be read."""
    text = slice_.metadata.annotation(TRIGGER_ANNOTATION)
    if not text:
        return None
    try:
        moment = msgspec.convert(text, dt.datetime)
    except msgspec.ValidationError:
        return None
    return moment.timestamp() if moment.tzinfo else None


class Triggers:
    """The times that the next change of the table will take with it."""

    def __init__(self, started: float) -> None:
        self.started = started
        self._waiting: dict[str, list[float]] = {}

    def record(self, service: str, slice_: EndpointSlice) -> None:
        """Note the time of a slice that was a change."""
        moment = trigger_time(slice_)
        if moment is not None and moment > self.started:
            self._waiting.setdefault(service, []).append(moment)

    def forget(self, service: str) -> None:
        """Drop a Service's times."""
        self._waiting.pop(service, None)

    def take(self) -> dict[str, tuple[float, ...]]:
        """Return the times by Service, and start anew."""
        waiting, self._waiting = self._waiting, {}
        return {service: tuple(times) for service, times in waiting.items()}

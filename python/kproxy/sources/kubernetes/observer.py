# SPDX-License-Identifier: Apache-2.0
"""What may be counted of the talk with an API server. Whoever counts implements this; nobody has to."""

from typing import Protocol

from kproxy.objects.events import Kind


class Observer(Protocol):
    """Told about requests and watches as they end. Calls must be cheap: they are made on the event loop."""

    def requested(self, method: str, code: str, seconds: float) -> None:
        """Note an answer's headers: ``code`` is the HTTP status, or ``<error>`` where no answer came."""

    def listed(self, kind: Kind, seconds: float, *, streamed: bool) -> None:
        """Note a complete list, as a stream or in pages."""

    def watched(self, kind: Kind, seconds: float) -> None:
        """Note the end of a watch, for whatever reason."""

    def restarted(self, kind: Kind, reason: str) -> None:
        """Note that a list or watch failed: ``expired``, ``unauthorized``, ``stalled``, ``refused`` or ``unreachable``."""

    def received(self, kind: Kind, size: int) -> None:
        """Note bytes of a list or watch."""


class Nobody:
    """Counts nothing."""

    def requested(self, method: str, code: str, seconds: float) -> None:
        """Ignore it."""

    def listed(self, kind: Kind, seconds: float, *, streamed: bool) -> None:
        """Ignore it."""

    def watched(self, kind: Kind, seconds: float) -> None:
        """Ignore it."""

    def restarted(self, kind: Kind, reason: str) -> None:
        """Ignore it."""

    def received(self, kind: Kind, size: int) -> None:
        """Ignore it."""

# SPDX-License-Identifier: Apache-2.0
"""What a reflector needs of the way to an API server. ``transport`` is the real one; tests bring their own."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Lines(Protocol):
    """The lines of an answer that goes on for ever."""

    async def batch(self, patience: float) -> list[bytes]:
        """Return the next whole lines; none: the server has ended the answer. Waits for ``patience`` seconds at most.

        Raises Stalled when nothing came in time, SourceError when the connection is torn.
        """


class Connection(Protocol):
    """Requests to one API server. Every failure is a SourceError; its ``status`` tells what the server answered."""

    async def read(self, path: str, query: Mapping[str, str]) -> bytes:
        """Return the whole body of a GET."""

    def stream(self, path: str, query: Mapping[str, str]) -> AbstractAsyncContextManager[Lines]:
        """Open a GET whose answer comes line by line."""

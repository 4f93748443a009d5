# SPDX-License-Identifier: Apache-2.0
"""Events written down as JSON lines, and told again: a cluster's day in a file.

A line is one event as it was told, ``{"type": "Upsert", ...}``; ``received`` keeps the recording's own clock, and is set to
now when told again.
"""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from kproxy.objects.events import Delete, Emit, Event, Host, Upsert
from kproxy.table.clock import Clock, SystemClock
from kproxy.table.errors import ObjectError

_DECODER: Final[msgspec.json.Decoder[Event]] = msgspec.json.Decoder(Event)
_ENCODER: Final = msgspec.json.Encoder()


class Recorder:
    """An ``Emit`` that writes every event down before it passes it on. A context manager."""

    def __init__(self, path: Path, emit: Emit) -> None:
        self._file = path.open("ab")
        self._emit = emit

    def __call__(self, event: Event) -> None:
        """Write one event and pass it on."""
        self._file.write(_ENCODER.encode(event) + b"\n")
        self._emit(event)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._file.close()


class ReplaySource:
    """Tells a recording. ``speed``: 1 as it was, 10 ten times as fast, 0 without any pause."""

    def __init__(self, path: Path, *, speed: float = 0.0, clock: Clock | None = None) -> None:
        self._path = path
        self._speed = speed
        self._clock = clock or SystemClock()

    async def run(self, emit: Emit) -> None:
        """Tell everything, then wait to be cancelled. Raises ObjectError for a line that is no event."""
        before = 0.0
        with self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                event = self._event(number, line)
                received = getattr(event, "received", 0.0)
                if self._speed and before and received > before:
                    await asyncio.sleep((received - before) / self._speed)
                before = received or before
                if isinstance(event, Upsert | Delete | Host):
                    event = msgspec.structs.replace(event, received=self._clock.monotonic())
                emit(event)
        await asyncio.Event().wait()

    def _event(self, number: int, line: bytes) -> Event:
        try:
            return _DECODER.decode(line)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise ObjectError(f"{self._path} line {number} is no event ({error}): cut the recording off there") from error

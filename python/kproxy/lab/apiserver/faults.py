# SPDX-License-Identifier: Apache-2.0
"""Misbehaviour on request, so that a client's patience can be tested.

Everything is off until asked for: in-process by the attributes and methods of ``ApiServer.faults``, from outside by
``POST /lab/faults`` with the fields of ``Settings`` as JSON.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from kproxy.lab.apiserver.status import ApiError, fault


class Failure(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The next ``times`` requests fail with ``status``: those of the verbs and the plural named, or of any if none is."""

    status: int
    times: int = 1
    retry_after: int | None = None
    verbs: Sequence[str] = ()
    plural: str = ""


class Settings(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What may be asked of ``/lab/faults``; absent fields stay as they are."""

    delay: float | None = None
    bookmarks: bool | None = None
    streaming_lists: bool | None = None
    stalled: bool | None = None
    tear: int | None = None
    half_line: int | None = None
    garble: int | None = None
    tear_list: int | None = None
    failures: Sequence[Failure] | None = None


class Faults:
    """The misbehaviour in force.

    ``delay``: seconds before each answer. ``bookmarks``, ``streaming_lists``: off, the server is one that lacks them.
    ``tear``: so many events to come are cut in the middle and the connection with them. ``half_line``: likewise, but the
    stream ends as if all were well. ``garble``: so many lists to come are not JSON. ``tear_list``: so many lists to come
    break off in the middle, and the connection with them.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        self.bookmarks = True
        self.streaming_lists = True
        self.tear = 0
        self.half_line = 0
        self.garble = 0
        self.tear_list = 0
        self.failures: list[Failure] = []
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    def stalled(self) -> bool:
        """Tell whether watches send no byte at all, yet stay open."""
        return not self._flowing.is_set()

    @stalled.setter
    def stalled(self, value: bool) -> None:
        if value:
            self._flowing.clear()
        else:
            self._flowing.set()

    def fail(
        self, status: int, *, times: int = 1, retry_after: int | None = None, verbs: Sequence[str] = (), plural: str = ""
    ) -> None:
        """Let the next requests fail: ``status`` 401, 410, 429, 500, 503 or any other; ``retry_after`` in seconds."""
        self.failures.append(Failure(status, times, retry_after, tuple(verbs), plural))

    def apply(self, settings: Settings) -> None:
        """Take over what was asked for from outside."""
        for name in ("delay", "bookmarks", "streaming_lists", "stalled", "tear", "half_line", "garble", "tear_list"):
            value = getattr(settings, name)
            if value is not None:
                setattr(self, name, value)
        if settings.failures is not None:
            self.failures = list(settings.failures)

    def settings(self) -> Settings:
        """Return what is in force."""
        return Settings(
            delay=self.delay,
            bookmarks=self.bookmarks,
            streaming_lists=self.streaming_lists,
            stalled=self.stalled,
            tear=self.tear,
            half_line=self.half_line,
            garble=self.garble,
            tear_list=self.tear_list,
            failures=tuple(self.failures),
        )

    async def before(self, verb: str, plural: str) -> None:
        """Delay or refuse a request. Raises ApiError."""
        if self.delay:
            await asyncio.sleep(self.delay)
        for failure in self.failures:
            if (not failure.verbs or verb in failure.verbs) and failure.plural in ("", plural):
                failure.times -= 1
                if failure.times <= 0:
                    self.failures.remove(failure)
                raise self._error(failure)

    async def flow(self) -> None:
        """Wait while watches are stalled."""
        await self._flowing.wait()

    @staticmethod
    def _error(failure: Failure) -> ApiError:
        return fault(failure.status, failure.retry_after)

    def take(self, name: str) -> bool:
        """Use up one of a counted fault; False if none is left."""
        left: int = getattr(self, name)
        if left <= 0:
            return False
        setattr(self, name, left - 1)
        return True

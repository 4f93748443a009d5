# SPDX-License-Identifier: Apache-2.0
"""One process relieves another on the same node: both stand side by side for a moment, and no connection notices.

They speak over an abstract socket, of which there is one in a network namespace, a line at a time. On a connection of its
own ``sockets PART`` asks for the sockets of a part's relay, which come back with the next message. ``relieve PARTS`` names
the parts that the next process serves. Then it says ``begin``: it is about to write rules, so the one before rests; and
``done``: its tables are in force, so the one before lets go of its ports, finishes its connections, and ends. A connection
that closes before ``done`` leaves all as it was. One that closes behind it says that the one before has ended.
"""

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Iterable
from typing import Final

from kproxy.daemon.modes import Part
from kproxy.daemon.switch import Switch
from kproxy.daemon.tasks import Crew, in_thread
from kproxy.table.errors import KernelError

log: Final = logging.getLogger(__name__)
NAME: Final = "\0kproxy-succession"
CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: process, user, group
LINE: Final = 256  # bytes at most
TIMEVAL: Final = struct.Struct("ll")
PATIENCE: Final = 5  # seconds that the process before us has for a word
RETRY: Final = 1.0


class Succession:
    """Hears of the process that relieves this one."""

    def __init__(self, switch: Switch, name: str = NAME) -> None:
        self._name = name
        self._relieved: asyncio.Future[frozenset[Part]] | None = None
        self._switch = switch
        self._successor: socket.socket | None = None

    async def until_relieved(self) -> frozenset[Part]:
        """Wait until another process serves in our place; return the parts it serves."""
        self._relieved = asyncio.get_running_loop().create_future()
        serving = asyncio.ensure_future(self._listen(Crew()))
        try:
            return await self._relieved
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    async def _listen(self, crew: Crew) -> None:
        loop = asyncio.get_running_loop()
        running = asyncio.ensure_future(crew.run())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as listener:
                while not _bound(listener, self._name):  # noqa: ASYNC110 - the process before us still has the name
                    await asyncio.sleep(RETRY)
                listener.listen()
                while True:
                    channel, _ = await loop.sock_accept(listener)
                    crew.start(self._serve(channel))
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _serve(self, channel: socket.socket) -> None:
        try:
            if _is_trusted(channel):
                word, _, rest = (await _line(channel)).partition(" ")
                if word == "sockets":
                    await self._hand_over(_named(rest), channel)
                elif word == "relieve":
                    await self._be_relieved(_named(rest), channel)
        except (OSError, ValueError, KernelError) as error:
            log.warning("a process that would relieve this one cannot be served: %s", error)
        finally:
            if channel is not self._successor:
                channel.close()

    async def _hand_over(self, parts: frozenset[Part], channel: socket.socket) -> None:
        for relay in filter(None, map(self._switch.relay_of, parts)):
            await in_thread(relay.hand_over, channel.fileno())
            await _line(channel)  # until the other side has closed it

    async def _be_relieved(self, parts: frozenset[Part], channel: socket.socket) -> None:
        log.info("another kproxy has started on this node and will relieve this one")
        resting = False
        relayed = [part for part in self._switch.parts if self._switch.relay_of(part)]
        try:
            await asyncio.get_running_loop().sock_sendall(channel, _said("relays", relayed))
            while word := await _line(channel):
                if word == "begin":
                    resting = True
                    await self._switch.rest()
                elif word == "done":
                    self._successor, resting = channel, False
                    assert self._relieved is not None  # noqa: S101 - it was made before anybody could call
                    self._relieved.set_result(parts)
                    return
        finally:
            if resting:
                log.warning("the kproxy that was to relieve this one has gone; this one goes on")
                self._switch.resume()

    def close(self) -> None:
        """Let the process that has relieved this one know that it has ended."""
        if self._successor is not None:
            self._successor.close()


def _said(word: str, parts: Iterable[Part]) -> bytes:
    return f"{' '.join([word, *(part.name for part in parts)])}\n".encode()


def _named(words: str) -> frozenset[Part]:
    """Read parts; those of another version that we do not know are nothing to us."""
    return frozenset(Part[word] for word in words.split() if word in Part.__members__)


def _bound(listener: socket.socket, name: str) -> bool:
    with contextlib.suppress(OSError):
        listener.bind(name)
        return True
    return False


def _is_trusted(channel: socket.socket) -> bool:
    _, user, _ = CREDENTIALS.unpack(channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    return user in (0, os.geteuid())


async def _line(channel: socket.socket) -> str:
    """Read one line; empty: the other side has closed."""
    loop, text = asyncio.get_running_loop(), b""
    while not text.endswith(b"\n") and len(text) < LINE:
        more = await loop.sock_recv(channel, 1)
        if not more:
            return ""
        text += more
    return text.decode().strip()


class Predecessor:
    """The process that served this node before this one, and still does."""

    def __init__(self, name: str, channel: socket.socket, relayed: frozenset[Part]) -> None:
        self._name = name
        self._channel = channel
        self._relayed = relayed
        self._sockets: list[socket.socket] = []
        self._has_begun = False

    @classmethod
    def find(cls, parts: Iterable[Part], name: str = NAME) -> "Predecessor | None":
        """Tell the process before us which parts we serve. None: there is none, or none that understands."""
        try:
            channel = _connected(name, _said("relieve", parts))
        except OSError:
            return None
        with channel.makefile("r") as answer:
            try:
                word, *relayed = answer.readline(LINE).split()
            except (OSError, ValueError):
                channel.close()
                log.warning("a kproxy runs on this node and does not answer: it is not relieved, stop it")
                return None
        log.info("a kproxy runs on this node: it is relieved once our tables are in force")
        return cls(name, channel, _named(" ".join(relayed)) if word == "relays" else frozenset())

    def sockets(self, part: Part) -> int | None:
        """Ask for the sockets of a part's relay: a descriptor on which they come, if that process has any."""
        if part not in self._relayed:
            return None
        try:
            self._sockets.append(_connected(self._name, _said("sockets", [part])))
        except OSError:
            return None
        return self._sockets[-1].fileno()

    def begin(self) -> None:
        """Ask it to rest: we are about to write. To be said once or more."""
        if not self._has_begun:
            self._has_begun = True
            self._say("begin")

    def done(self) -> None:
        """Tell it that it is relieved."""
        self._say("done")

    def _say(self, word: str) -> None:
        with contextlib.suppress(OSError):  # it has ended by itself: nobody is in our way
            self._channel.sendall(f"{word}\n".encode())

    async def gone(self) -> None:
        """Wait until it has ended."""
        self._channel.setblocking(False)
        with contextlib.suppress(OSError):
            while await asyncio.get_running_loop().sock_recv(self._channel, LINE):
                pass

    def close(self) -> None:
        """Let go of it; if it was not told that it is relieved, it goes on."""
        for each in (self._channel, *self._sockets):
            each.close()


def _connected(name: str, line: bytes) -> socket.socket:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, TIMEVAL.pack(PATIENCE, 0))
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, TIMEVAL.pack(PATIENCE, 0))
        channel.connect(name)
        channel.sendall(line)
    except OSError:
        channel.close()
        raise
    return channel

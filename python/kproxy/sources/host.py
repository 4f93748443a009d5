# SPDX-License-Identifier: Apache-2.0
"""This node's own addresses as a source, followed live over rtnetlink.

One dump at start, then only what changes; if the kernel had to drop messages (ENOBUFS) or the socket fails, one dump anew.
A burst (a bridge coming up with ten addresses) is told as one event.
"""

import asyncio
import errno
import logging
import os
import socket
from typing import Any, Final, TypeAlias

from kproxy.objects.events import Emit, Host, HostAddress
from kproxy.table.addresses import parse_address
from kproxy.table.clock import Clock, SystemClock

log = logging.getLogger(__name__)

BURST: Final = 0.02  # seconds to wait for more of the same
RETRY: Final = 1.0  # seconds before the socket is opened anew
BUFFER: Final = 1 << 20  # bytes of messages that may wait
GROUPS: Final = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
OPTIMISTIC, DAD_FAILED, TENTATIVE = 0x04, 0x08, 0x40  # IFA_F_* (linux/if_addr.h)
Message: TypeAlias = Any  # pyroute2's; a mapping with get_attr


class Addresses:
    """The addresses of all interfaces, kept up to date from rtnetlink messages. Pure."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._held: set[tuple[int, str, int]] = set()

    def take(self, message: Message) -> bool:
        """Take one message. Return whether anything may be different now."""
        match message["event"]:
            case "RTM_NEWLINK" | "RTM_DELLINK" if message["family"] == socket.AF_BRIDGE:
                return False  # tells of a bridge's ports; the link itself lives on
            case "RTM_NEWLINK":
                index, name = int(message["index"]), str(message.get_attr("IFLA_IFNAME"))
                renamed = self._names.get(index) != name
                self._names[index] = name
                return renamed
            case "RTM_DELLINK":
                self._names.pop(message["index"], None)
                gone = [key for key in self._held if key[0] == message["index"]]
                for key in gone:
                    self._held.discard(key)
                return bool(gone)
            case "RTM_NEWADDR" | "RTM_DELADDR" as event:
                # On a point-to-point link IFA_ADDRESS is the other end's.
                text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
                if text is None:
                    return False
                key = (message["index"], str(parse_address(text)), message["prefixlen"])
                known = key in self._held
                usable = event == "RTM_NEWADDR" and is_usable(message)
                (self._held.add if usable else self._held.discard)(key)
                return known != usable
        return False

    def all(self) -> tuple[HostAddress, ...]:
        """Return them, sorted."""
        return tuple(
            sorted(HostAddress(self._names.get(index, str(index)), address, prefix) for index, address, prefix in self._held)
        )


def is_usable(message: Message) -> bool:
    """Tell whether the kernel accepts packets to an address already.

    Not while duplicate address detection runs (unless it is optimistic), and never once that failed; the end of detection
    is told by a message of its own. Deprecated and temporary addresses do accept packets.
    """
    every = message.get_attr("IFA_FLAGS")
    flags = int(message["flags"] if every is None else every)
    if flags & DAD_FAILED:
        return False
    return not flags & TENTATIVE or bool(flags & OPTIMISTIC)


class HostSource:
    """Tells the addresses of this node, or rather of the network namespace it runs in: all of them at each change."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._told: tuple[HostAddress, ...] | None = None
        self._burst: asyncio.TimerHandle | None = None

    async def run(self, emit: Emit) -> None:
        """Tell the addresses, then again whenever they change, until cancelled."""
        while True:
            try:
                await self._follow(emit)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    log.warning("the node's addresses cannot be followed (%s); again in %.0f s", error, RETRY)
                    await asyncio.sleep(RETRY)
            finally:
                if self._burst:
                    self._burst.cancel()
                    self._burst = None

    async def _follow(self, emit: Emit) -> None:
        """Dump, then follow until the socket fails. Raises OSError; ENOBUFS: messages were lost."""
        from pyroute2 import AsyncIPRoute, NetlinkError  # noqa: PLC0415 - 0.2 s of import

        addresses = Addresses()
        try:
            async with AsyncIPRoute() as route:
                await route.bind(groups=GROUPS)  # before the dump, so that nothing falls in between
                route.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
                for dump in (route.link, route.addr):
                    async for message in await dump("dump"):
                        addresses.take(message)
                self._tell(addresses, self._clock.monotonic(), emit)
                while True:
                    async for message in route.get():
                        if addresses.take(message):
                            self._tell_soon(addresses, emit)
        except NetlinkError as error:
            raise OSError(error.code, os.strerror(error.code)) from error

    def _tell_soon(self, addresses: Addresses, emit: Emit) -> None:
        """Tell once the burst is over, all in one."""
        if self._burst is None:
            self._burst = asyncio.get_running_loop().call_later(BURST, self._tell, addresses, self._clock.monotonic(), emit)

    def _tell(self, addresses: Addresses, received: float, emit: Emit) -> None:
        self._burst = None
        now = addresses.all()
        if now != self._told:
            self._told = now
            emit(Host(now, received))

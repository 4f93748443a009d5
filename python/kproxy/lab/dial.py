# SPDX-License-Identifier: Apache-2.0
"""Dials: who answered, whom it saw, how long it took. A slow connect is a failure too: a refused SYN shows as one second."""

import asyncio
import collections
import socket
import time
from typing import Final

import msgspec

from kproxy.lab.host import Host

SLOW: Final = 0.9  # seconds; the first retransmission of a SYN comes after 1 s
_PATIENCE: Final = 3.0


class Answer(msgspec.Struct, frozen=True):
    """What came of one dial. ``failure`` is empty when ``server`` answered."""

    server: str = ""
    seen: str = ""
    seconds: float = 0.0
    failure: str = ""


async def dial(host: Host, address: str, port: int, protocol: str) -> Answer:
    """Dial once from a host of the lab."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    began = time.monotonic()
    client = host.socket(family, kind)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_PATIENCE):
            await loop.sock_connect(client, (address, port))
            if protocol == "UDP":
                await loop.sock_sendall(client, b"who\n")
            told = (await loop.sock_recv(client, 256)).decode().split()
    except TimeoutError:
        return Answer(seconds=time.monotonic() - began, failure="no answer")
    except OSError as error:
        return Answer(seconds=time.monotonic() - began, failure=error.strerror or str(error))
    finally:
        client.close()
    seconds = time.monotonic() - began
    if len(told) != 2:
        return Answer(seconds=seconds, failure="closed without an answer")
    if seconds > SLOW:
        return Answer(told[0], told[1], seconds, f"took {seconds:.1f} s")
    return Answer(told[0], told[1], seconds)


class Tally:
    """Many answers, counted."""

    def __init__(self) -> None:
        self.servers: collections.Counter[str] = collections.Counter()
        self.seen: set[str] = set()
        self.failures: collections.Counter[str] = collections.Counter()
        self.slowest = 0.0

    @property
    def dials(self) -> int:
        """How many dials were made."""
        return self.servers.total() + self.failures.total()

    def add(self, answer: Answer) -> None:
        """Count one."""
        self.slowest = max(self.slowest, answer.seconds)
        if answer.failure:
            self.failures[answer.failure] += 1
        else:
            self.servers[answer.server] += 1
            self.seen.add(answer.seen)


async def dial_many(host: Host, address: str, port: int, protocol: str, count: int, at_once: int = 8) -> Tally:
    """Dial ``count`` times, a few at once."""
    tally = Tally()
    for start in range(0, count, at_once):
        some = min(at_once, count - start)
        for answer in await asyncio.gather(*(dial(host, address, port, protocol) for _ in range(some))):
            tally.add(answer)
    return tally


async def dial_until(stop: asyncio.Event, host: Host, address: str, port: int, protocol: str, *, at_once: int = 8) -> Tally:
    """Dial without pause until told to stop."""
    tally = Tally()

    async def worker() -> None:
        while not stop.is_set():
            tally.add(await dial(host, address, port, protocol))

    await asyncio.gather(*(worker() for _ in range(at_once)))
    return tally

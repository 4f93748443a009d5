# SPDX-License-Identifier: Apache-2.0
"""A long walk of changes and misfortunes over a real connection, with the server's state at its end."""

import asyncio
import random

import pytest

from kproxy.lab.apiserver import ApiServer
from kproxy.lab.apiserver.resources import SERVICE
from kproxy.objects.events import Delete, Kind, Upsert
from tests.api.following import following
from tests.api.wire import service

STEPS = 60


async def mishap(server: ApiServer, chance: random.Random) -> None:
    """Let something go wrong, or nothing."""
    match chance.randrange(16):
        case 0:
            server.compact()
        case 1:
            server.cut_watches()
        case 2:
            server.end_watches()
        case 3:
            server.faults.tear = chance.randint(1, 3)
        case 4:
            server.faults.half_line = chance.randint(1, 3)
        case 5 | 6:
            server.faults.fail(chance.choice([401, 410, 429, 500, 503]), times=chance.randint(1, 3))
        case 7:
            server.faults.streaming_lists = not server.faults.streaming_lists
        case 8:
            server.faults.stalled = True
            await asyncio.sleep(0.05)
            server.faults.stalled = False
        case 9:
            await server.stop()
            await server.start()


@pytest.mark.parametrize("seed", range(3))
async def test_a_long_walk_ends_in_the_servers_state(seed: int) -> None:
    """Every object is known at its last version, none is left over, and no object was told as deleted that was not."""
    chance = random.Random(seed)
    deleted: set[str] = set()
    async with ApiServer(patience=0.1, bookmark_period=0.2, window=50) as server:
        for index in range(50):
            server.put(service(f"s{index}"))
        async with following(server) as told:
            for _ in range(STEPS):
                for _ in range(chance.randint(1, 40)):
                    name = f"s{chance.randrange(80)}"
                    if chance.random() < 0.6:
                        server.put(service(name, sessionAffinity=chance.choice(["None", "ClientIP"])))
                    elif server.delete("Service", name):
                        deleted.add(f"default/{name}")
                await mishap(server, chance)
                await asyncio.sleep(chance.random() * 0.03)
            stored = server.store.of(SERVICE).objects
            versions = {key: str(item.version) for key, item in stored.items()}
            await told.until(
                lambda: (
                    {
                        key: item.metadata.resource_version
                        for (kind, key), item in told.objects.items()
                        if kind is Kind.SERVICE
                    }
                    == versions
                )
            )
            assert {event.key for event in told.events if isinstance(event, Delete)} <= deleted
            told_versions = [
                (event.object.metadata.key, event.object.metadata.resource_version)
                for event in told.events
                if isinstance(event, Upsert)
            ]
            assert len(told_versions) == len(set(told_versions)), "a version is told once"

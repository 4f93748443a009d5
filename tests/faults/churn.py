# SPDX-License-Identifier: Apache-2.0
"""Dials without pause while a Service's endpoints change: what every refused packet would show."""

import mmap
import random
import time
from collections.abc import Callable
from typing import Final

import msgspec

from bench.tables import SERVICES, endpoint, facts, replaced, route, table, whole
from kproxy.dataplanes.contract import Applied, Dataplane
from kproxy.lab.namespaces import inside
from kproxy.table.terms import Family
from tests.bed import PORT, Bed, Clashes, child, client_sockets, serving

SLOW: Final = 0.9  # seconds: a refused SYN is sent again after one
_WAVE: Final = 4  # endpoints the changing Service has at most


class Outcome(msgspec.Struct, frozen=True):
    """What the dials and the kernel's refusal counters say."""

    changes: int
    dials: int
    failures: int
    slow: int
    refused: dict[str, int]


def dial_forever(bed: Bed, address: str, counts: memoryview) -> None:
    """Dial port 80 of an address from the client until killed, counting dials, failures and slow dials."""
    clashes = Clashes(bed)
    with inside(bed.client.namespace):
        for client in client_sockets():
            client.settimeout(5)
            began = time.monotonic()
            try:
                client.connect((address, 80))
            except ConnectionResetError:
                pass  # established, then reset by the server before connect() could say so; a refused SYN is another error
            except OSError:
                counts[1] += 1
            if time.monotonic() - began > SLOW and not clashes.more():
                counts[2] += 1
            counts[0] += 1
            client.close()


def churn(make: Callable[[Family], Dataplane], *, services: int, changes: int, affinity: int, seed: int = 1) -> Outcome:
    """Change one Service ``changes`` times among ``services`` while two processes dial it; endpoints that left live on.

    Every step adds an endpoint, takes one away or replaces one. ``affinity`` in seconds, 0 for none.
    """
    chance = random.Random(seed)
    bed = Bed()
    counts = [memoryview(mmap.mmap(-1, 3 * 8)).cast("q") for _ in range(2)]  # dials, failures, slow ones; shared over fork
    with inside(bed.node.namespace):
        dataplane = make(Family.IPV4)
    routes = [route(number, (endpoint(100 + number, PORT),)) for number in range(1, services)]
    members = [0, 1]
    current = table([route(0, (endpoint(number, PORT) for number in members), affinity=affinity), *routes], facts())
    bed.commit(dataplane, whole(current))
    with inside(bed.node.namespace):
        committed = dataplane.read_back()
    fresh = 50_000  # a new endpoint's address has not been used by any other in this run
    address = str(SERVICES[1])
    with (
        serving(bed),
        child(bed.client, lambda: dial_forever(bed, address, counts[0])),
        child(bed.client, lambda: dial_forever(bed, address, counts[1])),
        inside(bed.node.namespace),  # where its nft shall run
    ):
        time.sleep(0.2)
        for _ in range(changes):
            step = chance.choice(("add", "remove", "replace"))
            if step != "add" and (len(members) > 1 or step == "replace"):
                members.pop(chance.randrange(len(members)))
            if step != "remove" and len(members) < _WAVE:
                fresh += 1
                members.append(fresh)
            item = route(0, (endpoint(number, PORT) for number in members), affinity=affinity)
            step_changes = replaced(current, item)
            applied = dataplane.commit(dataplane.compile(committed, step_changes))
            assert isinstance(applied, Applied), applied
            committed, current = applied.committed, step_changes.after
            dataplane.settle()
        time.sleep(1.2)
    refused = {reason: count for reason, count in dataplane.counters().refused.items() if count}
    dataplane.close()
    bed.close()
    dials, failures, slow = (sum(each[which] for each in counts) for which in range(3))
    return Outcome(changes, dials, failures, slow, refused)

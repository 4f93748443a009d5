# SPDX-License-Identifier: Apache-2.0
"""Our relay in a process of its own: ``python -m bench.relay.serve PLAN``, the plan a JSON list of relays.

It does what it is told on standard input: ``fill N`` adds so many Services that nobody dials, ``churn RATE`` changes the
endpoints of the services that have several so many times a second, ``rest`` gives them all of their endpoints back.
"""

import itertools
import select
import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from kproxy._core import Relay

_OTHERS: Final = 5  # endpoints of each Service that nobody dials

Endpoint = tuple[str, int, bool]
Endpoints = tuple[Endpoint, ...]
Service = tuple[str, str, int, tuple[tuple[str, str, int], ...], Endpoints, Endpoints, str, int, bool, bool]


class Offer(msgspec.Struct, frozen=True):
    """One service of a relay: where clients dial it and who answers. ``0.0.0.0``: whatever address the relay has."""

    name: str
    protocol: str
    address: str
    port: int
    endpoints: tuple[str, ...]


class Plan(msgspec.Struct, frozen=True):
    """One relay: its port, whether interception brings its packets, and what it offers."""

    port: int
    transparent: bool
    offers: tuple[Offer, ...]


def service(offer: Offer, endpoints: Sequence[str]) -> Service:
    """Return an offer with some endpoints as the relay takes it."""
    members = tuple((endpoint, 1, False) for endpoint in endpoints)
    frontends = ((offer.name, offer.address, offer.port),)
    return (offer.name, offer.protocol, 0, frontends, members, (), "round-robin", 0, False, False)


def others(count: int) -> list[Service]:
    """Return so many Services of five endpoints each that nobody dials."""
    made = []
    for number in range(count):
        low = f"{number // 256}.{number % 256}"
        endpoints = tuple(f"10.128.{low}:{8000 + each}" for each in range(_OTHERS))
        made.append(service(Offer(f"bench/other-{number}", "TCP", f"10.96.{low}", 80, endpoints), endpoints))
    return made


def main(plans: Sequence[Plan]) -> None:
    """Relay until standard input ends."""
    relays = [(Relay((plan.port, 0), mark=0, transparent=plan.transparent), plan.offers) for plan in plans]
    whole = [(relay, [service(offer, offer.endpoints) for offer in offers]) for relay, offers in relays]
    for relay, services in whole:
        relay.apply(services, [])
    changes = itertools.cycle(
        (relay, [service(offer, [endpoint])]) for relay, offers in relays for offer in offers for endpoint in offer.endpoints
    )
    pause: float | None = None
    while True:
        if select.select([sys.stdin], [], [], pause)[0]:
            match sys.stdin.readline().split():
                case ["fill", count]:
                    for relay, _ in relays:
                        relay.apply(others(int(count)), [])
                case ["churn", rate]:
                    pause = 1 / float(rate)
                case ["rest"]:
                    pause = None
                    for relay, services in whole:
                        relay.apply(services, [])
                case _:
                    break
        else:
            relay, services = next(changes)
            relay.apply(services, [])
    for relay, _ in relays:
        relay.stop()


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=list[Plan]))

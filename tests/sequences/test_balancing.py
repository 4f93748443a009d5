# SPDX-License-Identifier: Apache-2.0
"""Who gets how many connections: equal shares, weights, and Maglev by the client's address."""

import collections
import math
from collections.abc import Mapping, Sequence

import pytest

from kproxy.objects.endpointslice import WEIGHT_ANNOTATION
from kproxy.objects.events import Upsert
from kproxy.objects.service import SCHEDULER_ANNOTATION
from kproxy.table.terms import Protocol
from tests.conformance.packets.dial import Dial, Met
from tests.sequences.objects import Place, endpoints, service
from tests.sequences.stage import Stage, stage

pytestmark = pytest.mark.packets
ANY_MODE = pytest.mark.usefixtures("any_mode")

VIP = "172.30.0.1"
MAGLEV = service("web", VIP, annotations={SCHEDULER_ANNOTATION: "mh"})


def chi_square_bound(freedom: int, deviations: float = 5.0) -> float:
    """Return the chi-square value that is exceeded as rarely as a normal variable exceeds so many deviations.

    Wilson and Hilferty's cube approximation (1931); 5 deviations are one case in 3.5 million.
    """
    share = 2 / (9 * freedom)
    return freedom * (1 - share + deviations * math.sqrt(share)) ** 3


def is_fair(met: Sequence[str], weights: Mapping[str, int]) -> bool:
    """Tell whether the endpoints met are a likely draw by these weights."""
    counts, total = collections.Counter(met), sum(weights.values())
    expected = {endpoint: len(met) * weight / total for endpoint, weight in weights.items() if weight}
    if counts.keys() - expected.keys():
        return False
    chi_square = sum((counts[endpoint] - share) ** 2 / share for endpoint, share in expected.items())
    return len(expected) == 1 or chi_square < chi_square_bound(len(expected) - 1)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
def test_trap_23_every_endpoint_gets_its_share(count: int) -> None:
    """The choice is uniform: chi-square over 10,000 connections."""
    places = [Place(f"10.180.1.{last}", "other-node") for last in range(1, count + 1)]
    with stage(service("web", VIP), endpoints("web", places)) as on:
        outcomes = on.dial(VIP, times=10_000)
        met = [outcome.endpoint for outcome in outcomes]
        assert set(met) == {f"{place.address}:8080" for place in places}
        assert is_fair(met, dict.fromkeys(set(met), 1))


def weighted(*weights: int) -> list[Upsert]:
    """Tell of slices of one endpoint each, with these weights."""
    return [
        endpoints(
            "web", [Place(f"10.180.1.{last}", "other-node")], part=str(last), annotations={WEIGHT_ANNOTATION: str(weight)}
        )
        for last, weight in enumerate(weights, 1)
    ]


@ANY_MODE
def test_endpoints_get_connections_by_their_weights() -> None:
    """A canary's share is what its annotation says, a drained slice's is none, and weights may change at any time."""
    with stage(service("web", VIP), *weighted(90, 10, 0)) as on:
        for weights in ((90, 10, 0), (1, 1, 2), (0, 0, 5)):
            on.tell(*weighted(*weights))
            met = [outcome.endpoint for outcome in on.dial(VIP, times=5_000)]
            assert is_fair(met, {f"10.180.1.{last}:8080": weight for last, weight in enumerate(weights, 1)})


def homes(on: Stage, clients: int = 2_000) -> dict[str, str]:
    """Return which endpoint each of many clients meets."""
    dials = [Dial(f"198.18.{128 + (n >> 8)}.{n & 0xFF}", "eth0", VIP, 80, Protocol.TCP) for n in range(clients)]
    outcomes = on.dialler.dial(dials)
    assert {outcome.met for outcome in outcomes} == {Met.ENDPOINT}
    return {outcome.dial.source: outcome.endpoint for outcome in outcomes}


@ANY_MODE
def test_maglev_sends_a_client_to_the_same_endpoint_without_remembering_it() -> None:
    """Every connection of a client goes to one endpoint, on a node that was started anew as well."""
    places = [Place(f"10.180.1.{last}", "other-node") for last in range(1, 6)]
    with stage(MAGLEV, endpoints("web", places)) as on:
        first = homes(on)
        assert homes(on) == first
        assert set(first.values()) == {f"{place.address}:8080" for place in places}
    with stage(MAGLEV, endpoints("web", reversed(places))) as on:
        assert homes(on) == first


@ANY_MODE
def test_maglev_moves_hardly_anybody_when_an_endpoint_leaves() -> None:
    """The clients of the one that left are spread over the others; of the rest at most a few in a hundred move."""
    places = [Place(f"10.180.1.{last}", "other-node") for last in range(1, 11)]
    with stage(MAGLEV, endpoints("web", places)) as on:
        before = homes(on)
        on.tell(endpoints("web", places[1:]))
        after = homes(on)
        gone = f"{places[0].address}:8080"
        stayed = [client for client, endpoint in before.items() if endpoint != gone]
        moved = [client for client in stayed if after[client] != before[client]]
        assert gone not in after.values()
        assert len(moved) / len(stayed) < 0.05
        on.tell(endpoints("web", places))
        assert homes(on) == before

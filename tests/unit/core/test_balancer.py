# SPDX-License-Identifier: Apache-2.0
"""The relay's choice of endpoints as Python gets it."""

from collections import Counter

import pytest

from kproxy._core import Balancer

ENDPOINTS = [f"10.0.0.{each}:80" for each in range(1, 5)]
CLIENT = "192.0.2.1"


def of(method: str = "round-robin", weights: tuple[int, ...] = (1, 1, 1, 1)) -> Balancer:
    """Return a choice among the endpoints."""
    balancer = Balancer(method)
    balancer.endpoints(list(zip(ENDPOINTS, weights, strict=True)))
    return balancer


def test_turns_follow_the_weights() -> None:
    """Of a round of turns each endpoint has its weight, and one without weight has none."""
    balancer = of(weights=(3, 0, 1, 2))

    assert Counter(balancer.pick(CLIENT) for _ in range(12)) == {ENDPOINTS[0]: 6, ENDPOINTS[2]: 2, ENDPOINTS[3]: 4}


@pytest.mark.parametrize("method", ["round-robin", "random", "least-connections", "consistent"])
def test_a_tried_endpoint_is_not_picked_again(method: str) -> None:
    """Four picks reach four endpoints, and there is no fifth."""
    balancer, tried = of(method), list[str]()
    for _ in ENDPOINTS:
        picked = balancer.pick(CLIENT, tried=tried)
        assert picked is not None
        tried.append(picked)

    assert sorted(tried) == ENDPOINTS
    assert balancer.pick(CLIENT, tried=tried) is None


def test_a_client_stays_until_its_time_is_over() -> None:
    """Each connection begins the time-out anew."""
    balancer = of()
    balancer.affinity(10)
    had = balancer.pick(CLIENT, 0)

    assert [balancer.pick(CLIENT, now) for now in (9, 18, 27)] == [had] * 3
    assert balancer.pick(CLIENT, 37) != had


def test_an_endpoint_that_fails_is_left_alone() -> None:
    """For a second nobody gets it; then one client tries it."""
    balancer = of()
    balancer.failed(ENDPOINTS[0], 0)

    assert ENDPOINTS[0] not in {balancer.pick(CLIENT, 0.9) for _ in range(20)}
    assert [balancer.pick(CLIENT, 1.1) for _ in range(20)].count(ENDPOINTS[0]) == 1


def test_what_makes_no_sense_is_an_error() -> None:
    """A name no method has, an endpoint without a port, a time before the beginning."""
    with pytest.raises(ValueError, match="no method is named wrr; take round-robin"):
        Balancer("wrr")
    with pytest.raises(ValueError, match=r"10\.0\.0\.1 is no address and port"):
        Balancer().endpoints([("10.0.0.1", 1)])
    with pytest.raises(ValueError, match="negative"):
        Balancer().affinity(-1)

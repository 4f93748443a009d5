# SPDX-License-Identifier: Apache-2.0
"""Clients that stay with their endpoint, for as long as they should. Numbers are those of upstream's end-to-end list."""

import time

import pytest

from kproxy.objects.events import Upsert
from kproxy.table.terms import Protocol
from tests.conformance.packets.dial import Dial, Met
from tests.sequences.objects import Place, endpoints, service
from tests.sequences.stage import POD, Stage, cluster, stage

pytestmark = pytest.mark.packets

VIP = "172.30.0.1"
PLACES = [Place(f"10.180.0.{last}") for last in (1, 2, 3)]
HOLDS = 15  # equal answers in a row that upstream takes for proof


def web(*, bound: bool = True, seconds: int = 10800) -> Upsert:
    """Tell of the Service, with or without affinity."""
    if not bound:
        return service("web", VIP, sessionAffinity="None")
    return service("web", VIP, sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": seconds}})


def bindings(on: Stage, clients: int = 64) -> dict[str, str]:
    """Dial once from each of many clients outside; return which endpoint each met."""
    dials = [
        Dial(f"198.51.{number >> 8}.{number & 0xFF}", "eth0", VIP, 80, Protocol.TCP) for number in range(1, clients + 1)
    ]
    outcomes = on.dialler.dial(dials)
    assert {outcome.met for outcome in outcomes} == {Met.ENDPOINT}
    return {outcome.dial.source: outcome.endpoint for outcome in outcomes}


def test_21_and_23_affinity_is_switched_on_and_off_on_a_live_service() -> None:
    """The same client meets all endpoints, then one, then all again."""
    with stage(web(bound=False), endpoints("web", PLACES)) as on:
        everyone = on.met(VIP)
        assert len(everyone) == 3
        on.tell(web())
        assert len({outcome.endpoint for outcome in on.dial(VIP, times=HOLDS)}) == 1
        on.tell(web(bound=False))
        assert on.met(VIP) == everyone


def test_22_a_binding_ends_after_its_time_out_and_not_while_it_is_used() -> None:
    """Each new connection renews the binding; clients that stay away longer are bound anew."""
    with stage(web(seconds=1), endpoints("web", PLACES)) as on:
        before = bindings(on)
        for _ in range(4):
            time.sleep(0.5)
            assert {outcome.endpoint for outcome in on.dial(VIP, source="198.51.0.1")} == {before["198.51.0.1"]}
        after = bindings(on)
        assert after["198.51.0.1"] == before["198.51.0.1"]
        assert before != after  # all 63 idle clients drawing the same endpoint again: 3 to the power of -63


def test_trap_10_only_the_clients_of_a_leaving_endpoint_are_bound_anew() -> None:
    """They stick to their new endpoint; everybody else keeps theirs, also when the first one comes back."""
    with stage(web(), endpoints("web", PLACES)) as on:
        before = bindings(on)
        on.tell(endpoints("web", PLACES[1:]))
        after = bindings(on)
        gone = f"{PLACES[0].address}:8080"
        assert gone in before.values()
        assert {client: endpoint for client, endpoint in before.items() if endpoint != gone}.items() <= after.items()
        assert gone not in after.values()
        assert bindings(on) == after
        on.tell(endpoints("web", PLACES))
        assert bindings(on) == after


def test_trap_10_bindings_outlive_a_restart() -> None:
    """A process that starts reads back what the kernel holds and disturbs no client."""
    told = [web(), endpoints("web", PLACES)]
    with stage(*told) as on:
        before = bindings(on)
        assert on.restart(*cluster(*told)) == 0
        assert bindings(on) == before


def test_trap_10_another_time_out_holds_for_the_clients_bound_before() -> None:
    """A changed time-out takes effect with each client's next connection, and unbinds nobody."""
    with stage(web(seconds=10800), endpoints("web", PLACES)) as on:
        before = bindings(on)
        on.tell(web(seconds=1))
        assert bindings(on) == before
        time.sleep(1.5)
        assert bindings(on) != before


def test_trap_10_every_client_is_served_when_there_are_more_than_can_be_bound() -> None:
    """One endpoint's clients are not limited to 100, and a full map costs stickiness only, never a connection."""
    with stage(web(), endpoints("web", PLACES)) as on:
        first = bindings(on, 1000)
        assert bindings(on, 1000) == first
        crowd = [
            Dial(f"100.{64 + (n >> 16)}.{n >> 8 & 0xFF}.{n & 0xFF}", "eth0", VIP, 80, Protocol.TCP) for n in range(70_000)
        ]
        assert {outcome.met for outcome in on.dialler.dial(crowd)} == {Met.ENDPOINT}
        assert bindings(on, 1000) == first


def test_a_client_is_bound_once_for_each_address_it_dials() -> None:
    """Different clients spread over the endpoints; one client's ports make no difference."""
    with stage(web(), endpoints("web", PLACES)) as on:
        assert set(bindings(on).values()) == {f"{place.address}:8080" for place in PLACES}
        assert len({outcome.endpoint for outcome in on.dial(VIP, source=POD, times=HOLDS)}) == 1

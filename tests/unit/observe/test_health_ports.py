# SPDX-License-Identifier: Apache-2.0
"""Health-check node ports follow Services and addresses, and survive ports that somebody else holds."""

import asyncio
import socket

from kproxy.observe.health_ports import HealthPorts, answer, places
from kproxy.table.clock import FakeClock
from kproxy.table.routing_table import HealthPort
from kproxy.table.terms import Family


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _ports() -> tuple[HealthPorts, list[str]]:
    failures: list[str] = []
    return HealthPorts(lambda: True, clock=FakeClock(), failed=lambda _, words: failures.append(words)), failures


async def test_a_port_somebody_else_holds_is_reported_once_and_taken_when_free() -> None:
    """Other Services' ports are open meanwhile."""
    ports, failures = _ports()
    held, free = _free_port(), _free_port()
    ports.listen_on(["127.0.0.1"])
    with socket.create_server(("127.0.0.1", held)):
        ports.update({"a/held": HealthPort("a/held", held, 1), "a/free": HealthPort("a/free", free, 1)})
        await ports.settle()
        await ports.settle()
        assert ports.listening == {f"127.0.0.1:{free}"}
        assert len(failures) == 1
        assert "a/held" in failures[0]
        assert "free the port" in failures[0]
    await ports.settle()
    assert ports.listening == {f"127.0.0.1:{free}", f"127.0.0.1:{held}"}
    ports.update({"a/held": None, "a/free": None})
    await ports.settle()


async def test_addresses_that_come_and_go_are_followed() -> None:
    """Without a restart, and without closing what stays."""
    ports, _ = _ports()
    port = _free_port()
    ports.update({"a/b": HealthPort("a/b", port, 1)})
    ports.listen_on(["127.0.0.1"])
    await ports.settle()
    ports.listen_on(["127.0.0.1", "127.0.0.2"])
    await ports.settle()
    assert ports.listening == {f"127.0.0.1:{port}", f"127.0.0.2:{port}"}
    ports.listen_on(["127.0.0.2"])
    await ports.settle()
    assert ports.listening == {f"127.0.0.2:{port}"}
    ports.listen_on([])
    await ports.settle()


async def test_a_port_passes_from_one_service_to_another_in_one_step() -> None:
    """The old listener closes first."""
    ports, failures = _ports()
    port = _free_port()
    ports.listen_on(["127.0.0.1"])
    ports.update({"a/old": HealthPort("a/old", port, 1)})
    await ports.settle()
    ports.update({"a/old": None, "a/new": HealthPort("a/new", port, 0)})
    await ports.settle()
    assert ports.listening == {f"127.0.0.1:{port}"}
    assert not failures
    ports.update({"a/new": None})
    await ports.settle()


async def test_it_runs_until_cancelled_and_closes_everything() -> None:
    """News are taken as they come."""
    ports, _ = _ports()
    port = _free_port()
    running = asyncio.create_task(ports.run())
    ports.listen_on(["127.0.0.1"])
    ports.update({"a/b": HealthPort("a/b", port, 1)})
    async with asyncio.timeout(5):
        while not ports.listening:  # noqa: ASYNC110 - a socket tells nobody
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not ports.listening
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_one_familys_addresses_are_concrete_and_the_others_all() -> None:
    """As for NodePorts: a list that names nothing of a family leaves it open; loopback counts where it is named."""
    own = ["10.0.0.1", "127.0.0.1", "192.168.1.1", "::1", "fd00::1"]
    assert places(["10.0.0.0/8", "127.0.0.0/8"], {}, own, Family) == ("10.0.0.1", "127.0.0.1", "::")
    assert places([], {}, own, [Family.IPV4]) == ("0.0.0.0",)
    assert places(["primary"], {Family.IPV6: "fd00::1"}, own, Family) == ("fd00::1",)


def test_the_weight_is_the_number_of_local_endpoints() -> None:
    """Load balancers share traffic by it."""
    response = answer(HealthPort("shop/web", 1, 7), proxy_healthy=True)
    assert response.headers == {"X-Load-Balancing-Endpoint-Weight": "7"}
    assert response.status == 200
    assert answer(HealthPort("shop/web", 1, 0), proxy_healthy=True).status == 503

# SPDX-License-Identifier: Apache-2.0
"""This node's addresses: the messages that change them, and a real kernel in a namespace of our own."""

import asyncio
import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from kproxy.lab.namespaces import ip, private
from kproxy.objects.events import HostAddress
from kproxy.sources.host import DAD_FAILED, OPTIMISTIC, TENTATIVE, Addresses, HostSource
from tests.unit.sources.told import Told

LOOPBACK = "lo=127.0.0.1/8 lo=::1/128"


class Message(dict[str, Any]):
    """A message as pyroute2 makes them."""

    def get_attr(self, name: str) -> Any:
        """Return an attribute, None where it is absent."""
        return self.get(name)


def link(index: int, name: str, *, event: str = "RTM_NEWLINK", family: int = socket.AF_UNSPEC) -> Message:
    """Return a message about an interface."""
    return Message(event=event, index=index, family=family, IFLA_IFNAME=name)


def address(index: int, text: str, prefix: int = 64, *, flags: int = 0, event: str = "RTM_NEWADDR", **more: Any) -> Message:
    """Return a message about an address."""
    return Message(event=event, index=index, prefixlen=prefix, flags=flags & 0xFF, IFA_ADDRESS=text, **more)


def held(*messages: Message) -> tuple[HostAddress, ...]:
    """Return what is held after some messages."""
    addresses = Addresses()
    for message in messages:
        addresses.take(message)
    return addresses.all()


def test_addresses_come_sorted_and_canonical() -> None:
    """By interface, then address; the own end of a point-to-point link counts."""
    point = address(3, "10.0.0.2", 32, IFA_LOCAL="10.0.0.1")
    assert held(link(3, "tun0"), link(2, "eth0"), point, address(2, "FD00:0::1"), address(2, "10.1.0.1", 24)) == (
        HostAddress("eth0", "10.1.0.1", 24),
        HostAddress("eth0", "fd00::1", 64),
        HostAddress("tun0", "10.0.0.1", 32),
    )


@pytest.mark.parametrize(
    ("flags", "counts"),
    [
        (0, True),
        (0x20, True),
        (0x01, True),
        (TENTATIVE, False),
        (TENTATIVE | OPTIMISTIC, True),
        (TENTATIVE | DAD_FAILED, False),
    ],
)
def test_an_address_counts_once_packets_to_it_are_accepted(flags: int, counts: bool) -> None:
    """Deprecated and temporary ones do; tentative ones do not, unless they are optimistic."""
    assert bool(held(link(2, "eth0"), address(2, "fd00::1", flags=flags))) == counts


def test_the_wide_flags_count_before_the_narrow_ones() -> None:
    """IFA_FLAGS holds what does not fit into the header."""
    assert not held(link(2, "eth0"), address(2, "fd00::1", IFA_FLAGS=TENTATIVE))


def test_changes_are_noticed_and_repetitions_are_not() -> None:
    """Only what may be different is worth a look."""
    addresses = Addresses()
    assert addresses.take(link(2, "eth0"))
    assert not addresses.take(link(2, "eth0"))
    assert not addresses.take(address(2, "fd00::1", flags=TENTATIVE))
    assert addresses.take(address(2, "fd00::1"))
    assert not addresses.take(address(2, "fd00::1"))
    assert addresses.take(address(2, "fd00::1", flags=DAD_FAILED))
    assert addresses.take(address(2, "fd00::1"))
    assert addresses.take(link(2, "lan"))
    assert addresses.all()[0].interface == "lan"
    assert not addresses.take(link(2, "lan", event="RTM_DELLINK", family=socket.AF_BRIDGE)), "it only left its bridge"
    assert addresses.take(link(2, "lan", event="RTM_DELLINK"))
    assert not addresses.take(address(2, "fd00::1", event="RTM_DELADDR"))
    assert not addresses.take(Message(event="RTM_NEWADDR", index=2, prefixlen=0, flags=0))
    assert not addresses.take(Message(event="RTM_NEWROUTE"))
    assert addresses.all() == ()


@pytest.fixture
def namespace() -> Iterator[None]:
    """Run the test in a network namespace of its own."""
    with private():
        ip(["link set lo up", "link add nic0 type bridge", "link set nic0 up"])
        yield


class Host(Told):
    """Waits for what is told."""

    async def until(self, expected: str) -> int:
        """Wait until the latest event says this; return how many it took."""
        async with asyncio.timeout(10):
            while True:
                taken = self.take()
                if taken and taken[-1] == expected:
                    return len(taken)
                await asyncio.sleep(0.05)


@pytest.mark.packets
@pytest.mark.usefixtures("namespace")
async def test_a_real_kernel_is_followed() -> None:
    """Addresses come and go, interfaces are renamed and removed; a burst is told in few events."""
    told = Host()
    task = asyncio.create_task(HostSource().run(told))
    try:
        await told.until(LOOPBACK)
        ip(["addr add 10.77.0.1/24 dev nic0"])
        await told.until(f"{LOOPBACK} nic0=10.77.0.1/24")
        ip(["addr add fd77::1/64 dev nic0 nodad", "link set nic0 down", "link set nic0 name nic1"])
        await told.until(f"{LOOPBACK} nic1=10.77.0.1/24")
        ip(["addr del 10.77.0.1/24 dev nic1"])
        await told.until(LOOPBACK)
        ip([f"addr add 10.78.0.{index}/32 dev nic1" for index in range(1, 201)])
        expected = " ".join(sorted(f"nic1=10.78.0.{index}/32" for index in range(1, 201)))
        assert await told.until(f"{LOOPBACK} {expected}") <= 20
        ip(["link del nic1"])
        await told.until(LOOPBACK)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.packets
@pytest.mark.usefixtures("namespace")
async def test_lost_messages_lead_to_a_new_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOBUFS: the kernel had more to say than the socket could hold."""
    monkeypatch.setattr("kproxy.sources.host.BUFFER", 2304)  # the kernel's least
    told = Host()
    task = asyncio.create_task(HostSource().run(told))
    failures: list[int] = []
    follow = HostSource._follow

    async def watched(source: HostSource, emit: Any) -> None:
        try:
            await follow(source, emit)
        except OSError as error:
            failures.append(error.errno or 0)
            raise

    monkeypatch.setattr(HostSource, "_follow", watched)
    try:
        await told.until(LOOPBACK)
        lines = [f"addr add 10.{index // 250}.{index % 250}.1/32 dev nic0" for index in range(1000)]
        ip(lines)  # blocks the loop, so that nobody reads meanwhile
        expected = " ".join(sorted(f"nic0=10.{index // 250}.{index % 250}.1/32" for index in range(1000)))
        await told.until(f"{LOOPBACK} {expected}")
        assert failures == [errno.ENOBUFS]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

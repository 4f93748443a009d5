# SPDX-License-Identifier: Apache-2.0
"""Elements reach a real kernel: all of a batch or nothing, read back by key and whole, refused by name."""

import errno
import socket
import threading

import pytest

from kproxy._core import ElementBatch, NetlinkError, NftSocket
from kproxy.lab.namespaces import ip, private
from tests.unit.core.conftest import IP, LAYOUT, TABLE, batch, endpoint, frontend, nft, number

pytestmark = pytest.mark.packets


def test_a_batch_is_in_force_and_nft_prints_it(door: NftSocket) -> None:
    """Elements of every kind of map of the layout are listed by ``nft`` as if it had written them itself."""
    change = batch()
    change.add("endpoints", number(0x20), endpoint("10.200.0.20", 8080))
    change.add("slots", number(2, 0), number(0x20))
    change.add("services", frontend("10.96.0.2", 53, 17), number(2))
    change.add("counts", frontend("10.96.0.2", 53, 17), number(0x1_0003))
    change.add("affinity", socket.inet_aton("1.2.3.4") + frontend("10.96.0.2", 53, 17), number(0x20), timeout=3_600_000)
    low, high = (frontend("10.96.0.2", 53, 17) + socket.inet_aton(each) for each in ("192.0.2.0", "192.0.2.255"))
    change.add("sources", low, key_end=high)
    door.send(change)

    listed = nft("list", "table", "ip", TABLE)
    for words in (
        "0:20 counter packets 0 bytes 0 : 10.200.0.20 . 8080",
        "0:2 . 0 : 0:20",
        "10.96.0.2 . udp . 53 counter packets 0 bytes 0 : 0:2",
        "10.96.0.2 . udp . 53 : 1:3",
        "1.2.3.4 . 10.96.0.2 . udp . 53 timeout 1h expires",
        "10.96.0.2 . udp . 53 . 192.0.2.0/24",
    ):
        assert words in listed


def test_what_was_listed_loads_again(door: NftSocket) -> None:
    """The listing of a table changed by netlink is text that ``nft -f`` takes."""
    change = batch()
    change.add("slots", number(2, 0), number(0x10))
    door.send(change)
    listed = nft("list", "table", "ip", TABLE)
    nft("delete", "table", "ip", TABLE)
    nft("-f", "-", text=listed)

    assert door.get(IP, TABLE, "slots", [number(2, 0)]) == [(number(2, 0), None, number(0x10), None, None, 0, 0)]


def test_dump_and_get_show_the_same(door: NftSocket) -> None:
    """A map read whole and by key holds the same elements; counting ones start at zero; absent keys are None."""
    keys = [number(0x12), number(0x99), number(0x10), number(0x98), number(0x11)]
    read = door.get(IP, TABLE, "endpoints", keys)

    assert [each and each[2] for each in read] == [
        *(endpoint("10.200.0.12", 8080), None, endpoint("10.200.0.10", 8080), None),
        endpoint("10.200.0.11", 8080),
    ]
    present = [each for each in read if each is not None]
    assert sorted(present) == sorted(door.dump(IP, TABLE, "endpoints"))
    assert {each[3:5] for each in present} == {(0, 0)}
    assert door.get(IP, TABLE, "endpoints", []) == []


def test_intervals_and_timeouts_are_read_back(door: NftSocket) -> None:
    """The end of an interval and the time an element has left are told."""
    low, high = (frontend("10.96.0.1", 80) + socket.inet_aton(each) for each in ("10.0.0.0", "10.255.255.255"))
    client = socket.inet_aton("1.2.3.4") + frontend("10.96.0.1", 80)
    change = batch()
    change.add("sources", low, key_end=high)
    change.add("affinity", client, number(0x10), timeout=60_000)
    door.send(change)

    assert door.dump(IP, TABLE, "sources") == [(low, high, None, None, None, 0, 0)]
    ((key, _, data, _, _, timeout, expires),) = door.dump(IP, TABLE, "affinity")
    assert (key, data, timeout) == (client, number(0x10), 60_000)
    assert 0 < expires <= 60_000


def test_counters_count(door: NftSocket) -> None:
    """A connection through the layout is counted on its Service and on one of its endpoints."""
    nft("delete", "element", "ip", TABLE, "counts", "{ 10.96.0.1 . tcp . 80 }")
    change = batch()
    change.add("counts", frontend("10.96.0.1", 80, 17), number(3))
    change.add("services", frontend("10.96.0.1", 80, 17), number(1))
    door.send(change)
    _send_datagram("10.96.0.1", 80)

    ((_, _, _, packets, octets, _, _),) = filter(None, door.get(IP, TABLE, "services", [frontend("10.96.0.1", 80, 17)]))
    assert (packets, octets) == (1, 29)
    assert sum(each[3] or 0 for each in door.dump(IP, TABLE, "endpoints")) == 1


def _send_datagram(address: str, port: int) -> None:
    """Send one byte to an address that is routed, to nobody in particular."""
    ip(["link set lo up", "addr add 192.0.2.1/24 dev lo", "route add default dev lo"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", (address, port))


def test_a_refused_batch_changes_nothing_and_names_the_operation(door: NftSocket) -> None:
    """EEXIST: another value is there. The operations before and after it are not in force either."""
    generation = door.generation()
    change = batch()
    change.add("slots", number(7, 0), number(0x10))
    change.add("endpoints", number(0x30), endpoint("10.200.0.30", 80))
    change.add("slots", number(7, 1), number(0x10))
    change.add("slots", number(1, 0), number(0x99))
    change.add("slots", number(7, 2), number(0x10))
    with pytest.raises(NetlinkError) as caught:
        door.send(change)

    assert (caught.value.errno, caught.value.index, caught.value.committed) == (errno.EEXIST, 3, 0)
    assert "add element ip k slots" in str(caught.value)
    assert door.get(IP, TABLE, "slots", [number(7, 0), number(7, 1), number(7, 2)]) == [None] * 3
    assert door.generation() == generation


def test_the_same_element_again_is_no_error(door: NftSocket) -> None:
    """A batch that is sent twice, such as after a lost answer, is taken twice."""
    change = batch()
    change.add("slots", number(1, 0), number(0x10))
    door.send(change)
    door.send(change)

    assert len(door.dump(IP, TABLE, "slots")) == 3


def test_deleting_what_is_not_there_names_the_operation(door: NftSocket) -> None:
    """ENOENT, with the place in the batch, also in the middle of a message that several deletions share."""
    change = batch()
    change.delete("slots", number(1, 0))
    change.delete("slots", number(9, 9))
    change.delete("slots", number(1, 1))
    with pytest.raises(NetlinkError) as caught:
        door.send(change)

    assert (caught.value.errno, caught.value.index) == (errno.ENOENT, 1)
    assert len(door.dump(IP, TABLE, "slots")) == 3


def test_a_full_set_names_the_element_that_did_not_fit(door: NftSocket) -> None:
    """ENFILE: the fourth element of a map of three."""
    change = batch()
    change.extend(True, "small", [number(each) for each in range(5)], [endpoint("10.0.0.1", 80)] * 5)
    with pytest.raises(NetlinkError) as caught:
        door.send(change)

    assert (caught.value.errno, caught.value.index) == (errno.ENFILE, 3)
    assert door.dump(IP, TABLE, "small") == []


def test_sets_and_tables_that_are_missing_are_named(door: NftSocket) -> None:
    """A wrong name is an error that carries it, in writing as in reading; no key is taken for absent instead."""
    change = batch()
    change.add("slots", number(1, 9), number(0x10))
    change.add("nothing", number(1))
    with pytest.raises(NetlinkError, match="nothing") as caught:
        door.send(change)
    assert (caught.value.errno, caught.value.index) == (errno.ENOENT, 1)

    elsewhere = ElementBatch(IP, "elsewhere")
    elsewhere.add("slots", number(1))
    with pytest.raises(NetlinkError, match="elsewhere"):
        door.send(elsewhere)
    with pytest.raises(NetlinkError, match="nothing"):
        door.dump(IP, TABLE, "nothing")
    with pytest.raises(NetlinkError, match="nothing"):
        door.get(IP, TABLE, "nothing", [number(1)])


def test_replacing_is_delete_and_add_in_one_batch(door: NftSocket) -> None:
    """Order within a batch is kept, so a slot changes its endpoint without ever being empty."""
    change = batch()
    change.delete("slots", number(1, 0))
    change.add("slots", number(1, 0), number(0x12))
    door.send(change)

    ((_, _, data, *_),) = filter(None, door.get(IP, TABLE, "slots", [number(1, 0)]))
    assert data == number(0x12)


def test_a_quarter_of_a_million_elements(door: NftSocket) -> None:
    """A load far beyond any default buffer, whole and in pieces; keys are then found, and a dump is complete."""
    count = 250_000
    keys = [number(each) for each in range(1000, 1000 + count)]
    load = batch()
    load.extend(True, "endpoints", keys, [endpoint("10.1.2.3", 80)] * count)
    door.send(load)
    assert None not in door.get(IP, TABLE, "endpoints", keys[::1000])

    unload = batch()
    unload.extend(False, "endpoints", keys)
    assert door.send_pieces(unload, 5000) == 50
    assert len(door.dump(IP, TABLE, "endpoints")) == 3


def test_pieces_before_the_bad_one_stay(door: NftSocket) -> None:
    """Each piece is whole or not at all, and the error says how many operations are in force."""
    change = batch()
    change.extend(True, "slots", [number(5, each) for each in range(10)], [number(0x10)] * 10)
    change.add("slots", number(1, 0), number(0x99))
    change.extend(True, "slots", [number(6, each) for each in range(10)], [number(0x10)] * 10)
    with pytest.raises(NetlinkError) as caught:
        door.send_pieces(change, 4)

    assert (caught.value.errno, caught.value.index, caught.value.committed) == (errno.EEXIST, 10, 8)
    held = {key for key, *_ in door.dump(IP, TABLE, "slots")}
    assert {number(5, each) for each in range(8)} <= held
    assert number(5, 8) not in held
    assert number(6, 0) not in held


def test_an_empty_batch_is_nothing(door: NftSocket) -> None:
    """No transaction is made for it."""
    generation = door.generation()
    door.send(batch())

    assert door.send_pieces(batch(), 10) == 0
    assert door.generation() == generation


def test_every_commit_raises_the_generation(door: NftSocket) -> None:
    """Ours and those of others."""
    first = door.generation()
    change = batch()
    change.add("slots", number(5, 0), number(0x10))
    door.send(change)
    second = door.generation()
    nft("add", "table", "ip", "other")

    assert first < second < door.generation()


def test_tables_are_found(door: NftSocket) -> None:
    """By name and family, and as a list."""
    nft("add", "table", "ip6", "other")

    assert sorted(door.tables()) == [(2, TABLE), (10, "other")]
    assert door.has_table(IP, TABLE)
    assert not door.has_table(10, TABLE)
    assert not door.has_table(IP, "other")


def test_rules_are_equal_until_somebody_changes_one(door: NftSocket) -> None:
    """The same text loaded again is the same rules under other handles; one rule more, or another, is not."""
    first = door.rules(IP, TABLE)
    nft("delete", "table", "ip", TABLE)
    assert door.rules(IP, TABLE) == []
    nft("-f", "-", text=LAYOUT)

    assert door.rules(IP, TABLE) == first
    assert [chain for chain, _ in first].count("post") == 2
    nft("add", "rule", "ip", TABLE, "dispatch", "accept")
    assert [chain for chain, _ in door.rules(IP, TABLE)] == [
        *(chain for chain, _ in first if chain not in {"out", "post"}),
        *("dispatch", "out", "post", "post"),
    ]


def test_a_socket_belongs_to_the_namespace_it_was_opened_in(door: NftSocket) -> None:
    """Also when a thread of another namespace uses it."""
    seen = []

    def elsewhere() -> None:
        with private():
            seen.extend([door.tables(), NftSocket().tables()])

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()

    assert seen == [[(IP, TABLE)], []]

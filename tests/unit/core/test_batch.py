# SPDX-License-Identifier: Apache-2.0
"""A batch keeps what it is given, in order, and refuses what no message can carry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy._core import ElementBatch, NetlinkError

VALUES = st.binary(min_size=1, max_size=64)
NAMES = st.sampled_from(["services", "slots", "endpoints"])
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just(True), NAMES, VALUES, st.none() | VALUES, st.none() | VALUES, st.integers(0, 2**64 - 1)),
        st.tuples(st.just(False), NAMES, VALUES, st.none() | VALUES, st.none() | VALUES, st.just(0)),
    )
)


@given(OPERATIONS)
def test_operations_are_read_back_as_they_were_queued(
    operations: list[tuple[bool, str, bytes, bytes | None, bytes | None, int]],
) -> None:
    """Whatever the order of verbs and sets, the batch tells its operations as they came."""
    batch = ElementBatch(2, "kproxy")
    for add, name, key, data, key_end, timeout in operations:
        if add:
            batch.add(name, key, data, key_end, timeout)
        else:
            batch.delete(name, key, data, key_end)

    assert len(batch) == len(operations)
    assert batch.operations() == operations


@given(st.booleans(), st.lists(st.tuples(VALUES, VALUES, VALUES)))
def test_columns_are_the_same_as_one_by_one(add: bool, rows: list[tuple[bytes, bytes, bytes]]) -> None:
    """``extend`` queues what a loop would."""
    batch = ElementBatch(2, "kproxy")
    batch.extend(add, "slots", [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])

    assert batch.operations() == [(add, "slots", key, data, key_end, 0) for key, data, key_end in rows]


def test_packed_columns_are_cut_into_elements() -> None:
    """``add_many`` takes keys and data back to back."""
    batch = ElementBatch(10, "kproxy")
    batch.add_many("slots", b"aabb", 2, b"123456", 3)
    batch.add_many("names", b"abc", 1)

    assert [(each[1], each[2], each[3]) for each in batch.operations()] == [
        *(("slots", b"aa", b"123"), ("slots", b"bb", b"456")),
        *(("names", b"a", None), ("names", b"b", None), ("names", b"c", None)),
    ]
    assert (batch.family, batch.table) == (10, "kproxy")


@pytest.mark.parametrize(
    ("name", "key", "words"),
    [
        ("slots", b"", "has 0 bytes"),
        ("slots", b"x" * 65, "has 65 bytes"),
        ("", b"x", "name of an nftables set"),
        ("x" * 256, b"x", "name of an nftables set"),
        ("a\0b", b"x", "name of an nftables set"),
    ],
)
def test_what_no_message_can_carry_is_refused_at_once(name: str, key: bytes, words: str) -> None:
    """The error says what is wrong, and the batch stays as it was."""
    batch = ElementBatch(2, "kproxy")
    with pytest.raises(NetlinkError, match=words):
        batch.add(name, key)

    assert len(batch) == 0


def test_columns_of_different_length_are_refused() -> None:
    """No element is made of halves."""
    batch = ElementBatch(2, "kproxy")
    with pytest.raises(ValueError, match="2 keys and 1 datas"):
        batch.extend(True, "slots", [b"a", b"b"], [b"1"])
    with pytest.raises(NetlinkError, match="not a multiple of 2"):
        batch.add_many("slots", b"abc", 2)
    with pytest.raises(NetlinkError, match="2 keys and 3 data"):
        batch.add_many("slots", b"ab", 1, b"123", 1)

    assert len(batch) == 0

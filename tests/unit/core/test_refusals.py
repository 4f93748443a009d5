# SPDX-License-Identifier: Apache-2.0
"""What the kernel says by netlink becomes an error that says what to do."""

import errno
import os
import subprocess
import sys

import pytest

from kproxy._core import NetlinkError
from kproxy.kernel.nfnl import NetlinkRefused, refused
from kproxy.table.errors import Busy, KernelError, PermissionDenied, Unsupported


def said(number: int, index: int | None = None) -> KernelError:
    """Return the error for a refusal with the kernel's usual words."""
    error = NetlinkError(number, f"add element ip kproxy slots (key 00): {os.strerror(number)}")
    error.index, error.committed = index, 0
    return refused(error)


@pytest.mark.parametrize(
    ("number", "kind", "retry"),
    [
        (errno.EPERM, PermissionDenied, False),
        (errno.EBUSY, Busy, True),
        (errno.EINTR, Busy, True),
        (errno.EPROTONOSUPPORT, Unsupported, False),
        (errno.EEXIST, NetlinkRefused, True),
        (errno.ENOENT, NetlinkRefused, True),
        (errno.ENFILE, NetlinkRefused, True),
        (errno.ENOSPC, NetlinkRefused, True),
    ],
)
def test_each_refusal_has_its_place_in_the_tree(number: int, kind: type[KernelError], retry: bool) -> None:
    """The loop tells by the class whether to try again."""
    error = said(number)

    assert type(error) is kind
    assert error.retry is retry
    assert "slots" in str(error)


def test_the_words_name_number_and_place() -> None:
    """Error number and operation are in the sentence and in the error."""
    error = said(errno.EEXIST, 7)

    assert str(error) == "add element ip kproxy slots (key 00): File exists (EEXIST, operation 7)"
    assert isinstance(error, NetlinkRefused)
    assert (error.errno, error.index, error.committed) == (errno.EEXIST, 7, 0)


def test_a_missing_capability_is_said() -> None:
    """With the mend."""
    assert str(said(errno.EPERM)).endswith("Operation not permitted: the process needs CAP_NET_ADMIN")


@pytest.mark.packets
def test_without_the_capability_nothing_is_changed_or_read() -> None:
    """A real process without CAP_NET_ADMIN is told so, by nftables and by conntrack alike."""
    program = """
from kproxy._core import ElementBatch, NetlinkError, NftSocket
from kproxy.kernel.conntrack import Conntrack
from kproxy.kernel.nfnl import refused
from kproxy.table.errors import PermissionDenied
from kproxy.table.terms import Family

batch = ElementBatch(2, "k")
batch.add("slots", b"1234")
try:
    NftSocket().send(batch)
except NetlinkError as error:
    print(type(refused(error)).__name__, refused(error))
try:
    Conntrack().cut(Family.IPV4, type("Stale", (), {"serving": {("10.0.0.1", 53): frozenset()}, "gone": ()})())
except PermissionDenied as error:
    print(type(error).__name__, error)
"""
    bare = ["unshare", "--net", "setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", sys.executable, "-c"]
    done = subprocess.run([*bare, program], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == [
        "PermissionDenied committing a batch for table k: Operation not permitted: the process needs CAP_NET_ADMIN",
        "PermissionDenied listing conntrack's flows: Operation not permitted: the process needs CAP_NET_ADMIN",
    ]

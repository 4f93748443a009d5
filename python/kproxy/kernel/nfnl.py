# SPDX-License-Identifier: Apache-2.0
"""What the kernel's refusals by netfilter netlink mean, in the project's error tree.

``_core`` speaks to the kernel: nftables' elements and news, tracked flows. Its one exception carries the kernel's error
number and words; here they get the name by which the loop knows what to do.
"""

import errno
import os
from typing import Final

from kproxy._core import NetlinkError, NftSocket
from kproxy.table.errors import Busy, KernelError, PermissionDenied, Unsupported
from kproxy.table.terms import Family

NUMBERS: Final = {Family.IPV4: 2, Family.IPV6: 10}  # NFPROTO
_BUSY: Final = {errno.EBUSY, errno.EINTR, errno.EAGAIN, errno.ERESTART}
_DENIED: Final = {errno.EPERM, errno.EACCES}
_LACKING: Final = {errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EOPNOTSUPP}


class NetlinkRefused(KernelError):  # noqa: N818 - reads as what it says
    """The kernel did not take a request.

    ``errno`` is its error number (EEXIST: another value is there; ENOENT: nothing is there; ENFILE and ENOSPC: the set is
    full); ``index`` is the operation at fault, counted from 0, where the kernel names one; ``committed`` is how many
    operations of earlier pieces are in force.
    """

    def __init__(self, words: str, error: int, index: int | None = None, committed: int = 0) -> None:
        super().__init__(words)
        self.errno = error
        self.index = index
        self.committed = committed


def refused(error: NetlinkError) -> KernelError:
    """Return the error tree's name for what the kernel said."""
    number = error.errno or errno.EIO
    words = error.strerror or os.strerror(number)
    if number in _DENIED:
        return PermissionDenied(f"{words}: the process needs CAP_NET_ADMIN")
    if number in _BUSY:
        return Busy(words)
    if number in _LACKING:
        return Unsupported(f"{words}: the kernel lacks netfilter netlink (nfnetlink)")
    code = errno.errorcode.get(number, str(number))
    place = "" if error.index is None else f", operation {error.index}"
    return NetlinkRefused(f"{words} ({code}{place})", number, error.index, error.committed)


def has_table(family: Family, name: str) -> bool:
    """Tell whether a table exists. ``nft list tables`` would fetch every element of every table to tell the same.

    Raises KernelError.
    """
    try:
        return NftSocket().has_table(NUMBERS[family], name)
    except NetlinkError as error:
        raise refused(error) from error

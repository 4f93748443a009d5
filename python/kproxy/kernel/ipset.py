# SPDX-License-Identifier: Apache-2.0
"""The door to ipset: sets of addresses that rules of iptables ask, and add to."""

import socket
from typing import Final

from kproxy.kernel.command import installed, run
from kproxy.table.errors import KernelError

TOOL: Final = "ipset"


def works() -> bool:
    """Tell whether sets can be made here and named in rules: iptables looks them up through a raw socket (CAP_NET_RAW)."""
    if not installed(TOOL):
        return False
    try:
        names()
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).close()
    except (KernelError, OSError):
        return False
    return True


def names() -> list[str]:
    """Return the names of all sets in this network namespace. Raises KernelError."""
    return run([TOOL, "list", "-n"]).split()


def restore(text: str) -> None:
    """Carry out commands, a line each; what exists already stays as it is. Raises KernelError at the first refusal."""
    run([TOOL, "restore", "-exist"], text)

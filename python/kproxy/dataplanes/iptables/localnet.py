# SPDX-License-Identifier: Apache-2.0
"""NodePorts on 127.0.0.1: the kernel routes a packet from there to an endpoint only if it is told that it may."""

from typing import Final

from kproxy.kernel.sysctl import Sysctl, Sysctls
from kproxy.table.node import FamilyFacts
from kproxy.table.terms import Family

NAME: Final = "net.ipv4.conf.all.route_localnet"


class Localnet:
    """The setting that opens 127.0.0.0/8, and whether it was us who changed it. There is none for IPv6."""

    def __init__(self, family: Family, sysctls: Sysctls | None = None) -> None:
        self._family = family
        self._sysctls = sysctls or Sysctls()
        self._is_ours = False

    def open_for(self, facts: FamilyFacts) -> None:
        """Open it if NodePorts are served there. Raises KernelError."""
        if self._family is Family.IPV4 and facts.nodeports.loopback and self._sysctls.read(NAME) == 0:
            self._sysctls.write(Sysctl(NAME, 1))
            self._is_ours = True

    def restore(self) -> None:
        """Close it again, if it was us who opened it."""
        if self._is_ours:
            self._sysctls.write(Sysctl(NAME, 0))
            self._is_ours = False

# SPDX-License-Identifier: Apache-2.0
"""NodePorts on 127.0.0.1: the kernel routes a packet from there to an endpoint only if it is told that it may."""

import logging
from typing import Final

from kproxy.kernel.sysctl import Sysctl, Sysctls
from kproxy.table.errors import KernelError
from kproxy.table.node import FamilyFacts
from kproxy.table.terms import Family

log: Final = logging.getLogger(__name__)
NAME: Final = "net.ipv4.conf.all.route_localnet"


class Localnet:
    """The setting that opens 127.0.0.0/8, and whether it was us who changed it. There is none for IPv6."""

    def __init__(self, family: Family, sysctls: Sysctls | None = None) -> None:
        self._family = family
        self._sysctls = sysctls or Sysctls()
        self._is_ours = False
        self._is_told = False

    def open_for(self, facts: FamilyFacts) -> None:
        """Open it if NodePorts are served there. Where that may not be done all else is served nevertheless."""
        if self._family is not Family.IPV4 or not facts.nodeports.loopback or self._is_told:
            return
        try:
            if self._sysctls.read(NAME) == 0:
                self._sysctls.write(Sysctl(NAME, 1))
                self._is_ours = True
        except KernelError as error:
            log.warning("NodePorts will not answer on 127.0.0.1: %s", error)
            self._is_told = True

    def restore(self) -> None:
        """Close it again, if it was us who opened it."""
        if self._is_ours:
            self._sysctls.write(Sysctl(NAME, 0))
            self._is_ours = False

# SPDX-License-Identifier: Apache-2.0
"""IPVS without a kernel: the door's methods, with the kernel's errors, over a dictionary."""

import errno
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from kproxy.kernel.ipvs import Failure, Timeouts
from kproxy.kernel.ipvs_values import Command, Held, HeldReal, Operation, RealServer, ServerKey
from kproxy.kernel.nfnl import NetlinkRefused
from kproxy.table.errors import KernelError, Unsupported
from kproxy.table.terms import Family

SCHEDULERS: Final = frozenset(["rr", "wrr", "lc", "wlc", "sh", "dh", "mh", "sed", "nq", "lblc", "lblcr", "fo", "ovf"])


class MemoryIpvs:
    """Hand the same one to a second dataplane: that is a restart. ``applied`` keeps every operation it was given."""

    def __init__(self, schedulers: frozenset[str] = SCHEDULERS) -> None:
        self.held: dict[ServerKey, Held] = {}
        self.applied: list[Operation] = []
        self.schedulers = schedulers
        self._timeouts = Timeouts(900, 120, 300)

    def dump(self, family: Family | None = None) -> Mapping[ServerKey, Held]:
        """Return every virtual server with its real servers."""
        return {key: held for key, held in self.held.items() if family in (None, key.family)}

    def servers(self, family: Family | None = None) -> Mapping[ServerKey, Held]:
        """Return every virtual server without its real servers."""
        return {key: msgspec.structs.replace(held, reals=()) for key, held in self.dump(family).items()}

    def reals(self, key: ServerKey) -> Sequence[HeldReal]:
        """Return the real servers of one virtual server."""
        return self.held[key].reals if key in self.held else ()

    def apply(self, operations: Sequence[Operation]) -> Sequence[Failure]:
        """Carry out operations in order; what fails is told and does not stop those behind it."""
        failures = []
        for index, operation in enumerate(operations):
            self.applied.append(operation)
            error = self._carry_out(operation)
            if isinstance(error, int):
                error = NetlinkRefused(f"ipvsadm {operation}: {errno.errorcode[error]}", error)
            if error is not None:
                failures.append(Failure(index, operation, error))
        return failures

    def timeouts(self) -> Timeouts:
        """Return the time-outs."""
        return self._timeouts

    def set_timeouts(self, timeouts: Timeouts) -> None:
        """Change the time-outs; 0 leaves what is."""
        old = self._timeouts
        self._timeouts = Timeouts(timeouts.tcp or old.tcp, timeouts.tcp_fin or old.tcp_fin, timeouts.udp or old.udp)

    def probe(self, schedulers: Sequence[str] = ()) -> None:
        """Raise Unsupported for a scheduler that is not there."""
        for scheduler in schedulers:
            if scheduler not in self.schedulers:
                raise Unsupported(f"the kernel has no IPVS scheduler {scheduler}: modprobe ip_vs_{scheduler}")

    def connections(self, key: ServerKey, address: str, port: int, *, active: int = 0, inactive: int = 0) -> None:
        """Let connections depend on a real server."""
        self.held[key] = msgspec.structs.replace(
            self.held[key],
            reals=tuple(
                msgspec.structs.replace(real, active=active, inactive=inactive)
                if _place(real.server) == (address, port)
                else real
                for real in self.held[key].reals
            ),
        )

    def _carry_out(self, operation: Operation) -> KernelError | int | None:
        command, key, server = operation.command, operation.key, operation.server
        held = self.held.get(key)
        if held is None and command is not Command.ADD_SERVER:
            return errno.ESRCH
        if server is not None and server.scheduler not in self.schedulers:
            return Unsupported(f"the kernel has no IPVS scheduler {server.scheduler}")
        match command, held, server:
            case Command.ADD_SERVER, None, server if server is not None:
                self.held[key] = Held(server)
            case Command.ADD_SERVER, _, _:
                return errno.EEXIST
            case Command.SET_SERVER, held, server if held is not None and server is not None:
                self.held[key] = msgspec.structs.replace(held, server=server)
            case Command.DELETE_SERVER, _, _:
                del self.held[key]
            case _, held, _ if held is not None and operation.real is not None:
                return self._change_real(command, held, operation.real)
        return None

    def _change_real(self, command: Command, held: Held, real: RealServer) -> int | None:
        reals = {_place(each.server): each for each in held.reals}
        old = reals.get(_place(real))
        if command is Command.ADD_REAL:
            if old is not None:
                return errno.EEXIST
            reals[_place(real)] = HeldReal(real)
        elif old is None:
            return errno.ENOENT
        elif command is Command.SET_REAL:
            reals[_place(real)] = msgspec.structs.replace(old, server=real)
        else:
            del reals[_place(real)]
        self.held[held.server.key] = msgspec.structs.replace(held, reals=tuple(reals.values()))
        return None


def _place(real: RealServer) -> tuple[str, int]:
    return (real.address, real.port)

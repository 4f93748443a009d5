# SPDX-License-Identifier: Apache-2.0
"""What IPVS holds and how it is changed, as plain values; ``str()`` of each is ``ipvsadm``'s own word for it."""

import enum
from typing import Final

import msgspec

from kproxy.table.addresses import family_of, join_port
from kproxy.table.terms import Family, Protocol

_OPTIONS: Final = {Protocol.TCP: "-t", Protocol.UDP: "-u", Protocol.SCTP: "--sctp-service"}
LONGEST_PREFIX: Final = {Family.IPV4: 32, Family.IPV6: 128}


class Forwarding(enum.IntEnum):
    """How a packet gets to a real server. kproxy uses MASQUERADE: the others keep the port that was dialled.

    LOCAL leads nowhere else: the packet goes on to this node as if there were no IPVS.
    """

    MASQUERADE = 0
    LOCAL = 1
    TUNNEL = 2
    ROUTE = 3
    BYPASS = 4


class Command(enum.IntEnum):
    """What an operation does, by the kernel's numbers."""

    ADD_SERVER = 1
    SET_SERVER = 2
    DELETE_SERVER = 3
    ADD_REAL = 5
    SET_REAL = 6
    DELETE_REAL = 7


class ServerKey(msgspec.Struct, frozen=True):
    """The packets a virtual server takes: those to an address and port, or those with a mark (then no protocol)."""

    family: Family
    protocol: Protocol | None = None
    address: str = ""
    port: int = 0
    mark: int = 0

    @classmethod
    def at(cls, protocol: Protocol, address: str, port: int) -> "ServerKey":
        """Return the key of a server by canonical address and port."""
        return cls(family_of(address), protocol, address, port)

    @classmethod
    def marked(cls, family: Family, mark: int) -> "ServerKey":
        """Return the key of a server by mark: it takes packets of every protocol."""
        return cls(family, mark=mark)

    def __str__(self) -> str:
        """Return ``-t 10.96.0.1:80`` or ``-f 16385 -6``."""
        if self.protocol is None:
            return f"-f {self.mark}{' -6' if self.family is Family.IPV6 else ''}"
        return f"{_OPTIONS[self.protocol]} {join_port(self.address, self.port)}"


class VirtualServer(msgspec.Struct, frozen=True):
    """A virtual server.

    ``persistence``: for how many seconds at least a client keeps its real server; 0: not at all. ``prefix``: clients with
    so many leading bits in common count as one; 0: every address for itself. ``scheduler_flags``: bits 1, 2 and 4, whose
    meaning is the scheduler's (``sh``, ``mh``: 1 falls back from a server of weight 0, 2 looks at the client's port too).
    """

    key: ServerKey
    scheduler: str = "rr"
    persistence: int = 0
    prefix: int = 0
    one_packet: bool = False
    scheduler_flags: int = 0
    engine: str = ""  # of persistence: "sip" or none

    def __str__(self) -> str:
        """Return ``-t 10.96.0.1:80 -s rr -p 10800``."""
        words = [str(self.key), "-s", self.scheduler]
        if self.persistence:
            words += ["-p", str(self.persistence)]
            if self.prefix:
                words += ["-M", _mask(self.key.family, self.prefix)]
        if self.one_packet:
            words.append("-o")
        if self.scheduler_flags:
            words += ["-b", ",".join(f"flag-{bit + 1}" for bit in range(3) if self.scheduler_flags >> bit & 1)]
        if self.engine:
            words += ["--pe", self.engine]
        return " ".join(words)


class RealServer(msgspec.Struct, frozen=True):
    """A real server. Weight 0: no new connections. ``upper`` and ``lower`` bound its connections; 0: no bound."""

    address: str
    port: int
    weight: int = 1
    forwarding: Forwarding = Forwarding.MASQUERADE
    upper: int = 0
    lower: int = 0

    def __str__(self) -> str:
        """Return ``-r 10.1.0.2:8080 -m -w 1``."""
        method = {Forwarding.TUNNEL: "-i", Forwarding.ROUTE: "-g", Forwarding.LOCAL: "-g"}.get(self.forwarding, "-m")
        words = ["-r", join_port(self.address, self.port), method, "-w", str(self.weight)]
        if self.upper:
            words += ["-x", str(self.upper), "-y", str(self.lower)]
        return " ".join(words)


class Statistics(msgspec.Struct, frozen=True):
    """What has passed, since the server was made; 64 bits wide."""

    connections: int = 0
    packets_in: int = 0
    packets_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class HeldReal(msgspec.Struct, frozen=True):
    """A real server as the kernel holds it, with the connections that depend on it."""

    server: RealServer
    active: int = 0  # established
    inactive: int = 0  # all others in the table, those that wait for their end included
    persistent: int = 0  # templates
    statistics: Statistics = Statistics()


class Held(msgspec.Struct, frozen=True):
    """A virtual server as the kernel holds it."""

    server: VirtualServer
    reals: tuple[HeldReal, ...] = ()
    statistics: Statistics = Statistics()


class Operation(msgspec.Struct, frozen=True):
    """One change. Adding a server needs ``server``; changes of real servers need ``real`` (deleting: its address)."""

    command: Command
    key: ServerKey
    server: VirtualServer | None = None
    real: RealServer | None = None

    @classmethod
    def add_server(cls, server: VirtualServer) -> "Operation":
        """Add a virtual server: EEXIST where there is one."""
        return cls(Command.ADD_SERVER, server.key, server)

    @classmethod
    def set_server(cls, server: VirtualServer) -> "Operation":
        """Change a virtual server in place; its real servers and connections stay."""
        return cls(Command.SET_SERVER, server.key, server)

    @classmethod
    def delete_server(cls, key: ServerKey) -> "Operation":
        """Delete a virtual server with its real servers: ESRCH where there is none."""
        return cls(Command.DELETE_SERVER, key)

    @classmethod
    def add_real(cls, key: ServerKey, real: RealServer) -> "Operation":
        """Add a real server: EEXIST where there is one, ESRCH without the virtual server."""
        return cls(Command.ADD_REAL, key, real=real)

    @classmethod
    def set_real(cls, key: ServerKey, real: RealServer) -> "Operation":
        """Change a real server in place: ENOENT where there is none."""
        return cls(Command.SET_REAL, key, real=real)

    @classmethod
    def delete_real(cls, key: ServerKey, real: RealServer) -> "Operation":
        """Delete a real server: ENOENT where there is none."""
        return cls(Command.DELETE_REAL, key, real=real)

    def __str__(self) -> str:
        """Return the line ``ipvsadm -R`` takes."""
        letter = _LETTERS[self.command]
        if self.real is None:
            return f"{letter} {self.server if self.server is not None else self.key}"
        if self.command is Command.DELETE_REAL:
            return f"{letter} {self.key} -r {join_port(self.real.address, self.real.port)}"
        return f"{letter} {self.key} {self.real}"


_LETTERS: Final = {
    Command.ADD_SERVER: "-A",
    Command.SET_SERVER: "-E",
    Command.DELETE_SERVER: "-D",
    Command.ADD_REAL: "-a",
    Command.SET_REAL: "-e",
    Command.DELETE_REAL: "-d",
}


def _mask(family: Family, prefix: int) -> str:
    """Return a prefix length as ``-M`` wants it: dotted for IPv4, a number for IPv6."""
    if family is Family.IPV6:
        return str(prefix)
    bits = (1 << 32) - (1 << 32 - prefix)
    return ".".join(str(octet) for octet in bits.to_bytes(4, "big"))

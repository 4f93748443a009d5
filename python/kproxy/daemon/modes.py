# SPDX-License-Identifier: Apache-2.0
"""Which dataplanes serve a mode, and which mode serves where none is configured.

A mode is made of *parts*: dataplanes that are opened together, one or more a family. Most modes are one part. Two modes that
share a part keep it over a switch from one to the other, so no two parts share a name in the kernel. The modules of a part
are loaded when it is opened: nobody pays for a mode that is not used.
"""

import contextlib
import enum
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from kproxy.config.addresses import by_family
from kproxy.config.durations import Duration
from kproxy.config.effective import Effective, effective
from kproxy.config.loading import Start, complete
from kproxy.config.node_ports import node_port_ranges
from kproxy.config.schema import Relay
from kproxy.dataplanes.contract import Dataplane
from kproxy.table.errors import Unsupported
from kproxy.table.terms import Family, Mode

if TYPE_CHECKING:
    from kproxy.dataplanes.ipvs.layout import Options as IpvsOptions


class Part(enum.StrEnum):
    """What is opened together."""

    NFTABLES = "nftables"
    IPTABLES = "iptables"
    IPVS = "ipvs"
    USERSPACE = "userspace"
    LOOPBACK = "loopback NodePorts"  # a relay beside a mode that cannot serve them


Opener: TypeAlias = Callable[[Effective, Sequence[Family], int | None], list[Dataplane]]


def _nftables(settings: Effective, families: Sequence[Family], _inherit: int | None) -> list[Dataplane]:
    from kproxy.dataplanes.nftables.dataplane import NftablesDataplane  # noqa: PLC0415 - only where it is used

    bit, count_bytes = settings.masquerade_bit, settings.count_bytes
    return [NftablesDataplane(family, masquerade_bit=bit, count_bytes=count_bytes) for family in families]


def _iptables(settings: Effective, families: Sequence[Family], _inherit: int | None) -> list[Dataplane]:
    from kproxy.dataplanes.iptables.dataplane import IptablesDataplane  # noqa: PLC0415 - only where it is used

    return [IptablesDataplane(family, masquerade_bit=settings.masquerade_bit) for family in families]


def _userspace(settings: Effective, families: Sequence[Family], inherit: int | None) -> list[Dataplane]:
    from kproxy.dataplanes.userspace.layout import Options  # noqa: PLC0415 - only where it is used
    from kproxy.dataplanes.userspace.opening import open_userspace  # noqa: PLC0415 - same

    relay = settings.relay
    options = Options(
        ports=(relay.all_port, relay.local_port),
        workers=relay.workers,
        keep_source=relay.keep_source,
        **_relay_options(relay),
    )
    return list(open_userspace(families, options, inherit=inherit))


def _loopback(settings: Effective, families: Sequence[Family], inherit: int | None) -> list[Dataplane]:
    from kproxy.dataplanes.userspace.layout import LOOPBACK_ONLY  # noqa: PLC0415 - only where it is used
    from kproxy.dataplanes.userspace.opening import open_userspace  # noqa: PLC0415 - same

    options = msgspec.structs.replace(LOOPBACK_ONLY, **_relay_options(settings.relay))
    return list(open_userspace(families, options, inherit=inherit))


def _relay_options(relay: Relay) -> dict[str, Any]:
    """Return what holds for any relay: marks and time-outs. A time-out of 0 is none."""
    times = {name: value.seconds for name, value in msgspec.structs.asdict(relay).items() if isinstance(value, Duration)}
    retirement = times.pop("leave_timeout")
    wishes = {name: seconds for name, seconds in times.items() if seconds}
    wishes |= {"attempts": relay.attempts, "max_connections": relay.max_connections}
    return {"take": 1 << relay.take_bit, "own": 1 << relay.own_bit, "retirement": retirement, "wishes": wishes}


def _ipvs(settings: Effective, families: Sequence[Family], _inherit: int | None) -> list[Dataplane]:
    from kproxy.dataplanes.ipvs.dataplane import IpvsDataplane  # noqa: PLC0415 - only where it is used

    options = ipvs_options(settings)
    return [IpvsDataplane(family, options) for family in families]


def ipvs_options(settings: Effective) -> "IpvsOptions":
    """Return what mode ipvs is told of the configuration."""
    from kproxy.dataplanes.ipvs.layout import Options  # noqa: PLC0415 - only where it is used

    section = settings.ipvs
    return Options(
        scheduler=section.scheduler or "rr",
        exclude=tuple(itertools.chain(*by_family(section.exclude_cidrs).values())),
        strict_arp=section.strict_arp,
        tcp_timeout=math.ceil(section.tcp_timeout.seconds),
        tcp_fin_timeout=math.ceil(section.tcp_fin_timeout.seconds),
        udp_timeout=math.ceil(section.udp_timeout.seconds),
        masquerade_bit=settings.masquerade_bit,
    )


OPENERS: Final[Mapping[Part, Opener]] = {
    Part.NFTABLES: _nftables,
    Part.IPTABLES: _iptables,
    Part.IPVS: _ipvs,
    Part.USERSPACE: _userspace,
    Part.LOOPBACK: _loopback,
}
MODES: Final[Mapping[Mode, tuple[Part, ...]]] = {
    Mode.NFTABLES: (Part.NFTABLES, Part.LOOPBACK),
    Mode.IPTABLES: (Part.IPTABLES,),
    Mode.IPVS: (Part.IPVS, Part.LOOPBACK),
    Mode.USERSPACE: (Part.USERSPACE,),
}


def parts_of(settings: Effective) -> tuple[Part, ...]:
    """Return the parts that serve with these settings. Raises Unsupported for a mode that is not built.

    Whether a part is wanted is decided here alone; asked to open one, ``open_part`` does.
    """
    if settings.mode not in MODES:
        built = " or ".join(MODES)
        raise Unsupported(f"mode {settings.mode} is not built into this kproxy yet: set mode (--proxy-mode) to {built}")
    wanted = MODES[settings.mode]
    return wanted if _asks_for_loopback(settings) else tuple(part for part in wanted if part is not Part.LOOPBACK)


def _asks_for_loopback(settings: Effective) -> bool:
    """Tell whether NodePorts are to be served on loopback addresses."""
    ranges = node_port_ranges(settings.node_port_addresses, {})
    return settings.localhost_node_ports and any(ranges[family].names_loopback(family) for family in Family)


def open_part(part: Part, settings: Effective, families: Iterable[Family], *, inherit: int | None = None) -> list[Dataplane]:
    """Open the dataplanes of one part. ``inherit``: a Unix socket on which another process sends its relay's sockets."""
    return OPENERS[part](settings, tuple(families), inherit)


def open_dataplanes(settings: Effective, families: Iterable[Family]) -> list[Dataplane]:
    """Open all dataplanes of a mode. Raises Unsupported for a mode that is not built."""
    families = tuple(families)
    return [dataplane for part in parts_of(settings) for dataplane in open_part(part, settings, families)]


@contextlib.contextmanager
def opened(dataplanes: Sequence[Dataplane]) -> Iterator[Sequence[Dataplane]]:
    """Close dataplanes at the end of a block."""
    try:
        yield dataplanes
    finally:
        for dataplane in dataplanes:
            dataplane.close()


def probe(settings: Effective, families: Iterable[Family]) -> None:
    """See whether a mode can serve here; nothing is changed. Raises KernelError with the mend when it cannot."""
    with opened(open_dataplanes(settings, families)) as dataplanes:
        for dataplane in dataplanes:
            dataplane.probe()


DEFAULTED: Final = "mode is not configured, so nftables is used, which works here: set mode to make the choice explicit. "
PRIMARY_ONLY: Final = (
    "In nftables mode NodePorts answer on the node's primary addresses only, where kube-proxy's iptables mode answers on "
    "every address and on 127.0.0.1: set nodePortAddresses to choose others"
)
AS_NAMED: Final = (
    "NodePorts answer on the addresses that nodePortAddresses names: in nftables mode on 127.0.0.1 only if it is named, as "
    "localhost or 127.0.0.0/8, where kube-proxy's iptables mode answers whenever a range covers it"
)


def choose_mode(start: Start, families: Sequence[Family]) -> tuple[Start, str]:
    """Complete the start for this machine. Returns with it a sentence on a mode that nobody chose, else nothing.

    Raises KernelError when the mode that is to serve cannot, with the mend.
    """
    completed = complete(start, nftables_works=True)
    try:
        probe(effective(completed.config), families)
    except Unsupported as error:
        if start.config.mode:
            raise
        return _instead(start, families, error)
    if start.config.mode:
        return completed, ""
    return completed, DEFAULTED + (AS_NAMED if start.config.node_port_addresses else PRIMARY_ONLY)


def _instead(start: Start, families: Sequence[Family], why: Unsupported) -> tuple[Start, str]:
    """Choose iptables, where nobody chose and nftables does not work."""
    completed = complete(start, nftables_works=False)
    try:
        probe(effective(completed.config), families)
    except Unsupported as error:
        raise Unsupported(
            f"mode is not configured; nftables does not work here ({why}), and neither does iptables, which is used then "
            f"({error}): mend one of them"
        ) from why
    return completed, (
        f"mode is not configured, and nftables does not work here ({why}), so iptables is used: set mode to make the choice "
        "explicit"
    )

# SPDX-License-Identifier: Apache-2.0
"""Which dataplane serves a mode, and which mode serves where none is configured."""

from collections.abc import Iterable
from typing import Final

from kproxy.config.effective import Effective
from kproxy.config.loading import Start, complete
from kproxy.dataplanes.contract import Committed, Dataplane
from kproxy.dataplanes.nftables.committed import Committed as NftCommitted
from kproxy.dataplanes.nftables.dataplane import NftablesDataplane
from kproxy.table.errors import Unsupported
from kproxy.table.terms import Family, Mode

BUILT: Final = (Mode.NFTABLES,)
DEFAULTED: Final = "mode is not configured, so nftables is used, which works here: set mode to make the choice explicit. "
PRIMARY_ONLY: Final = (
    "In nftables mode NodePorts answer on the node's primary addresses only, where kube-proxy's iptables mode answers on "
    "every address and on 127.0.0.1: set nodePortAddresses to choose others"
)
AS_NAMED: Final = (
    "NodePorts answer on the addresses that nodePortAddresses names, but in nftables mode never on 127.0.0.1, where "
    "kube-proxy's iptables mode answers too"
)


def open_dataplanes(settings: Effective, families: Iterable[Family], *, count_bytes: bool = False) -> list[Dataplane]:
    """Open a dataplane for each family. Raises Unsupported for a mode that is not built."""
    if settings.mode not in BUILT:
        raise Unsupported(
            f"mode {settings.mode} is not built into this kproxy yet: set mode (--proxy-mode) to {' or '.join(BUILT)}"
        )
    return [
        NftablesDataplane(family, masquerade_bit=settings.masquerade_bit, count_bytes=count_bytes) for family in families
    ]


def nothing_committed() -> Committed:
    """Return what a kernel holds that has never met us."""
    return NftCommitted()


def choose_mode(start: Start, families: Iterable[Family]) -> tuple[Start, str]:
    """Complete the start for this machine. Returns with it a sentence on a mode that nobody chose, else nothing.

    Raises KernelError when the mode that is to serve cannot, with the mend.
    """
    configured = start.config.mode
    if configured not in ("", Mode.NFTABLES):
        return complete(start, nftables_works=True), ""
    try:
        for family in families:
            dataplane = NftablesDataplane(family)
            try:
                dataplane.probe()
            finally:
                dataplane.close()
    except Unsupported as error:
        if configured:
            raise
        raise Unsupported(
            f"mode is not configured; nftables does not work here ({error}), and mode iptables, which would be used then, "
            "is not built into this kproxy yet: mend the former"
        ) from error
    note = DEFAULTED + (AS_NAMED if start.config.node_port_addresses else PRIMARY_ONLY)
    return complete(start, nftables_works=True), "" if configured else note

# SPDX-License-Identifier: Apache-2.0
"""Put a table into the kernel through a mode's real dataplanes and take it out again."""

import contextlib
import subprocess
from collections.abc import Iterator
from typing import Final

from kproxy._core import NftSocket
from kproxy.daemon import modes
from kproxy.dataplanes.contract import Applied, Dataplane
from kproxy.dataplanes.iptables.kind import kind_here
from kproxy.kernel.xtables import Kind, Xtables
from kproxy.routing.diff import changes_from_nothing
from kproxy.routing.settings import Settings
from kproxy.table.errors import KernelError
from kproxy.table.routing_table import Changes, RoutingTable
from kproxy.table.terms import Family, Mode

BYSTANDER: Final = (
    "table inet bystander {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n\t}\n}\n"
)
IPTABLES_BYSTANDER: Final = "".join(
    "\n".join(
        [
            f"*{table}",
            ":BYSTANDER - [0:0]",
            "-A BYSTANDER -p tcp -m tcp --dport 1 -j RETURN",
            *(f"-A {chain} -j BYSTANDER" for chain in chains),
            "COMMIT",
            "",
        ]
    )
    for table, chains in (
        ("filter", ("INPUT", "FORWARD", "OUTPUT")),
        ("nat", ("PREROUTING", "OUTPUT", "POSTROUTING")),
    )
)


def open_dataplanes(settings: Settings) -> list[Dataplane]:
    """Open a mode's dataplanes as the daemon would. Raises Unsupported for a mode that does not exist yet."""
    return modes.open_dataplanes(settings, Family)


def apply(plane: Dataplane, changes: Changes) -> None:
    """Commit changes onto what the kernel holds now. Raises KernelError when the kernel refuses."""
    answer = plane.commit(plane.compile(plane.read_back(), changes))
    if not isinstance(answer, Applied):
        raise KernelError(f"the kernel refused the table: {answer.words} ({', '.join(map(str, answer.blame))})")
    plane.settle()
    differences = plane.verify(answer.committed, changes.after)
    if differences:
        raise KernelError(f"verify finds after the commit: {differences[0].what}")


def restart_is_silent(settings: Settings, table: RoutingTable) -> None:
    """Hold second dataplanes, which know nothing, to law 5: they read back, and nothing reaches the kernel.

    Rules have a generation, which every change raises. A relay of theirs, which is new as they are, they do have to fill.
    """
    socket = NftSocket()
    generation = socket.generation()
    for plane in open_dataplanes(settings):
        try:
            transaction = plane.compile(plane.read_back(), changes_from_nothing(table))
            apply(plane, changes_from_nothing(table))
            if socket.generation() != generation:
                raise KernelError(f"a restart changes the kernel though nothing has changed: {transaction}")
        finally:
            plane.close()


def stand_by(mode: Mode) -> None:
    """Put somebody else's rules beside ours; where ours go to iptables, there too."""
    subprocess.run(["nft", "-f", "-"], input=BYSTANDER, text=True, check=True, capture_output=True)
    if mode is Mode.IPTABLES:
        for family in Family:
            Xtables(family, kind_here()).restore(IPTABLES_BYSTANDER)


def ruleset() -> str:
    """Return all of the namespace's nftables and legacy iptables as text, without what they have counted."""
    text = subprocess.run(["nft", "-s", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    for family in Family:
        for name, table in Xtables(family, Kind.LEGACY).save().items():
            text += f"{family} {name} {table}\n"
    return text


@contextlib.contextmanager
def programmed(settings: Settings, table: RoutingTable) -> Iterator[list[Dataplane]]:
    """Have a table in force for the length of a block; afterwards nothing of ours is left and what is not ours is untouched.

    Somebody else's table stands by all the time.
    """
    stand_by(settings.mode)
    before = ruleset()
    planes = open_dataplanes(settings)
    try:
        for plane in planes:
            plane.probe()
            apply(plane, changes_from_nothing(table))
        yield planes
        for plane in planes:
            plane.settle()
            plane.remove()
        if ruleset() != before:
            raise KernelError(f"after remove() the kernel holds more or less than what is not ours:\n{ruleset()}")
    finally:
        for plane in planes:
            plane.close()

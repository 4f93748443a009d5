# SPDX-License-Identifier: Apache-2.0
"""Put a table into the kernel through a mode's real dataplanes, one a family, and take it out again."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from kproxy.dataplanes.contract import Applied, Dataplane
from kproxy.dataplanes.nftables.dataplane import NftablesDataplane
from kproxy.table.errors import KernelError
from kproxy.table.routing_table import Changes, RouteChange, RoutingTable
from kproxy.table.terms import Family, Mode

BUILT: Final[Mapping[Mode, Callable[[Family], Dataplane]]] = {Mode.NFTABLES: NftablesDataplane}
BYSTANDER: Final = (
    "table inet bystander {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n\t}\n}\n"
)


def from_nothing(table: RoutingTable) -> Changes:
    """Return the changes that lead to a table when nothing is known of what the kernel holds."""
    return Changes(
        before=None, after=table, routes=tuple(RouteChange(route.key, None, route) for route in table.routes()), node=True
    )


def apply(plane: Dataplane, changes: Changes) -> None:
    """Commit changes onto what the kernel holds now. Raises KernelError when the kernel refuses."""
    answer = plane.commit(plane.compile(plane.read_back(), changes))
    if not isinstance(answer, Applied):
        raise KernelError(f"the kernel refused the table: {answer.words} ({', '.join(map(str, answer.blame))})")
    differences = plane.verify(answer.committed, changes.after)
    if differences:
        raise KernelError(f"verify finds after the commit: {differences[0].what}")


def restart_is_silent(mode: Mode, table: RoutingTable) -> None:
    """Hold a second dataplane, which knows nothing, to law 5: it reads back, and has nothing to send."""
    for family in Family:
        plane = BUILT[mode](family)
        try:
            transaction = plane.compile(plane.read_back(), from_nothing(table))
            if transaction.operations:
                raise KernelError(f"a restart would change the kernel though nothing has changed: {transaction}")
        finally:
            plane.close()


def ruleset() -> str:
    """Return all of the namespace's nftables as text."""
    return subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout


@contextlib.contextmanager
def programmed(mode: Mode, table: RoutingTable) -> Iterator[list[Dataplane]]:
    """Have a table in force for the length of a block; afterwards nothing of ours is left and what is not ours is untouched.

    Somebody else's table stands by all the time.
    """
    subprocess.run(["nft", "-f", "-"], input=BYSTANDER, text=True, check=True, capture_output=True)
    planes = [BUILT[mode](family) for family in Family]
    try:
        for plane in planes:
            plane.probe()
            apply(plane, from_nothing(table))
        yield planes
        for plane in planes:
            plane.settle()
            plane.remove()
        if ruleset() != BYSTANDER:
            raise KernelError(f"after remove() the kernel holds more or less than what is not ours:\n{ruleset()}")
    finally:
        for plane in planes:
            plane.close()

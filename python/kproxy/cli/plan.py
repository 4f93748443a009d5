# SPDX-License-Identifier: Apache-2.0
"""``kproxy plan``: the transaction that would be sent, as the mode's own tool reads it. Nothing is changed."""

import argparse
import sys
from collections.abc import Sequence

from kproxy.cli.offline import resolve
from kproxy.config.loading import load
from kproxy.daemon.modes import choose_mode, open_dataplanes, opened
from kproxy.daemon.process import families
from kproxy.table.routing_table import Changes, RouteChange, RoutingTable
from kproxy.table.terms import Family


def main(arguments: Sequence[str]) -> int:
    """Print the plan of each family; the exit code is 0 whether or not there is something to do."""
    parser = argparse.ArgumentParser(
        prog="kproxy plan",
        description="Read Services as the daemon would, compare them with what the kernel holds, and print the transaction "
        "that would be sent (nft -f reads it). Takes every flag of the daemon, among them --manifests DIR and --kubeconfig.",
        epilog="example: kproxy plan --manifests examples/ --from-scratch",
    )
    parser.add_argument("--from-scratch", action="store_true", help="as if the kernel held nothing of ours")
    parser.add_argument("--family", choices=[*Family], action="append", help="only this family; may be repeated")
    given, flags = parser.parse_known_args(arguments)
    own = tuple(map(Family, given.family)) if given.family else families()
    start = load(flags)
    start, note = choose_mode(start, own)
    if note:
        print(f"# {note}")
    router = resolve(start)
    with opened(open_dataplanes(router.settings, own)) as dataplanes:
        for dataplane in dataplanes:
            committed = dataplane.empty() if given.from_scratch else dataplane.read_back()
            transaction = dataplane.compile(committed, changes_from_nothing(router.table, dataplane.family))
            print(f"# {dataplane.mode} {dataplane.family}: {transaction.operations} operations")
            sys.stdout.write(str(transaction))
    return 0


def changes_from_nothing(table: RoutingTable, family: Family) -> Changes:
    """Return the changes of a start: every route is named, nothing is taken for granted."""
    return Changes(None, table, tuple(RouteChange(route.key, None, route) for route in table.routes(family)), node=True)

# SPDX-License-Identifier: Apache-2.0
"""``kproxy cleanup``, the same as ``--cleanup``: our rules and kube-proxy's leftovers go, nobody else's."""

import argparse
import sys
from collections.abc import Sequence

from kproxy.config.effective import Effective
from kproxy.daemon.modes import OPENERS, Part, open_part, opened
from kproxy.dataplanes import upstream
from kproxy.dataplanes.contract import Dataplane
from kproxy.table.errors import KernelError
from kproxy.table.terms import Family, Mode


def main(arguments: Sequence[str]) -> int:
    """Read the arguments and clean."""
    parser = argparse.ArgumentParser(
        prog="kproxy cleanup",
        description="Remove kproxy's own rules and what kube-proxy left in nftables, iptables, IPVS and ipset. "
        "Rules of anybody else stay. May be repeated; a running kproxy puts its rules back within two seconds.",
    )
    parser.parse_args(arguments)
    return clean()


def clean() -> int:
    """Take everything out and say what was done; 1 when something is left."""
    errors: list[KernelError] = []
    for part in OPENERS:
        with opened(open_part(part, Effective(mode=Mode.NFTABLES), Family)) as dataplanes:
            errors += _remove(part, dataplanes)
    removal = upstream.remove()
    for words in removal.done:
        print(words)
    for words in removal.kept:
        print(f"left alone: {words}")
    errors += removal.errors
    for failure in errors:
        print(f"kproxy cleanup: {failure}", file=sys.stderr)
    return 1 if errors else 0


def _remove(part: Part, dataplanes: Sequence[Dataplane]) -> list[KernelError]:
    errors = []
    for dataplane in dataplanes:
        try:
            dataplane.remove()
        except KernelError as error:
            errors.append(error)
        else:
            print(f"{part} {dataplane.family}: no rule of kproxy is left")
    return errors

# SPDX-License-Identifier: Apache-2.0
"""``kproxy lab``: a small cluster in network namespaces."""

import argparse
import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kproxy.lab.demo import demo, up
from kproxy.table.errors import KproxyError, PermissionDenied

EXAMPLE: Final = Path("examples/shop.yaml")


def main(arguments: Sequence[str]) -> int:
    """Run ``demo`` or ``up`` and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="kproxy lab", description="A small cluster in network namespaces. It vanishes with this process."
    )
    parser.add_argument(
        "what", choices=("demo", "up"), help="demo: dial every Service, roll one, tell. up: stay, to play with"
    )
    parser.add_argument(
        "--apply",
        type=Path,
        nargs="+",
        default=[EXAMPLE],
        metavar="FILE",
        help="manifests of Namespaces, Deployments and Services (default: %(default)s)",
    )
    parser.add_argument("--nodes", type=int, default=3, help="how many nodes (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    if os.geteuid():
        raise PermissionDenied("the lab makes network namespaces; run it as root")
    for file in chosen.apply:
        if not file.is_file():
            raise KproxyError(f"{file} is no file; name manifests with --apply FILE")
    if not 1 <= chosen.nodes <= 90:
        raise KproxyError(f"{chosen.nodes} nodes cannot be built; ask for 1 to 90")
    run = demo if chosen.what == "demo" else up
    return asyncio.run(run(chosen.apply, chosen.nodes))

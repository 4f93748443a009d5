# SPDX-License-Identifier: Apache-2.0
"""``kproxy status``: what the running daemon does, and what troubles it."""

import argparse
from collections.abc import Sequence

from kproxy.cli.asking import ask


def main(arguments: Sequence[str]) -> int:
    """Ask and print."""
    parser = argparse.ArgumentParser(
        prog="kproxy status",
        description="Show the running daemon's table: what is in force, refused, in conflict or broken.",
    )
    parser.add_argument("--output", choices=("text", "json"), default="text")
    given = parser.parse_args(arguments)
    print(ask("/status", {"output": given.output}), end="")
    return 0

# SPDX-License-Identifier: Apache-2.0
"""Which way of dialling shows what a mode does: by what is translated, or by what a relay passes on."""

from kproxy.table.terms import Mode
from tests.conformance.packets.dial import Dialler, Dials
from tests.conformance.packets.node import Node
from tests.conformance.packets.relayed import RelayedDialler


def dialler_of(mode: Mode, node: Node) -> Dials:
    """Return the way to dial a node in a mode."""
    return RelayedDialler(node) if mode is Mode.USERSPACE else Dialler(node)

# SPDX-License-Identifier: Apache-2.0
"""What the nftables tables of several modes say in the same way: which node, who is a pod, who may dial, who is refused.

A mode's ``layout`` and chains stay its own; here is what would otherwise stand in each of them.
"""

import enum
from collections.abc import Iterator
from typing import Final

import msgspec

from kproxy.kernel.nft_elements import Codec
from kproxy.table.frontend import Frontend
from kproxy.table.node import FamilyFacts, NodeFacts, PodTest
from kproxy.table.terms import Action, Family


class Facts(msgspec.Struct, frozen=True):
    """What of NodeFacts one family's rules depend on."""

    family: FamilyFacts = FamilyFacts()
    wrong_port: Action = Action.REJECT
    unallocated: Action = Action.DROP

    @classmethod
    def of(cls, node: NodeFacts, family: Family) -> "Facts":
        """Pick what counts for one family."""
        return cls(node.of(family), node.wrong_port, node.unallocated)


class Refusal(enum.StrEnum):
    """Why a packet is refused: each mode's ``Reason``, with a counter for each member."""

    @property
    def code(self) -> int:
        """The number it is counted by."""
        return list(type(self)).index(self) + 1

    @property
    def actions(self) -> tuple[str, ...]:
        """How it may be refused: the node's facts choose where there are two."""
        return _ACTIONS.get(self.value, ("reject",))


_ACTIONS: Final = {
    "wrong-port": ("reject", "drop"),
    "unallocated": ("reject", "drop"),
    "no-local-endpoints": ("drop",),
    "source-range": ("drop",),
    "missed": ("drop",),  # a look-up found nothing where there must be something
}


def refusal(match: str, action: Action, reason: Refusal) -> Iterator[str]:
    """Yield the rule that refuses what matches; none where it passes untouched."""
    if action in {Action.REJECT, Action.DROP}:
        yield f"{match} goto {action}-{reason}"


def pod_match(pods: PodTest, ip: str) -> str:
    """Return the expression that a packet of a pod on this node meets; ``ip`` is the family's word."""
    if pods.cidr:
        return f"{ip} saddr {pods.cidr}"
    return f'iifname "{pods.interface}"' if pods.interface else f'iifname "{pods.interface_prefix}*"'


def intervals(codec: Codec, frontend: Frontend) -> Iterator[tuple[bytes, bytes]]:
    """Yield first and last address of each range that may dial a guarded frontend. None overlap: the kernel refuses that."""
    sources = frontend.sources
    if sources is None:
        return
    found = [codec.interval(prefix) for prefix in sources.ranges]
    yield from found
    if sources.itself:
        address = codec.address(frontend.address)
        if not any(first <= address <= last for first, last in found):
            yield address, address

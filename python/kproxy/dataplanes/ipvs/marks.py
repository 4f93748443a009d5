# SPDX-License-Identifier: Apache-2.0
"""Marks by which IPVS knows a virtual server.

IPVS compares the whole mark, all 32 bits, so such a mark cannot leave the bits of others alone. It is made of a fixed
prefix, by which our marks are told from others', the number of a frontend, which endpoint set is meant, and how the source
is to be treated; in between, at their configured places, the bit that masquerades and the bit that takes, which is off in a
mark as the rules give it and on once a packet has been taken. The bits of a relay beside us stay off.
"""

from typing import Final

import msgspec

from kproxy.table.terms import EndpointSet

PREFIX: Final = 0b110101
_NUMBER_BITS: Final = 20
RELAY_BITS: Final = (16, 17)  # of a relay that serves loopback addresses, unless configured otherwise
_SET: Final = 1 << _NUMBER_BITS
_NODE: Final = 1 << _NUMBER_BITS + 1
_PREFIX_SHIFT: Final = _NUMBER_BITS + 2
LAST_NUMBER: Final = (1 << _NUMBER_BITS) - 1


class Mark(msgspec.Struct, frozen=True, gc=False):
    """What a mark says: a frontend's number, the set, and if the source is rewritten: always, or when it is this node's."""

    number: int
    endpoints: EndpointSet
    masquerade: bool = False
    masquerade_node: bool = False


class Marks(msgspec.Struct, frozen=True):
    """How marks are made: the places of the two bits that are ours in every mark, and of others that stay off."""

    masquerade_bit: int
    take_bit: int
    spared: tuple[int, ...] = RELAY_BITS

    @property
    def masquerade(self) -> int:
        """The bit that says: rewrite the source."""
        return 1 << self.masquerade_bit

    @property
    def take(self) -> int:
        """The bit that says: this packet is for IPVS."""
        return 1 << self.take_bit

    @property
    def node(self) -> int:
        """The bit of our marks that says: rewrite the source if it is this node's."""
        return self._spread(_NODE)

    @property
    def prefix(self) -> int:
        """What ``shape`` leaves of a mark of ours."""
        return self._spread(PREFIX << _PREFIX_SHIFT)

    @property
    def shape(self) -> int:
        """The bits by which our marks are told."""
        return self._spread(0b111111 << _PREFIX_SHIFT)

    def pack(self, mark: Mark) -> int:
        """Return the mark as a number, the bit that takes off."""
        value = PREFIX << _PREFIX_SHIFT | mark.number
        value |= _SET if mark.endpoints is EndpointSet.LOCAL else 0
        value |= _NODE if mark.masquerade_node else 0
        return self._spread(value) | (self.masquerade if mark.masquerade else 0)

    def unpack(self, value: int) -> Mark | None:
        """Read what ``pack`` made, taken or not; None: it is not ours."""
        plain = self._gather(value)
        if plain >> _PREFIX_SHIFT != PREFIX:
            return None
        which = EndpointSet.LOCAL if plain & _SET else EndpointSet.ALL
        return Mark(plain & LAST_NUMBER, which, bool(value & self.masquerade), bool(plain & _NODE))

    @property
    def _apart(self) -> list[int]:
        return sorted({self.masquerade_bit, self.take_bit, *self.spared})

    def _spread(self, value: int) -> int:
        """Make room for the bits that are told apart."""
        for bit in self._apart:
            value = value >> bit << bit + 1 | value & (1 << bit) - 1
        return value

    def _gather(self, value: int) -> int:
        for bit in reversed(self._apart):
            value = value >> bit + 1 << bit | value & (1 << bit) - 1
        return value

# SPDX-License-Identifier: Apache-2.0
"""The dispatch tree: where in the chains an address or a port stands. Pure, and knows nothing of iptables.

Places are numbers of a fixed width: addresses, ports. A *leaf* is the shortest prefix that holds few places; a *node* is a
prefix, at a multiple of four bits, that leads on to at most sixteen others. Both follow from the places alone: where a place
comes or goes, only its own leaf (perhaps split or joined) and the nodes on the way to it can differ, and a restart finds the
same tree. Nodes with a single way on are left out, so the depth follows the number of places.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

LEAF_PLACES: Final = 16
STEP: Final = 4  # bits from a node to what it leads to: at most sixteen ways


class Prefix(NamedTuple):
    """All places whose first ``length`` bits are those of ``start``."""

    start: int
    length: int


class Way(NamedTuple):
    """What a node leads to: places within ``narrow``, by the leaf or node named ``prefix``."""

    narrow: Prefix
    prefix: Prefix
    is_leaf: bool


class Tree:
    """Places of one width. Never changed once it is made: ``changed`` returns another."""

    def __init__(self, bits: int, places: list[int] | None = None) -> None:
        self.bits = bits
        self.places = places or []

    def changed(self, come: Iterable[int], gone: Iterable[int]) -> "Tree":
        """Return the tree with some places more and some fewer."""
        come, gone = set(come), set(gone)
        if len(come) + len(gone) > len(self.places) // 8:  # one sort is cheaper than that many moves
            return Tree(self.bits, sorted((set(self.places) - gone) | come))
        places = list(self.places)
        for place in gone:
            del places[bisect_left(places, place)]
        for place in come:
            insort(places, place)
        return Tree(self.bits, places)

    def prefix(self, place: int, length: int) -> Prefix:
        """Return the prefix of that length around a place."""
        rest = self.bits - length
        return Prefix(place >> rest << rest, length)

    def last(self, prefix: Prefix) -> int:
        """Return the last number of a prefix."""
        return prefix.start | ((1 << (self.bits - prefix.length)) - 1)

    def within(self, prefix: Prefix) -> list[int]:
        """Return the places a prefix holds."""
        return self.places[bisect_left(self.places, prefix.start) : bisect_right(self.places, self.last(prefix))]

    def leaf(self, place: int) -> Prefix:
        """Return the shortest prefix around a place (which need not be in the tree) that holds few enough places."""
        shortest, longest = 0, self.bits
        while shortest < longest:
            middle = (shortest + longest) // 2
            prefix = self.prefix(place, middle)
            count = bisect_right(self.places, self.last(prefix)) - bisect_left(self.places, prefix.start)
            if count <= LEAF_PLACES:
                longest = middle
            else:
                shortest = middle + 1
        return self.prefix(place, shortest)

    def leaves(self, prefix: Prefix) -> Iterator[Prefix]:
        """Yield the leaves within a prefix, in order."""
        end = self.last(prefix)
        index = bisect_left(self.places, prefix.start)
        while index < len(self.places) and self.places[index] <= end:
            leaf = self.leaf(self.places[index])
            yield leaf
            index = bisect_right(self.places, self.last(leaf))

    def ways(self, node: Prefix) -> Iterator[Way]:
        """Yield what a node leads to, in order."""
        end = self.last(node)
        index = bisect_left(self.places, node.start)
        while index < len(self.places) and self.places[index] <= end:
            place = self.places[index]
            target = self.leaf(place)
            is_leaf = target.length <= node.length + STEP
            group = target if is_leaf else self.prefix(place, node.length + STEP)
            after = bisect_right(self.places, self.last(group))
            narrow = self._common(place, self.places[after - 1])
            if not is_leaf:
                target = self.prefix(place, narrow.length // STEP * STEP)
            yield Way(narrow, target, is_leaf)
            index = after

    def nodes(self) -> Iterator[Prefix]:
        """Yield every node, the root first."""
        waiting = [ROOT]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += [way.prefix for way in self.ways(node) if not way.is_leaf]

    def path(self, place: int) -> Iterator[Prefix]:
        """Yield the nodes on the way to a place, the root first; the place need not be in the tree."""
        node: Prefix | None = ROOT
        while node is not None:
            yield node
            around = (way for way in self.ways(node) if not way.is_leaf and self._holds(way.prefix, place))
            node = next((way.prefix for way in around), None)

    def _holds(self, prefix: Prefix, place: int) -> bool:
        return prefix.start <= place <= self.last(prefix)

    def _common(self, first: int, last: int) -> Prefix:
        """Return the longest prefix that holds both."""
        return self.prefix(first, self.bits - (first ^ last).bit_length())


ROOT: Final = Prefix(0, 0)


class Affected(NamedTuple):
    """Leaves and nodes that may differ between two trees, in either of them."""

    leaves: set[Prefix]
    nodes: set[Prefix]


def affected(before: Tree, after: Tree, places: Iterable[int]) -> Affected:
    """Return what of two trees may differ if only these places came, went or changed what they hold."""
    leaves: set[Prefix] = set()
    nodes: set[Prefix] = set()
    for place in places:
        region = min(before.leaf(place), after.leaf(place), key=lambda prefix: prefix.length)
        for tree in (before, after):
            leaves.update(tree.leaves(region))
            nodes.update(tree.path(place))
    return Affected(leaves, nodes)

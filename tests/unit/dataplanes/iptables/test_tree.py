# SPDX-License-Identifier: Apache-2.0
"""The dispatch tree: complete, narrow, and the same whichever way it was reached."""

from hypothesis import given
from hypothesis import strategies as st

from kproxy.dataplanes.iptables.tree import LEAF_PLACES, ROOT, STEP, Prefix, Tree, affected

BITS = 12
places = st.sets(st.integers(0, (1 << BITS) - 1), max_size=200)


def found(tree: Tree, place: int) -> Prefix | None:
    """Walk from the root as a packet does; None: it falls through."""
    node = ROOT
    while True:
        for way in tree.ways(node):
            if tree.prefix(place, way.narrow.length) == way.narrow:
                if way.is_leaf:
                    return way.prefix
                node = way.prefix
                break
        else:
            return None


@given(places, st.integers(0, (1 << BITS) - 1))
def test_every_place_is_found_and_nothing_else_is_led_astray(held: set[int], other: int) -> None:
    """A packet comes to the leaf that holds its place; another ends in no leaf, or in one that does not hold it."""
    tree = Tree(BITS, sorted(held))
    for place in held:
        leaf = found(tree, place)
        assert leaf is not None
        assert place in tree.within(leaf)
    astray = found(tree, other)
    assert other in held or astray is None or other not in tree.within(astray)


@given(places)
def test_leaves_and_nodes_are_small(held: set[int]) -> None:
    """A leaf holds few places, a node leads few ways, and each leaf is reached by one of them."""
    tree = Tree(BITS, sorted(held))
    nodes = list(tree.nodes())
    ways = [way for node in nodes for way in tree.ways(node)]
    assert all(len(tree.within(leaf)) <= LEAF_PLACES for leaf in tree.leaves(ROOT))
    assert all(len(list(tree.ways(node))) <= 1 << STEP for node in nodes)
    assert all(len(list(tree.ways(node))) > 1 for node in nodes if node != ROOT)
    assert sorted(way.prefix for way in ways if way.is_leaf) == sorted(tree.leaves(ROOT))
    assert sorted(way.prefix for way in ways if not way.is_leaf) == sorted(node for node in nodes if node != ROOT)
    assert sum(len(tree.within(leaf)) for leaf in tree.leaves(ROOT)) == len(held)


@given(places, places, places)
def test_only_what_is_affected_differs(held: set[int], come: set[int], gone: set[int]) -> None:
    """A changed tree is the one that would have been made anew, and differs from the old one in nothing that is not told."""
    come, gone = come - held, gone & held
    before = Tree(BITS, sorted(held))
    after = before.changed(come, gone)
    assert after.places == sorted((held | come) - gone)
    told = affected(before, after, come | gone)
    for mine, other in ((before, after), (after, before)):
        shared = set(other.leaves(ROOT))
        for leaf in mine.leaves(ROOT):
            same = leaf in shared and mine.within(leaf) == other.within(leaf)
            assert same or leaf in told.leaves
        nodes = {node: list(other.ways(node)) for node in other.nodes()}
        for node in mine.nodes():
            assert nodes.get(node) == list(mine.ways(node)) or node in told.nodes


def test_ten_thousand_random_places_make_few_leaves() -> None:
    """Leaves are well filled however the places lie; the depth follows their number."""
    tree = Tree(32, sorted((0x0A600000 + (number * 2_654_435_761 % (1 << 20))) for number in range(10_000)))
    leaves = list(tree.leaves(ROOT))
    assert len(leaves) < 10_000 // 7
    assert max(len(list(tree.path(leaf.start))) for leaf in leaves) <= 4

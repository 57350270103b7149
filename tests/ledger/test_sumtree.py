"""Sum trees: every line is in the sums, and the known ways to understate them do not work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import sumtree
from ledger.errors import ProofRefused, SumsRefused
from ledger.sumtree import AMOUNT_MAX, Kind, Leaf, Node, SumTree, verify

PLAYS = Kind("plays", ("price_micro",))
WALLETS = Kind("wallets", ("opening_micro", "in_micro", "spent_micro", "closing_micro"))
OTHER = bytes(range(32))


def _leaves(kind: Kind, count: int, seed: int = 1) -> list[Leaf]:
    chance = Random(seed)
    drawn = (Leaf(chance.randbytes(32), tuple(chance.randrange(10**9) for _ in kind.amounts)) for _ in range(count))
    return sorted(drawn, key=lambda leaf: leaf.commitment)


def _defined(kind: Kind, leaves: Sequence[Leaf], first: int = 0) -> Node:
    """The root by the words of the definition."""
    tag = bytes([len(kind.tag)]) + kind.tag.encode()
    width = [8 * (1 + len(kind.amounts)), 8]
    assert leaves
    if len(leaves) == 1:
        (leaf,) = leaves
        amounts = b"".join(amount.to_bytes(width[1], "big") for amount in leaf.amounts)
        told = b"\x00" + tag + first.to_bytes(8, "big") + leaf.commitment + amounts
        return Node(1, leaf.amounts, sha256(told).digest())
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    children = _defined(kind, leaves[:half], first), _defined(kind, leaves[half:], first + half)
    told = b"\x01" + tag
    for child in children:
        told += b"".join(n.to_bytes(8, "big") for n in (child.count, *child.sums)) + child.hash
    sums = tuple(sum(leaf.amounts[n] for leaf in leaves) for n in range(len(kind.amounts)))
    return Node(len(leaves), sums, sha256(told).digest())


@pytest.mark.parametrize("kind", [PLAYS, WALLETS], ids=lambda kind: kind.tag)
@pytest.mark.parametrize("count", [*range(1, 20), 31, 32, 33, 200])
def test_a_root_is_what_the_definition_says_and_holds_each_line(kind: Kind, count: int) -> None:
    leaves = _leaves(kind, count)
    tree = SumTree(kind, leaves)
    assert tree.root == _defined(kind, leaves)
    for index, leaf in enumerate(leaves):
        verify(kind, leaf, index, tree.path(index), tree.root)


def test_the_tree_of_nothing_holds_nothing() -> None:
    root = SumTree(WALLETS, []).root
    assert (root.count, root.sums) == (0, (0, 0, 0, 0))
    with pytest.raises(ProofRefused):
        verify(WALLETS, _leaves(WALLETS, 1)[0], 0, [], root)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 13])
def test_no_line_is_proven_with_other_amounts_at_another_place_or_under_another_root(count: int) -> None:
    leaves = _leaves(WALLETS, count)
    tree = SumTree(WALLETS, leaves)
    for index, leaf in enumerate(leaves):
        path = tree.path(index)
        others: list[tuple[Leaf, int, list[Node], Node]] = [
            (leaf, other, path, tree.root) for other in range(-1, count + 1) if other != index
        ]
        for n in range(4):
            for by in (-1, 1):
                amounts = tuple(amount + by * (n == at) for at, amount in enumerate(leaf.amounts))
                others.append((replace(leaf, amounts=amounts), index, path, tree.root))
                sums = tuple(amount + by * (n == at) for at, amount in enumerate(tree.root.sums))
                others.append((leaf, index, path, replace(tree.root, sums=sums)))
        others += [
            (replace(leaf, commitment=OTHER), index, path, tree.root),
            (leaf, index, path[:-1] if path else [tree.root], tree.root),
            (leaf, index, [*path, tree.root], tree.root),
            (leaf, index, path, replace(tree.root, count=count + 1)),
            (leaf, index, path, replace(tree.root, hash=OTHER)),
        ]
        for case in others:
            with pytest.raises(ProofRefused):
                verify(WALLETS, *case)


def test_a_proof_of_one_kind_of_tree_is_none_of_another() -> None:
    leaves = _leaves(PLAYS, 5)
    tree = SumTree(PLAYS, leaves)
    with pytest.raises(ProofRefused):
        verify(Kind("grants", PLAYS.amounts), leaves[2], 2, tree.path(2), tree.root)


def test_a_sum_cannot_be_understated_for_some_by_what_is_told_to_others() -> None:
    """Maxwell's original hashes only the sum of both children: each verifier can be told another split of it."""
    leaves = _leaves(PLAYS, 4)
    tree = SumTree(PLAYS, leaves)
    for index, leaf in enumerate(leaves):
        path = tree.path(index)
        for at, sibling in enumerate(path):
            (told,) = sibling.sums
            for less in (0, told // 2, told - 1):
                forged = [*path[:at], replace(sibling, sums=(less,)), *path[at + 1 :]]
                root = replace(tree.root, sums=(tree.root.sums[0] - told + less,))
                for claimed in (tree.root, root):
                    with pytest.raises(ProofRefused):
                        verify(PLAYS, leaf, index, forged, claimed)


def test_a_subtree_cannot_stand_for_a_line_nor_a_line_for_a_subtree() -> None:
    leaves = _leaves(PLAYS, 4)
    tree = SumTree(PLAYS, leaves)
    inner = tree.path(0)[1]
    with pytest.raises(ProofRefused):
        verify(PLAYS, Leaf(inner.hash, inner.sums), 1, tree.path(0)[1:], replace(tree.root, count=2))
    with pytest.raises(ProofRefused, match="a count that the shape does not give"):
        verify(PLAYS, leaves[0], 0, [tree.path(0)[0], replace(inner, count=1)], tree.root)


@given(st.integers(2, 40), st.integers(0, 2**32))
def test_two_people_cannot_be_given_one_line(count: int, seed: int) -> None:
    leaves = _leaves(WALLETS, count, seed)
    twice = Random(seed).randrange(count - 1)
    with pytest.raises(SumsRefused, match="stands twice"):
        SumTree(WALLETS, [*leaves[:twice], leaves[twice + 1], *leaves[twice + 1 :]])
    with pytest.raises(SumsRefused, match="not in order"):
        SumTree(WALLETS, leaves[::-1])


@pytest.mark.parametrize("amounts", [(-1,), (AMOUNT_MAX + 1,), (), (1, 2), (2**64,)])
def test_amounts_that_no_line_has_are_refused(amounts: tuple[int, ...]) -> None:
    leaf = Leaf(OTHER, amounts)
    with pytest.raises(SumsRefused, match="amounts"):
        SumTree(PLAYS, [leaf])
    with pytest.raises(ProofRefused):
        verify(PLAYS, leaf, 0, [], Node(1, amounts, OTHER))


def test_what_would_not_fit_a_sum_is_refused_by_who_makes_it_and_by_who_checks_it() -> None:
    first, second = (Leaf(bytes([n]) * 32, (AMOUNT_MAX,)) for n in (1, 2))
    assert SumTree(PLAYS, [first]).root.sums == (AMOUNT_MAX,)
    with pytest.raises(SumsRefused, match="too large"):
        SumTree(PLAYS, [first, second])
    sibling = SumTree(PLAYS, [second]).root
    for sums in ((2 * AMOUNT_MAX,), (2 * AMOUNT_MAX - 2**64,), (0,)):
        with pytest.raises(ProofRefused):
            verify(PLAYS, first, 0, [sibling], Node(2, sums, OTHER))


def test_hashes_and_commitments_of_another_length_are_refused() -> None:
    leaves = _leaves(PLAYS, 2)
    tree = SumTree(PLAYS, leaves)
    short = replace(tree.path(0)[0], hash=OTHER[:31])
    for leaf, path in ((leaves[0], [short]), (replace(leaves[0], commitment=b""), tree.path(0))):
        with pytest.raises(ProofRefused):
            verify(PLAYS, leaf, 0, path, tree.root)
    with pytest.raises(SumsRefused):
        SumTree(PLAYS, [Leaf(b"short", (1,))])


def test_a_path_of_absurd_length_ends_at_once() -> None:
    node = Node(1, (0,), OTHER)
    with pytest.raises(ProofRefused):
        verify(PLAYS, Leaf(OTHER, (0,)), 0, [node] * 10_000, Node(2**62, (0,), OTHER))


def test_a_commitment_takes_a_whole_salt_and_tells_nothing_without_it() -> None:
    with pytest.raises(ValueError, match="salt"):
        sumtree.commitment(b"short", b"opening")
    first, second = (sumtree.commitment(bytes([n]) * 32, b"opening") for n in (1, 2))
    assert first != second
    assert first != sumtree.commitment(bytes([1]) * 32, b"another")


@pytest.mark.parametrize("tag", ["", "x" * 256])
def test_a_kind_of_tree_has_a_tag(tag: str) -> None:
    with pytest.raises(ValueError, match="tag"):
        SumTree(Kind(tag, ("amount",)), [])


def test_there_is_no_path_of_a_line_that_is_not_there() -> None:
    tree = SumTree(PLAYS, _leaves(PLAYS, 3))
    for index in (-1, 3):
        with pytest.raises(ValueError, match="no leaf"):
            tree.path(index)

"""RFC 6962 trees: the RFC's and others' fixed points, and every small tree against its definition."""

from __future__ import annotations

from hashlib import sha256
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import merkle
from ledger.errors import ProofRefused
from ledger.merkle import Frontier, consistency_proof, inclusion_proof, leaf_hash, node_hash, root_of

# The eight entries that Certificate Transparency's own tests use, and the roots of their first n.
ENTRIES = [bytes.fromhex(e) for e in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
ENTRIES.append(bytes.fromhex("606162636465666768696a6b6c6d6e6f"))
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
SIZES = range(1, 40)


def _leaves(count: int) -> list[bytes]:
    return [leaf_hash(number.to_bytes(4, "big")) for number in range(count)]


def _defined_root(leaves: list[bytes]) -> bytes:
    """The root as RFC 6962 defines it, word by word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return node_hash(_defined_root(leaves[:half]), _defined_root(leaves[half:]))


def _subtrees(leaves: list[bytes]) -> merkle.Subtree:
    return lambda level, index: _defined_root(leaves[index << level : (index + 1) << level])


def test_the_first_trees_have_the_roots_that_certificate_transparency_publishes() -> None:
    leaves = [leaf_hash(entry) for entry in ENTRIES]
    assert [root_of(leaves[:size]).hex() for size in range(9)] == ROOTS


@pytest.mark.parametrize("size", [*range(70), 255, 256, 257, 1000])
def test_a_root_is_what_the_definition_says_however_it_is_built(size: int) -> None:
    leaves = _leaves(size)
    assert root_of(leaves) == _defined_root(leaves)


@given(st.lists(st.integers(0, 6), max_size=30), st.integers(0, 2**32))
def test_subtrees_can_be_added_where_they_begin_and_nowhere_else(levels: list[int], seed: int) -> None:
    chance, frontier, leaves = Random(seed), Frontier(), []
    for level in levels:
        added = [chance.randbytes(32) for _ in range(1 << level)]
        if len(leaves) % (1 << level):
            with pytest.raises(ValueError, match="no subtree"):
                frontier.append_subtree(level, _defined_root(added))
            continue
        frontier.append_subtree(level, _defined_root(added))
        leaves += added
        assert (frontier.size, frontier.root()) == (len(leaves), _defined_root(leaves))


@pytest.mark.parametrize("size", SIZES)
def test_each_leaf_is_proven_and_no_other_leaf_place_size_or_root_is(size: int) -> None:
    leaves = _leaves(size)
    root = _defined_root(leaves)
    for index, leaf in enumerate(leaves):
        path = inclusion_proof(index, size, _subtrees(leaves))
        merkle.verify_inclusion(leaf, index, size, path, root)
        wrong = [
            (leaf_hash(b"another"), index, size, path, root),
            (leaf, index, size, path, leaf_hash(b"another")),
            (leaf, index, size, [*path, leaf], root),
            (leaf, index, size, path[::-1] if len(path) > 1 else [leaf], root),
            (leaf, size, size, path, root),
            (leaf, -1, size, path, root),
        ]
        wrong += [(leaf, index, size, path[:-1], root)] if path else []
        wrong += [(leaf, other, size, path, root) for other in range(size) if other != index]
        for case in wrong:
            with pytest.raises(ProofRefused):
                merkle.verify_inclusion(*case)


@pytest.mark.parametrize("size", SIZES)
def test_each_earlier_tree_is_proven_the_beginning_and_no_other_tree_is(size: int) -> None:
    leaves = _leaves(size)
    root = _defined_root(leaves)
    for old in range(size + 1):
        old_root = _defined_root(leaves[:old])
        path = consistency_proof(old, size, _subtrees(leaves))
        merkle.verify_consistency(old, old_root, size, root, path)
        wrong = [
            (old, leaf_hash(b"another"), size, root, path),
            (old, old_root, size, root, [*path, root]),
            (size + 1, old_root, size, root, path),
            (-1, old_root, size, root, path),
        ]
        # From nothing on, every tree is consistent.
        wrong += [(old, old_root, size, leaf_hash(b"another"), path)] if old else []
        wrong += [(old, old_root, size, root, path[:-1])] if path else []
        wrong += [(old, old_root, size, root, path[1:])] if path else []
        wrong += [(other, old_root, size, root, path) for other in range(1, size + 1) if other != old]
        for case in wrong:
            with pytest.raises(ProofRefused):
                merkle.verify_consistency(*case)


def test_a_proof_of_odd_hashes_is_refused() -> None:
    leaves = _leaves(2)
    root = _defined_root(leaves)
    for path in ([leaves[1][:31]], [leaves[1] + b"\x00"], [b""], [leaves[1]] * 1000):
        with pytest.raises(ProofRefused):
            merkle.verify_inclusion(leaves[0], 0, 2, path, root)
        with pytest.raises(ProofRefused):
            merkle.verify_consistency(1, leaves[0], 2, root, path)


def test_a_forged_tree_of_enormous_size_is_refused_at_once() -> None:
    leaf = leaf_hash(b"one")
    with pytest.raises(ProofRefused):
        merkle.verify_inclusion(leaf, 2**62, 2**63, [leaf] * 63, leaf)
    with pytest.raises(ProofRefused):
        merkle.verify_consistency(2**61 + 1, leaf, 2**63, leaf, [leaf] * 64)


def test_nothing_is_proven_of_leaves_and_states_that_there_are_not() -> None:
    subtree = _subtrees(_leaves(5))
    for index in (-1, 5):
        with pytest.raises(ValueError, match="no leaf"):
            inclusion_proof(index, 5, subtree)
    for old in (-1, 6):
        with pytest.raises(ValueError, match="no earlier state"):
            consistency_proof(old, 5, subtree)

"""Merkle trees as RFC 6962 (section 2.1) and RFC 9162 (section 2.1) have them: roots, inclusion, consistency.

A proof is a list of hashes, from the leaf's side up. What verifies takes nothing on trust but the hashes it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from ledger.errors import ProofRefused

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
# A tree has fewer than 2^63 leaves, so no path is longer.
PATH_MAX = 63

Subtree = Callable[[int, int], bytes]
"""(level, index) -> the hash over the full subtree of the leaves from index × 2^level on."""


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


@dataclass(slots=True)
class Frontier:
    """A tree of any size in little memory: the roots of its full subtrees, the largest first.

    Their sizes are the powers of two that `size` is the sum of.
    """

    size: int = 0
    roots: list[bytes] = field(default_factory=list)

    def append(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        size = self.size
        while size & 1:
            leaf = node_hash(self.roots.pop(), leaf)
            size >>= 1
        self.roots.append(leaf)
        self.size += 1

    def append_subtree(self, level: int, root: bytes) -> None:
        """Add a full subtree of 2^level leaves; the size so far is a multiple of that."""
        size = self.size >> level
        if size << level != self.size:
            raise ValueError(f"no subtree of level {level} begins at leaf {self.size}")
        while size & 1:
            root = node_hash(self.roots.pop(), root)
            size >>= 1
        self.roots.append(root)
        self.size += 1 << level

    def root(self) -> bytes:
        """The root over all leaves so far."""
        if not self.roots:
            return EMPTY_ROOT
        *rest, root = self.roots
        for left in reversed(rest):
            root = node_hash(left, root)
        return root


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def split(size: int) -> int:
    """The largest power of two below `size` (at least 2)."""
    return 1 << (size - 1).bit_length() - 1


def range_root(begin: int, end: int, subtree: Subtree) -> bytes:
    """The hash over the leaves from `begin` up to `end`, where `begin` is a place at which such a subtree begins."""
    size = end - begin
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return subtree(level, begin >> level)
    middle = begin + split(size)
    return node_hash(range_root(begin, middle, subtree), range_root(middle, end, subtree))


def inclusion_proof(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """The path of a leaf in the tree of `size` leaves (RFC 6962, 2.1.1)."""
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    path: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + split(end - begin)
        if index < middle:
            path.append(range_root(middle, end, subtree))
            end = middle
        else:
            path.append(range_root(begin, middle, subtree))
            begin = middle
    return path[::-1]


def consistency_proof(old: int, size: int, subtree: Subtree) -> list[bytes]:
    """That the tree of `old` leaves is the beginning of the tree of `size` (RFC 6962, 2.1.2). Empty from nothing on."""
    if not 0 <= old <= size:
        raise ValueError(f"a tree of {size} has no earlier state of {old}")
    if old in (0, size):
        return []
    path: list[bytes] = []
    begin, end = 0, size
    while old != end:
        middle = begin + split(end - begin)
        if old <= middle:
            path.append(range_root(middle, end, subtree))
            end = middle
        else:
            path.append(range_root(begin, middle, subtree))
            begin = middle
    if begin:
        path.append(range_root(begin, end, subtree))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Raises ProofRefused unless `leaf` is at `index` of the tree of this size and root (RFC 9162, 2.1.3.2)."""
    _whole_hashes([leaf, root, *path])
    if not 0 <= index < size:
        raise ProofRefused(reason=f"a tree of {size} leaves has no leaf {index}")
    node, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ProofRefused(reason="the path is too long")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofRefused(reason="the path is too short")
    if found != root:
        raise ProofRefused(reason="the path leads to another root")


def verify_consistency(old: int, old_root: bytes, size: int, root: bytes, path: Sequence[bytes]) -> None:
    """Raises ProofRefused unless the tree of `old` leaves is the beginning of that of `size` (RFC 9162, 2.1.4.2).

    From nothing on every tree is consistent, with an empty path; but the empty tree has one root only.
    """
    _whole_hashes([old_root, root, *path])
    if not 0 <= old <= size:
        raise ProofRefused(reason=f"a tree of {size} leaves is no later state of one of {old}")
    for leaves, its_root in ((old, old_root), (size, root)):
        if leaves == 0 and its_root != EMPTY_ROOT:
            raise ProofRefused(reason="the empty tree has another root")
    if old in (0, size):
        if path:
            raise ProofRefused(reason="the path is too long")
        if old == size and old_root != root:
            raise ProofRefused(reason="two roots for one size")
        return
    hashes = list(path)
    if old & (old - 1) == 0:
        hashes.insert(0, old_root)
    if not hashes:
        raise ProofRefused(reason="the path is too short")
    node, last = old - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    first, second = hashes[0], hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise ProofRefused(reason="the path is too long")
        if node & 1 or node == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofRefused(reason="the path is too short")
    if first != old_root:
        raise ProofRefused(reason="the path leads to another earlier root")
    if second != root:
        raise ProofRefused(reason="the path leads to another root")


def _whole_hashes(hashes: Sequence[bytes]) -> None:
    if len(hashes) > PATH_MAX + 2 or any(len(one) != HASH_BYTES for one in hashes):
        raise ProofRefused(reason="a proof is made of a few hashes of 32 bytes")

"""Merkle-sum trees: what many have in common adds up, and each can check her own line, without seeing the others'.

A leaf holds a commitment and amounts. A node commits to the hash, the count and the sums of both its children, so
nothing can be left out of a sum, and no sum be smaller than its parts (the break of Maxwell's tree: Hu, Zhang and Guo,
IACR 2018/1139). The shape is RFC 6962's and follows from the count. Commitments stand in order and none stands twice,
so no two people can be given one line. Amounts are not negative, and what a sum of them could not hold is refused.

    leaf = SHA-256(0x00 ‖ tag ‖ index ‖ commitment ‖ amounts)
    node = SHA-256(0x01 ‖ tag ‖ count ‖ sums ‖ hash of the left ‖ count ‖ sums ‖ hash of the right)

The tag is the tree's kind, one byte of length before it; numbers are 64 bits, big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from ledger.errors import ProofRefused, SumsRefused
from ledger.merkle import HASH_BYTES, PATH_MAX, split

AMOUNT_MAX = (1 << 63) - 1
TAG_BYTES_MAX = 255
SALT_BYTES = 32
EMPTY_HASH = sha256(b"").digest()


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of tree: its tag, and what each of a leaf's amounts is."""

    tag: str
    amounts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A line: a commitment to whose it is and what it is for, and its amounts."""

    commitment: bytes
    amounts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A subtree from outside: how many leaves it has, what they add up to and its hash."""

    count: int
    sums: tuple[int, ...]
    hash: bytes


def commitment(salt: bytes, opening: bytes) -> bytes:
    """What binds to an opening and says nothing of it while the salt is secret: 32 random bytes, never used twice."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes")
    return sha256(b"\x02" + salt + opening).digest()


class SumTree:
    """A whole tree over leaves in the order of their commitments. Raises SumsRefused for leaves that cannot be one."""

    def __init__(self, kind: Kind, leaves: Sequence[Leaf]) -> None:
        _check(kind, leaves)
        self.kind = kind
        self.leaves = leaves
        hashing = _Hashing(kind)
        level = [hashing.leaf(index, leaf) for index, leaf in enumerate(leaves)]
        self._levels = [level]
        while len(level) > 1:
            pairs = zip(level[0::2], level[1::2], strict=False)
            above = [hashing.node(left, right) for left, right in pairs]
            if len(level) % 2:
                above.append(level[-1])
            self._levels.append(above)
            level = above
        self.root = level[0] if level else Node(0, (0,) * len(kind.amounts), EMPTY_HASH)

    def path(self, index: int) -> list[Node]:
        """The siblings of a leaf, from its own up."""
        if not 0 <= index < len(self.leaves):
            raise ValueError(f"no leaf {index} in a tree of {len(self.leaves)}")
        path = []
        for level in self._levels[:-1]:
            sibling = index ^ 1
            if sibling < len(level):
                path.append(level[sibling])
            index >>= 1
        return path


def _check(kind: Kind, leaves: Sequence[Leaf]) -> None:
    before = b""
    for leaf in leaves:
        if len(leaf.commitment) != HASH_BYTES or leaf.commitment <= before:
            raise SumsRefused(reason="commitments that are not in order, or one that stands twice")
        before = leaf.commitment
        if len(leaf.amounts) != len(kind.amounts) or any(not 0 <= amount <= AMOUNT_MAX for amount in leaf.amounts):
            raise SumsRefused(reason="amounts that no line has")
    # Nowhere within the tree is a sum larger than the whole.
    if any(sum(amounts) > AMOUNT_MAX for amounts in zip(*(leaf.amounts for leaf in leaves), strict=True)):
        raise SumsRefused(reason="a sum that is too large")


class _Hashing:
    """A kind's two hashes. All that is the same for every leaf and node is made once."""

    def __init__(self, kind: Kind) -> None:
        tag = kind.tag.encode()
        if not 0 < len(tag) <= TAG_BYTES_MAX:
            raise ValueError("a tag has 1 to 255 bytes")
        tagged = bytes([len(tag)]) + tag
        self.tags = b"\x00" + tagged, b"\x01" + tagged
        self._leaf, self._node = self.tags
        self._index = struct.Struct(">Q").pack
        self._amounts = struct.Struct(f">{len(kind.amounts)}Q").pack
        self._side = struct.Struct(f">{1 + len(kind.amounts)}Q").pack

    def leaf(self, index: int, leaf: Leaf) -> Node:
        told = self._leaf + self._index(index) + leaf.commitment + self._amounts(*leaf.amounts)
        return Node(1, leaf.amounts, sha256(told).digest())

    def node(self, left: Node, right: Node) -> Node:
        told = self._side(left.count, *left.sums) + left.hash + self._side(right.count, *right.sums) + right.hash
        sums = tuple(map(int.__add__, left.sums, right.sums))
        return Node(left.count + right.count, sums, sha256(self._node + told).digest())


Lines = Iterable[tuple[bytes, Sequence[int]]]
"""Commitments and amounts, in the order of the commitments."""


def path_of(kind: Kind, lines: Callable[[int, int], Lines], count: int, index: int) -> list[Node]:
    """The siblings of a leaf, from its own up, of a tree of which `lines(begin, end)` gives any part.

    In memory that does not grow with the tree.
    """
    if not 0 <= index < count:
        raise ValueError(f"no leaf {index} in a tree of {count}")
    path: list[Node] = []
    begin, end = 0, count
    while end - begin > 1:
        middle = begin + split(end - begin)
        if index < middle:
            path.append(root_of(kind, lines(middle, end), middle))
            end = middle
        else:
            path.append(root_of(kind, lines(begin, middle), begin))
            begin = middle
    return path[::-1]


def root_of(kind: Kind, lines: Lines, first: int = 0) -> Node:
    """The root over lines, in memory that does not grow with them; of a subtree, `first` is its first leaf's index.

    Raises SumsRefused as `SumTree` does.
    """
    hashing = _Hashing(kind)
    leaf_tag, node_tag = hashing.tags
    pack_leaf = struct.Struct(f">Q32s{len(kind.amounts)}Q").pack
    pack_side = struct.Struct(f">{1 + len(kind.amounts)}Q32s").pack
    # The roots of the full subtrees so far, the largest first; of each how it is written within its parent.
    sides: list[bytes] = []
    before, size = b"", 0
    sums: list[Sequence[int]] = []
    try:
        for commitment, of_leaf in lines:
            if commitment <= before or len(commitment) != HASH_BYTES:
                raise SumsRefused(reason="commitments that are not in order, or one that stands twice")
            before = commitment
            summed: Sequence[int] = of_leaf
            side = pack_side(1, *summed, sha256(leaf_tag + pack_leaf(first + size, commitment, *summed)).digest())
            place, count = size, 1
            while place & 1:
                count, place = count << 1, place >> 1
                summed = [one + other for one, other in zip(sums.pop(), summed, strict=True)]
                side = pack_side(count, *summed, sha256(node_tag + sides.pop() + side).digest())
            sides.append(side)
            sums.append(summed)
            size += 1
        if not size:
            return Node(0, (0,) * len(kind.amounts), EMPTY_HASH)
        side, summed, count = sides.pop(), sums.pop(), size & -size
        for left in reversed(sides):
            count += int.from_bytes(left[:8], "big")
            summed = [one + other for one, other in zip(sums.pop(), summed, strict=True)]
            side = pack_side(count, *summed, sha256(node_tag + left + side).digest())
    except struct.error as unfit:
        raise SumsRefused(reason="amounts that no line has") from unfit
    if max(summed) > AMOUNT_MAX:
        raise SumsRefused(reason="a sum that is too large")
    return Node(size, tuple(summed), side[-HASH_BYTES:])


def verify(kind: Kind, leaf: Leaf, index: int, path: Sequence[Node], root: Node) -> None:
    """Raises ProofRefused unless the leaf is at `index` under the root, and is all of the root that the path leaves.

    Each sibling's count is what the shape gives it, and no sum on the way is too large to be one.
    """
    if not 0 <= index < root.count or len(path) > PATH_MAX:
        raise ProofRefused(reason=f"a tree of {root.count} lines has no line {index}")
    for node in (*path, root):
        if len(node.sums) != len(kind.amounts) or len(node.hash) != HASH_BYTES:
            raise ProofRefused(reason="a node of another kind of tree")
        if any(not 0 <= amount <= AMOUNT_MAX for amount in node.sums):
            raise ProofRefused(reason="a sum that none can be")
    if len(leaf.amounts) != len(kind.amounts) or any(not 0 <= amount <= AMOUNT_MAX for amount in leaf.amounts):
        raise ProofRefused(reason="amounts that no line has")
    if len(leaf.commitment) != HASH_BYTES:
        raise ProofRefused(reason="a commitment of the wrong length")
    hashing = _Hashing(kind)
    found = hashing.leaf(index, leaf)
    siblings = iter(path)
    place, width = index, root.count
    height = 0
    while width > 1:
        sibling = place ^ 1
        if sibling < width:
            other = next(siblings, None)
            if other is None:
                raise ProofRefused(reason="the path is too short")
            if other.count != min(1 << height, root.count - (sibling << height)):
                raise ProofRefused(reason="a count that the shape does not give")
            found = hashing.node(other, found) if sibling < place else hashing.node(found, other)
            if any(amount > AMOUNT_MAX for amount in found.sums):
                raise ProofRefused(reason="a sum that is too large")
        place, width, height = place >> 1, (width + 1) >> 1, height + 1
    if next(siblings, None) is not None:
        raise ProofRefused(reason="the path is too long")
    if found != root:
        raise ProofRefused(reason="the path leads to another root")

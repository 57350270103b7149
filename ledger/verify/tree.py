"""A log's tree made again from its entries: the tiles that are published beside them, and the roots at any size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import chain

from ledger.merkle import HASH_BYTES, Frontier, leaf_hash
from ledger.tiles import ENTRIES, HEIGHT, WIDTH, entries_of, path
from ledger.verify.reading import Log
from ledger.verify.report import Findings


def _full_root(hashes: list[bytes]) -> bytes:
    """The root over as many hashes as a power of two, level by level: as `ledger.merkle` has it, in half the time."""
    while len(hashes) > 1:
        pairs = zip(hashes[0::2], hashes[1::2], strict=True)
        hashes = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
    return hashes[0]


class Walk:
    """A way through all entries of a log of `size`, a bundle at a time; memory does not grow with the size.

    `roots` holds afterwards the root at each of the sizes asked for by `marks`.
    """

    def __init__(self, log: Log, size: int, findings: Findings, marks: Iterable[int] = ()) -> None:
        self._log, self._size, self._findings = log, size, findings
        self._marks = sorted({mark for mark in marks if 0 <= mark <= size}, reverse=True)
        self._frontier = Frontier()
        self._levels: list[list[bytes]] = []
        self.roots: dict[int, bytes] = {}

    @property
    def root(self) -> bytes:
        """The root over what was read."""
        return self._frontier.root()

    @property
    def read(self) -> int:
        """How many entries were read."""
        return self._frontier.size

    def bundles(self) -> Iterator[list[bytes]]:
        """The entries, bundle by bundle, the tree above them checked before they are given out.

        Raises Unreadable, FileNotFoundError, and TileRefused for a bundle that cannot be taken apart.
        """
        self._mark([])
        full, rest = divmod(self._size, WIDTH)
        wanted = chain.from_iterable((path(ENTRIES, index), path(0, index)) for index in range(full))
        files = self._log.read_all(wanted)
        for index in range(full):
            entries = entries_of(next(files), WIDTH)
            yield self._taken(entries, index, next(files), WIDTH)
        if rest:
            entries = entries_of(*self._partial(ENTRIES, full, rest))[:rest]
            yield self._taken(entries, full, *self._partial(0, full, rest))
        self._check_edge()

    def _partial(self, kind: int | str, index: int, width: int) -> tuple[bytes, int]:
        """A partial file and its width: its own, or that of the full one which took its place."""
        try:
            return self._log.read(path(kind, index, width)), width
        except FileNotFoundError:
            return self._log.read(path(kind, index)), WIDTH

    def _taken(self, entries: list[bytes], index: int, tile: bytes, width: int) -> list[bytes]:
        leaves = [leaf_hash(entry) for entry in entries]
        self._check(0, index, leaves, tile, width)
        self._mark(leaves)
        if len(leaves) == WIDTH:
            root = _full_root(leaves)
            self._frontier.append_subtree(HEIGHT, root)
            self._add(1, root)
        else:
            for leaf in leaves:
                self._frontier.append(leaf)
        return entries

    def _mark(self, leaves: list[bytes]) -> None:
        first = self._frontier.size
        there: Frontier | None = None
        while self._marks and self._marks[-1] <= first + len(leaves):
            there = there or Frontier(first, [*self._frontier.roots])
            mark = self._marks.pop()
            for leaf in leaves[there.size - first : mark - first]:
                there.append(leaf)
            self.roots[mark] = there.root()

    def _add(self, level: int, node: bytes) -> None:
        while len(self._levels) < level:
            self._levels.append([])
        hashes = self._levels[level - 1]
        hashes.append(node)
        if len(hashes) == WIDTH:
            index = (self._frontier.size >> HEIGHT * (level + 1)) - 1
            self._check(level, index, hashes, self._log.read(path(level, index)), WIDTH)
            root = _full_root(hashes)
            hashes.clear()
            self._add(level + 1, root)

    def _check_edge(self) -> None:
        """The partial tiles above the lowest level."""
        for level, hashes in enumerate(self._levels, 1):
            if hashes:
                index = self._size >> HEIGHT * (level + 1)
                self._check(level, index, hashes, *self._partial(level, index, len(hashes)))

    def _check(self, level: int, index: int, hashes: list[bytes], tile: bytes, width: int) -> None:
        """Whether a tile of this width begins with the hashes."""
        if len(tile) != width * HASH_BYTES:
            said = f"a tile of {len(tile)} bytes, not {width * HASH_BYTES}"
        elif tile.startswith(b"".join(hashes)):
            return
        else:
            said = "not the tile that the entries give"
        self._findings.add("tiles", None, f"{path(level, index, width)}: {said}")

"""A log as files that never change: tiles of its tree and bundles of its entries (C2SP tlog-tiles).

A tile is 256 neighbouring hashes of every eighth level of the tree, so a log can be read, and any proof of it be made,
from a plain folder. Only the last tile of a level may be partial; its width stands in its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ledger.errors import TileRefused
from ledger.merkle import EMPTY_ROOT, HASH_BYTES, leaf_hash, root_of

HEIGHT = 8
WIDTH = 1 << HEIGHT
ENTRY_BYTES_MAX = (1 << 16) - 1
# The length that stands before an entry.
_LENGTH_BYTES = 2
ENTRIES = "entries"


def path(kind: int | str, index: int, width: int = WIDTH) -> str:
    """Where a tile of a level, or a bundle of entries (`kind` is ENTRIES), is found: `tile/0/x001/x234/067.p/112`."""
    if not 0 < width <= WIDTH:
        raise ValueError(f"no tile is {width} wide")
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03}")
    partial = "" if width == WIDTH else f".p/{width}"
    return f"tile/{kind}/{'/'.join(groups)}{partial}"


def width_of(level: int, index: int, size: int) -> int:
    """How wide a level's tile is in a tree of `size` leaves; 0 where there is none."""
    return max(0, min(WIDTH, (size >> HEIGHT * level) - index * WIDTH))


def hashes_of(tile: bytes, width: int) -> list[bytes]:
    """The hashes of a tile. Raises TileRefused unless there are `width` of them."""
    if len(tile) != width * HASH_BYTES:
        raise TileRefused(reason="a tile of the wrong length", expected=width * HASH_BYTES, found=len(tile))
    return [tile[place : place + HASH_BYTES] for place in range(0, len(tile), HASH_BYTES)]


def bundle(entries: Iterable[bytes]) -> bytes:
    """Entries as a bundle holds them: each after its length. Raises ValueError for one that is too long."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > ENTRY_BYTES_MAX:
            raise ValueError(f"an entry of {len(entry)} bytes is too long")
        parts += [len(entry).to_bytes(_LENGTH_BYTES, "big"), entry]
    return b"".join(parts)


def entries_of(bundled: bytes, width: int) -> list[bytes]:
    """The entries of a bundle. Raises TileRefused unless there are `width` of them and nothing else."""
    entries: list[bytes] = []
    place = 0
    while place < len(bundled) and len(entries) < width:
        begin = place + _LENGTH_BYTES
        place = begin + int.from_bytes(bundled[place:begin], "big")
        if begin > len(bundled) or place > len(bundled):
            raise TileRefused(reason="a bundle that ends within an entry")
        entries.append(bundled[begin:place])
    if len(entries) != width or place != len(bundled):
        raise TileRefused(reason="a bundle with more or fewer entries", expected=width, found=len(entries))
    return entries


@dataclass(frozen=True, slots=True)
class Tile:
    """A file of the log: where it is found, and its bytes."""

    path: str
    data: bytes


@dataclass
class Edge:
    """The right edge of a tree: what more leaves are added to. Per level the hashes, and the entries, of the last tile.

    That is all a writer needs to know of a log however long. What it gives out is to be stored before the checkpoint of
    its new size is.
    """

    size: int = 0
    levels: list[list[bytes]] = field(default_factory=list)
    entries: list[bytes] = field(default_factory=list)

    def append(self, entry: bytes) -> Iterator[Tile]:
        """Add an entry, and give out the files that it completes."""
        leaf = leaf_hash(entry)
        self.entries.append(entry)
        self.size += 1
        if len(self.entries) == WIDTH:
            yield Tile(path(ENTRIES, (self.size - 1) // WIDTH), bundle(self.entries))
            self.entries.clear()
        yield from self._add(0, leaf)

    def _add(self, level: int, node: bytes) -> Iterator[Tile]:
        if level == len(self.levels):
            self.levels.append([])
        hashes = self.levels[level]
        hashes.append(node)
        if len(hashes) == WIDTH:
            index = (self.size >> HEIGHT * (level + 1)) - 1
            yield Tile(path(level, index), b"".join(hashes))
            root = root_of(hashes)
            hashes.clear()
            yield from self._add(level + 1, root)

    def partial(self) -> Iterator[Tile]:
        """The partial files of a tree of this size."""
        if self.entries:
            yield Tile(path(ENTRIES, self.size // WIDTH, len(self.entries)), bundle(self.entries))
        for level, hashes in enumerate(self.levels):
            if hashes:
                yield Tile(path(level, self.size >> HEIGHT * (level + 1), len(hashes)), b"".join(hashes))

    def root(self) -> bytes:
        """The root of the tree."""
        below: list[bytes] = []
        for hashes in self.levels:
            # What is left of the level below is smaller than each of these, and comes last.
            below = [root_of(hashes + below)] if hashes or below else []
        return below[0] if below else EMPTY_ROOT


Read = Callable[[str], bytes]
"""The bytes of a file of the log by its path."""


def read_edge(size: int, read: Read) -> Edge:
    """The edge of a log of this size, from its partial files. Raises TileRefused where they do not fit each other."""
    edge = Edge(size)
    if width := size % WIDTH:
        edge.entries = entries_of(read(path(ENTRIES, size // WIDTH, width)), width)
    level = 0
    while size >> HEIGHT * level:
        width = (size >> HEIGHT * level) % WIDTH
        index = size >> HEIGHT * (level + 1)
        edge.levels.append(hashes_of(read(path(level, index, width)), width) if width else [])
        level += 1
    if [leaf_hash(entry) for entry in edge.entries] != (edge.levels[0] if edge.levels else []):
        raise TileRefused(reason="the last entries are not those of the tree")
    return edge


@dataclass
class TiledTree:
    """A published tree of `size` leaves, read a tile at a time: what proofs are made from.

    `read` is asked for a partial tile first where the size asks for one, then for the full one that took its place.
    """

    size: int
    read: Read
    _kept: dict[tuple[int, int], list[bytes]] = field(default_factory=dict)
    kept_max: int = 64

    def subtree(self, level: int, index: int) -> bytes:
        """The hash over the full subtree of 2^level leaves; `ledger.merkle` makes proofs of it."""
        tile_level, row = divmod(level, HEIGHT)
        first = index << row
        hashes = self._tile(tile_level, first // WIDTH)
        begin = first % WIDTH
        return root_of(hashes[begin : begin + (1 << row)])

    def _tile(self, level: int, index: int) -> Sequence[bytes]:
        if (level, index) not in self._kept:
            if len(self._kept) >= self.kept_max:
                self._kept.pop(next(iter(self._kept)))
            self._kept[level, index] = self._read_tile(level, index)
        return self._kept[level, index]

    def _read_tile(self, level: int, index: int) -> list[bytes]:
        width = width_of(level, index, self.size)
        try:
            return hashes_of(self.read(path(level, index, width)), width)
        except FileNotFoundError:
            if width == WIDTH:
                raise
            return hashes_of(self.read(path(level, index)), WIDTH)[:width]

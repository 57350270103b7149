"""Tiles: where they are found, how they grow, and that every proof can be made of them."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import merkle, tiles
from ledger.errors import TileRefused
from ledger.merkle import leaf_hash, root_of
from ledger.tiles import ENTRIES, ENTRY_BYTES_MAX, WIDTH, Edge, TiledTree


def _entries(count: int) -> list[bytes]:
    return [b"entry %d" % number * (number % 5) for number in range(count)]


class Folder(dict[str, bytes]):
    """A store of files that are written once."""

    def read(self, path: str) -> bytes:
        try:
            return self[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def keep(self, files: list[tiles.Tile]) -> None:
        for file in files:
            assert self.setdefault(file.path, file.data) == file.data, "never other bytes"


def _grown(folder: Folder, edge: Edge, entries: list[bytes]) -> None:
    for entry in entries:
        folder.keep(list(edge.append(entry)))
    folder.keep(list(edge.partial()))


@pytest.mark.parametrize(
    ("kind", "index", "width", "where"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 1234067, 256, "tile/0/x001/x234/067"),
        (1, 1000, 256, "tile/1/x001/000"),
        (0, 273, 112, "tile/0/273.p/112"),
        (2, 0, 1, "tile/2/000.p/1"),
        (ENTRIES, 999, 255, "tile/entries/999.p/255"),
        (ENTRIES, 1_000_000, 256, "tile/entries/x001/x000/000"),
    ],
)
def test_a_tile_is_found_where_the_specification_says(kind: int | str, index: int, width: int, where: str) -> None:
    assert tiles.path(kind, index, width) == where


@pytest.mark.parametrize("width", [0, -1, 257])
def test_no_tile_is_empty_or_wider_than_others(width: int) -> None:
    with pytest.raises(ValueError, match="wide"):
        tiles.path(0, 0, width)


def test_a_tree_of_70000_has_the_tiles_that_the_specification_lists() -> None:
    folder, edge = Folder(), Edge()
    _grown(folder, edge, [b""] * 70_000)
    levels = {name for name in folder if not name.startswith("tile/entries")}
    assert levels == (
        {tiles.path(0, index) for index in range(273)}
        | {"tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"}
    )
    bundles = set(folder) - levels
    assert bundles == {tiles.path(ENTRIES, index) for index in range(273)} | {"tile/entries/273.p/112"}


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 700, 65_535, 65_536, 65_537])
def test_an_edge_has_the_trees_root_and_goes_on_from_its_files(size: int) -> None:
    entries = _entries(size + 3)
    folder, edge = Folder(), Edge()
    _grown(folder, edge, entries[:size])
    assert edge.root() == root_of([leaf_hash(entry) for entry in entries[:size]])
    again = tiles.read_edge(size, folder.read)
    assert (again.size, again.root(), again.entries) == (size, edge.root(), edge.entries)
    _grown(folder, again, entries[size:])
    assert again.root() == root_of([leaf_hash(entry) for entry in entries])


@given(st.lists(st.integers(0, 300), max_size=8), st.integers(0, 2**32))
def test_every_proof_can_be_made_of_the_files_however_the_log_grew(steps: list[int], seed: int) -> None:
    chance = Random(seed)
    entries = _entries(sum(steps))
    leaves = [leaf_hash(entry) for entry in entries]
    folder, edge, size = Folder(), Edge(), 0
    sizes = [0]
    for step in steps:
        _grown(folder, edge, entries[size : size + step])
        size += step
        sizes.append(size)
    for size in sizes:
        tree, root = TiledTree(size, folder.read, kept_max=2), root_of(leaves[:size])
        for old in sizes:
            if old <= size:
                path = merkle.consistency_proof(old, size, tree.subtree)
                merkle.verify_consistency(old, root_of(leaves[:old]), size, root, path)
        for index in chance.sample(range(size), min(size, 5)):
            path = merkle.inclusion_proof(index, size, tree.subtree)
            merkle.verify_inclusion(leaves[index], index, size, path, root)
            bundled = folder.read(tiles.path(ENTRIES, index // WIDTH, tiles.width_of(0, index // WIDTH, size)))
            assert tiles.entries_of(bundled, tiles.width_of(0, index // WIDTH, size))[index % WIDTH] == entries[index]


def test_a_partial_tile_that_is_gone_is_read_from_the_full_one() -> None:
    folder, edge = Folder(), Edge()
    _grown(folder, edge, _entries(300))
    _grown(folder, edge, _entries(600))
    del folder["tile/0/001.p/44"]
    tree = TiledTree(300, folder.read)
    leaves = [leaf_hash(entry) for entry in _entries(300)]
    merkle.verify_inclusion(leaves[299], 299, 300, merkle.inclusion_proof(299, 300, tree.subtree), root_of(leaves))
    del folder["tile/0/001"]
    with pytest.raises(FileNotFoundError):
        TiledTree(300, folder.read).subtree(0, 299)


@given(st.lists(st.binary(max_size=80), max_size=300))
def test_a_bundle_gives_back_its_entries(entries: list[bytes]) -> None:
    assert tiles.entries_of(tiles.bundle(entries), len(entries)) == entries


def test_the_longest_entry_fits_and_a_longer_one_does_not() -> None:
    longest = b"x" * ENTRY_BYTES_MAX
    assert tiles.entries_of(tiles.bundle([longest]), 1) == [longest]
    with pytest.raises(ValueError, match="too long"):
        tiles.bundle([longest + b"x"])


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_bundle_that_was_cut_or_lengthened_is_refused(cut: int) -> None:
    whole = tiles.bundle([b"one", b"two", b""])
    for bundled, width in ((whole[:-cut], 3), (whole + b"\x00" * cut, 3), (whole, 2), (whole, 4), (b"", 1)):
        with pytest.raises(TileRefused):
            tiles.entries_of(bundled, width)


@pytest.mark.parametrize("length", [0, 31, 33, 63, 65, 8192])
def test_a_tile_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(TileRefused):
        tiles.hashes_of(bytes(length), 2)


def test_an_edge_whose_entries_are_not_the_trees_is_refused() -> None:
    folder, edge = Folder(), Edge()
    _grown(folder, edge, _entries(10))
    folder["tile/entries/000.p/10"] = tiles.bundle([b"another"] * 10)
    with pytest.raises(TileRefused, match="not those of the tree"):
        tiles.read_edge(10, folder.read)

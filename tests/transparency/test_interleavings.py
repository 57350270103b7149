"""However settling, publishing, crashes and restarts fall together: the same entries per batch, heads that go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from ledger.merkle import consistency_proof, verify_consistency
from ledger.note import parse_checkpoint, parse_note
from ledger.tiles import TiledTree
from streamcoop.adapters.objects import FolderStore, ObjectStore, ObjectStoreUnavailable
from streamcoop.transparency import files, publishing
from tests.ledger import factories
from tests.transparency.press import Press

EPOCH = factories.EPOCH
STEPS = 30


class Crash(Exception):
    """The process is killed."""


@dataclass
class Failing:
    """A store that fails at its n-th write: by saying so, or by dying, before the object is there or after."""

    store: ObjectStore
    random: Random
    left: int

    def _write(self, write: Callable[[], None]) -> None:
        self.left -= 1
        if self.left:
            write()
            return
        if self.random.random() < 0.5:
            write()
        raise self.random.choice([Crash("killed"), ObjectStoreUnavailable("away")])

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        self._write(lambda: self.store.put_file(key, path, content_type))

    def put_bytes(self, key: str, data: bytes, content_type: str) -> None:
        self._write(lambda: self.store.put_bytes(key, data, content_type))

    def replace_bytes(self, key: str, data: bytes, content_type: str) -> None:
        self._write(lambda: self.store.replace_bytes(key, data, content_type))

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)


def tiles_of(folder: Path) -> dict[str, bytes]:
    """All files of a log but those that hold a time: heads and the checkpoint."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted((folder / "log" / "tile").rglob("*"))
        if file.is_file()
    }


def heads_of(folder: Path) -> list[str]:
    """What was signed, batch by batch, without the signatures."""
    return [parse_note(file.read_bytes()).text for file in sorted((folder / "log" / "heads").iterdir())]


@pytest.mark.parametrize("seed", range(4))
def test_any_interleaving_leads_to_the_same_log(press: Press, tmp_path: Path, seed: int) -> None:
    random, label = Random(seed), press.label
    artists = [label.person(name, "artist") for name in ("Kyai", "Putri", "Made")]
    tracks = [label.track(artist, artist.email, artist.email) for artist in artists for _ in range(2)]
    listeners = [label.listener() for _ in range(5)]

    def play() -> None:
        label.play(random.choice(listeners), random.choice(tracks), epoch=epoch)

    def split() -> None:
        owner = random.randrange(3)
        shares = {artists[owner].email: 7_000, artists[owner - 1].email: 3_000}
        assert label.split(artists[owner], tracks[2 * owner], shares).status_code == 200

    def publish() -> None:
        store = Failing(press.store, random, random.randrange(1, 12))
        for batch in press.waiting():
            try:
                publishing.publish(press.writer(store), batch)  # type: ignore[arg-type]
            except (Crash, ObjectStoreUnavailable):
                return

    epoch = EPOCH
    for step in range(STEPS):
        random.choice([play, play, play, split, press.end_batch, publish])()
        if step == STEPS // 2:
            assert label.close(EPOCH)
            label.go_to(EPOCH + 1)
            # What comes now may be late.
            epoch = random.choice([EPOCH, EPOCH + 1])
    assert label.close(EPOCH + 1)
    press.publish()
    assert press.require_whole().batches == len(heads_of(press.folder))
    require_one_history(press.folder)

    rebuild(press, FolderStore(tmp_path / "elsewhere"))
    assert tiles_of(tmp_path / "elsewhere") == tiles_of(press.folder)
    assert heads_of(tmp_path / "elsewhere") == heads_of(press.folder)


def rebuild(press: Press, store: ObjectStore) -> None:
    """The whole log from its rows once more, into an empty store."""
    for batch in press.all_batches():
        publishing.publish(press.writer(store), batch)


def require_one_history(folder: Path) -> None:
    """Each head that was signed continues the one before."""
    heads = [parse_checkpoint(text) for text in heads_of(folder)]
    read = files.reader(FolderStore(folder))
    for earlier, later in pairwise(heads):
        path = consistency_proof(earlier.size, later.size, TiledTree(later.size, read).subtree)
        verify_consistency(earlier.size, earlier.root, later.size, later.root, path)

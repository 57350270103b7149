"""The log's files in the object store: where each is, and what it is served as.

Tiles, bundles and heads are written once. Of each batch there is one head, so of two who would sign different ones for
it the second finds the first one's: that is the register of what was signed, apart from the database.
"""

from __future__ import annotations

import re

from ledger.note import NOTE_BYTES_MAX, Checkpoint, Note, VerifierKey, parse_checkpoint, parse_note, verified
from ledger.tiles import ENTRY_BYTES_MAX, WIDTH, Read, Tile
from streamcoop.adapters.objects import ObjectMissing, ObjectStore, read_whole

CHECKPOINT = "checkpoint"
TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
# A bundle of entries is the largest of them.
FILE_BYTES_MAX = WIDTH * (ENTRY_BYTES_MAX + 2)

_ROOT = "log"
_PRIVATE = "log-private"
FOLDERS = (_ROOT, _PRIVATE)
_PUBLIC = re.compile(
    r"(?:(?:[2-9]|[1-9][0-9])/)?(?:checkpoint|founding|heads/[0-9]{9}|tile/(?:entries|[0-9]{1,2})/(?:x[0-9]{3}/){0,6}[0-9]{3}(?:\.p/[0-9]{1,3})?)"
)


def key_of(path: str) -> str:
    """The object behind a path of the log."""
    return f"{_ROOT}/{path}"


def path_of(key: str) -> str | None:
    """The path of the log behind an object; None of an object that is none of its public files."""
    return key.removeprefix(f"{_ROOT}/") if key.startswith(f"{_ROOT}/") else None


def folder_of(place: int) -> str:
    """Where the files of the log of a place are, the first being 1."""
    return f"{_ROOT}/" if place == 1 else f"{_ROOT}/{place}/"


def address(public_address: str, place: int) -> str:
    """Where everybody reads the log of a place."""
    return f"{public_address}/{folder_of(place)}".rstrip("/")


def is_checkpoint(key: str) -> bool:
    """Whether it is a log's head that everybody is shown, which alone changes."""
    path = path_of(key)
    return path is not None and path.rpartition("/")[2] == CHECKPOINT


def is_public(path: str) -> bool:
    """Whether the log has files of this name."""
    return _PUBLIC.fullmatch(path) is not None


def head_path(batch: int) -> str:
    """Where the signed head as of a batch is."""
    return f"heads/{batch:09}"


def leaves_key(batch: int) -> str:
    """Where the leaves of a batch's plays are, one tree after the other. They open nothing; nobody is served them."""
    return f"{_PRIVATE}/leaves/{batch:09}"


def rows_key(batch: int) -> str:
    """Where the private rows behind a batch are, sealed."""
    return f"{_PRIVATE}/rows/{batch:09}"


def put(store: ObjectStore, tile: Tile) -> None:
    """Keep a tile or bundle. Raises ObjectConflict if there is another of its name."""
    store.put_bytes(key_of(tile.path), tile.data, BYTES)


def reader(store: ObjectStore) -> Read:
    """Reads files of the log. Raises FileNotFoundError as `ledger.tiles` expects."""

    def read(path: str) -> bytes:
        try:
            return read_whole(store, key_of(path), FILE_BYTES_MAX)
        except ObjectMissing as missing:
            raise FileNotFoundError(path) from missing

    return read


def read_note(store: ObjectStore, path: str, keys: list[VerifierKey]) -> tuple[Note, Checkpoint]:
    """A signed head that a key of ours vouches for. Raises ObjectMissing and NoteRefused."""
    note = parse_note(read_whole(store, key_of(path), NOTE_BYTES_MAX))
    verified(note, keys)
    return note, parse_checkpoint(note.text)

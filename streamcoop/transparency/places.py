"""Where the log's files are: those of the first log below `log/`, those of the one that goes on from it below `log/2/`.

A log that ended keeps its files, for everybody's receipts rest on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection

from ledger.store import continuing
from streamcoop.adapters.objects import ObjectStore
from streamcoop.transparency import files


class Placed:
    """The store given, as the log of a later place sees it: its public files have a folder of their own there."""

    def __init__(self, store: ObjectStore, place: int) -> None:
        self.store, self._folder = store, files.folder_of(place)

    def _key(self, key: str) -> str:
        path = files.path_of(key)
        return key if path is None else f"{self._folder}{path}"

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        self.store.put_file(self._key(key), path, content_type)

    def put_bytes(self, key: str, data: bytes, content_type: str) -> None:
        self.store.put_bytes(self._key(key), data, content_type)

    def replace_bytes(self, key: str, data: bytes, content_type: str) -> None:
        self.store.replace_bytes(self._key(key), data, content_type)

    def open_range(self, key: str, start: int, end: int) -> Iterator[bytes]:
        return self.store.open_range(self._key(key), start, end)

    def size(self, key: str) -> int:
        return self.store.size(self._key(key))

    def exists(self, key: str) -> bool:
        return self.store.exists(self._key(key))

    def delete(self, key: str) -> None:
        self.store.delete(self._key(key))

    def fetch_to(self, key: str, path: Path) -> None:
        self.store.fetch_to(self._key(key), path)

    def local_path(self, key: str) -> Path | None:
        return self.store.local_path(self._key(key))

    def presigned_path(self, key: str) -> str:
        return self.store.presigned_path(self._key(key))


def at(store: ObjectStore, place: int) -> ObjectStore:
    """The store as the log of this place sees it."""
    whole = store.store if isinstance(store, Placed) else store
    return whole if place == 1 else Placed(whole, place)


def place_of(conn: Connection) -> int:
    """The place of the log that is written now."""
    return 1 + len(continuing.continued(conn))


def here(conn: Connection, store: ObjectStore) -> ObjectStore:
    """The store as the log that is written now sees it."""
    return at(store, place_of(conn))

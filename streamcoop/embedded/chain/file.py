"""The file behind the chain: py-evm's key-value database in one SQLite table, and where the contracts stand."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eth.db.backends.base import BaseDB

CHAIN_FORMAT = 2
"""1 had other contracts, and members whom no officers approved."""
LOCK_WAIT_S_MAX = 2.0
"""How long to wait for a process that is still letting go of the chain file."""


class ChainFileInUse(Exception):
    """Another process keeps this chain."""


class ChainFileUnknown(Exception):
    """The chain file was written by another version, and cannot be taken over: begin with a new data folder."""


class ChainFile(BaseDB):
    """py-evm's key-value database in one SQLite table, held by one process at a time. Not thread-safe.

    Raises `ChainFileInUse` and `ChainFileUnknown`.
    """

    def __init__(self, path: Path) -> None:
        self._sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=LOCK_WAIT_S_MAX)
        try:
            self._open()
            _sync_folder(path.parent)
        except BaseException:
            self._sql.close()
            raise

    def _open(self) -> None:
        # Exclusive: two processes that each add blocks would each overwrite the other's.
        self._sql.execute("PRAGMA locking_mode = EXCLUSIVE")
        try:
            self._sql.execute("PRAGMA journal_mode = WAL")
            self._sql.execute("PRAGMA synchronous = FULL")
            self._sql.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise ChainFileInUse(str(error)) from error
        (version,) = self._sql.execute("PRAGMA user_version").fetchone()
        if version not in (0, CHAIN_FORMAT):
            raise ChainFileUnknown(f"format {version}, expected {CHAIN_FORMAT}")
        self._sql.execute("CREATE TABLE IF NOT EXISTS node (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
        self._sql.execute("CREATE TABLE IF NOT EXISTS contract (name TEXT PRIMARY KEY, address BLOB NOT NULL)")
        self._sql.execute(f"PRAGMA user_version = {CHAIN_FORMAT}")
        self._sql.execute("COMMIT")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside is on disk at the end, or nothing of it is."""
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._sql.execute("COMMIT")
        except BaseException:
            # A full disk may have ended the transaction already.
            if self._sql.in_transaction:
                self._sql.execute("ROLLBACK")
            raise

    def is_empty(self) -> bool:
        return self._sql.execute("SELECT 1 FROM node LIMIT 1").fetchone() is None

    def contract(self, name: str) -> bytes | None:
        """Where the contract stands that was deployed under this name."""
        row = self._sql.execute("SELECT address FROM contract WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def keep_contract(self, name: str, address: bytes) -> None:
        self._sql.execute("INSERT INTO contract VALUES (?, ?)", (name, address))

    def close(self) -> None:
        self._sql.close()

    def __getitem__(self, key: bytes) -> bytes:
        row = self._sql.execute("SELECT value FROM node WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        value: bytes = row[0]
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._sql.execute("INSERT OR REPLACE INTO node VALUES (?, ?)", (key, value))

    def __delitem__(self, key: bytes) -> None:
        if self._sql.execute("DELETE FROM node WHERE key = ?", (key,)).rowcount == 0:
            raise KeyError(key)

    def _exists(self, key: bytes) -> bool:
        return self._sql.execute("SELECT 1 FROM node WHERE key = ?", (key,)).fetchone() is not None


def _sync_folder(folder: Path) -> None:
    """The folder's entries are on disk when this returns: a synced file under a lost name would be lost too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""A co-op to back up: books with plays in every state, a catalogue whose objects are in a folder, and its settings."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from ledger.store import partitions
from ledger.store.terms import Founding
from streamcoop.maintenance import backup
from streamcoop.maintenance.manifest import Manifest
from streamcoop.settings import Settings
from tests.conftest import Database
from tests.ledger.factories import (
    EPOCH,
    NOW,
    claim,
    close,
    found,
    listener_with,
    record_now,
    settle_all,
    solo,
    splits_from,
)

CREDITS_MICRO = 10_000_000
ORIGINAL_BYTES = 10_000


@dataclass(frozen=True)
class SmallCoop:
    """What was in the service when it was backed up."""

    database: Database
    settings: Settings
    objects: Path
    founding: Founding
    listener: UUID
    artist: UUID
    track: UUID
    settled_plays: int
    unsettled_plays: int

    def back_up(self, target: Path) -> Manifest:
        return backup.back_up(target, self.settings)

    def original(self) -> Path:
        return self.objects / original_key(self.track)


def original_key(track: UUID) -> str:
    return f"tracks/{track}/original.flac"


def settings_for(database: Database, folder: Path, secret_key: str) -> Settings:
    """Settings of a service on this database, with its objects and all else in `folder`."""
    return Settings(
        data_dir=folder,
        database_url=database.app_url,
        database_owner_url=database.owner_url,
        broker_url="memory://",
        objects_url=(folder / "objects").as_uri(),
        chain_rpc_url="http://127.0.0.1:1",
        secret_key=secret_key,
    )


def a_secret_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


@pytest.fixture(scope="module")
def coop(
    cloned_database: Callable[[], AbstractContextManager[Database]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SmallCoop]:
    """The same for all tests of a module, which only read it."""
    with small_coop(cloned_database, tmp_path_factory.mktemp("coop")) as made:
        yield made


@contextmanager
def small_coop(cloned_database: Callable[[], AbstractContextManager[Database]], folder: Path) -> Iterator[SmallCoop]:
    with cloned_database() as database:
        founding = found(database.engine)
        listener, artist, track = listener_with(database.engine, CREDITS_MICRO), uuid4(), uuid4()
        # Before there is a partition for them, so they stay in `play_rest`.
        record_now(database.app_url, [claim(listener, track)])
        with database.engine.begin() as conn:
            partitions.ensure_partitions(conn, NOW)
        record_now(database.app_url, [claim(listener, track, 2, 4_000)])
        settle_all(database.engine)
        close(database.engine, founding, EPOCH, splits_from({track: solo(artist)}))
        record_now(database.app_url, [claim(listener, track, 3, 8_000, epoch=EPOCH + 1)], now=NOW + timedelta(days=31))
        coop = SmallCoop(
            database,
            settings_for(database, folder, a_secret_key()),
            folder / "objects",
            founding,
            listener,
            artist,
            track,
            settled_plays=2,
            unsettled_plays=1,
        )
        _catalogue(coop)
        yield coop


def _catalogue(coop: SmallCoop) -> None:
    kept = coop.original()
    kept.parent.mkdir(parents=True)
    kept.write_bytes(secrets.token_bytes(ORIGINAL_BYTES))
    ids = {"artist": uuid4(), "release": uuid4(), "track": coop.track, "user": coop.artist}
    statements = [
        """insert into coop."user" (id, email, password_hash, name, roles, created_at)
           values (:user, 'sekar@streamcoop.example', 'x', 'Sekar', '{listener,artist}', now())""",
        """insert into coop.artist (id, owner_id, name, created_at, words)
           values (:artist, :user, 'Sekar', now(), 'sekar')""",
        """insert into coop.release (id, artist_id, title, kind, state, created_at, published_at, words)
           values (:release, :artist, 'Gong', 'single', 'published', now(), now(), 'gong')""",
        """insert into coop.track (id, release_id, artist_id, position, title, state, duration_ms, original, sha256,
                                   format, content_type, lossless, bytes, filename, uploaded_at, tags, attempts, words,
                                   release_words)
           values (:track, :release, :artist, 1, 'Gong', 'ready', 1000, :key, sha256('x'), 'flac', 'audio/flac', true,
                   :bytes, 'gong.flac', now(), '{}', 0, 'gong', 'gong')""",
    ]
    with coop.database.engine.begin() as conn:
        for statement in statements:
            conn.execute(text(statement), ids | {"key": original_key(coop.track), "bytes": ORIGINAL_BYTES})

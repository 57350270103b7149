"""The catalogue's objects: their keys, and how none is left over.

An object is listed as discarded in the transaction after which nothing refers to it. One that is about to be put is
listed beforehand and taken off the list by the transaction that refers to it; so whatever dies in between, the
sweeper deletes what nobody wants.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ledger.errors import DomainError
from ledger.ids import new_id
from streamcoop.adapters.audio import Format
from streamcoop.adapters.objects import ObjectMissing, ObjectStoreUnavailable
from streamcoop.catalogue.models import DiscardedObject, RenditionCodec
from streamcoop.problems import register

log = logging.getLogger(__name__)

# Longer than any upload or rendering that is under way can last: what is due is nobody's.
DISCARD_AFTER = timedelta(hours=2)
_BEING_DELETED = datetime(1970, 1, 1, tzinfo=UTC)
RETRY_AFTER_S = 30
REFERRED_PAGE = 10_000

CONTENT_TYPES: Final[dict[Format, str]] = {
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "vorbis": "audio/ogg",
    "opus": "audio/ogg",
    "m4a": "audio/mp4",
    "wav": "audio/wav",
    "aiff": "audio/aiff",
}
_RENDITION_NAMES: Final[dict[RenditionCodec, str]] = {
    "mp3": "mp3.mp3",
    "opus": "opus.webm",
    "flac": "flac.flac",
    "preview": "preview.mp3",
}
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class StorageUnavailable(DomainError):
    """The service cannot store or read files just now: try again in a moment."""


register({StorageUnavailable: HTTPStatus.SERVICE_UNAVAILABLE})


@contextmanager
def storing() -> Iterator[None]:
    """Turns a store or disk that does not do its work into StorageUnavailable."""
    try:
        yield
    except (ObjectStoreUnavailable, ObjectMissing) as error:
        log.error("object store failed", extra={"error": str(error)})
        raise StorageUnavailable(retry_after_s=RETRY_AFTER_S) from error
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        log.error("no room left for uploads")
        raise StorageUnavailable(retry_after_s=RETRY_AFTER_S) from error


def original_key(track_id: UUID, format_: Format) -> str:
    """Where an upload's bytes are kept, unchanged."""
    return f"tracks/{track_id}/original.{format_}"


def rendition_key(track_id: UUID, codec: RenditionCodec) -> str:
    """Where a rendition is kept: the same key however often it is made."""
    return f"tracks/{track_id}/{_RENDITION_NAMES[codec]}"


def artwork_key(release_id: UUID) -> str:
    """A fresh key for a picture, never used twice: another picture has another key."""
    return f"artwork/{release_id}/{new_id()}.jpg"


def keys_of_track(track_id: UUID, original: str) -> list[str]:
    """All keys a track's objects may have, whether they exist or not."""
    return [original, *(rendition_key(track_id, codec) for codec in _RENDITION_NAMES)]


def discard(session: Session, keys: Iterable[str], now: datetime) -> None:
    """Have these objects deleted, some time after whoever may be writing them is done."""
    rows = [{"key": key, "due_at": now + DISCARD_AFTER} for key in keys]
    session.execute(insert(DiscardedObject).values(rows).on_conflict_do_nothing())


def keep(session: Session, key: str) -> bool:
    """Take an object off the list. False: it is not there any more, or being deleted, so the object may be gone."""
    kept = delete(DiscardedObject).where(DiscardedObject.key == key, DiscardedObject.due_at > _BEING_DELETED)
    return session.execute(kept.returning(DiscardedObject.key)).first() is not None


_REFERRED = text("""
    select original as key, bytes as size from coop.track where state <> 'storing'
    union all select object_key, size from coop.rendition
    union all select artwork, null from coop.release where artwork is not null
""")


def referred(conn: Connection) -> Iterator[tuple[str, int | None]]:
    """Every object that a row refers to, with its size where the row says it; read a page at a time."""
    for row in conn.execute(_REFERRED, execution_options={"yield_per": REFERRED_PAGE}):
        yield row.key, row.size


def due(session: Session, now: datetime, limit: int) -> list[str]:
    """Objects to delete now. From here on nobody can keep them, even where the clock was ahead."""
    found = select(DiscardedObject.key).where(DiscardedObject.due_at <= now).order_by(DiscardedObject.due_at)
    keys = list(session.scalars(found.limit(limit).with_for_update(skip_locked=True)))
    session.execute(update(DiscardedObject).where(DiscardedObject.key.in_(keys)).values(due_at=_BEING_DELETED))
    return keys


def deleted(session: Session, keys: list[str]) -> None:
    """These objects have been deleted."""
    session.execute(delete(DiscardedObject).where(DiscardedObject.key.in_(keys)))

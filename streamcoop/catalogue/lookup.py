"""What other features ask the catalogue: what can be played, whose it is, and what it is called."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ledger.store.commitments import ToldTrack
from streamcoop.adapters.audio import CONTENT_TYPES, Codec
from streamcoop.catalogue import service, storage
from streamcoop.catalogue.models import Artist, Release, Rendition, Track

# A track that was taken down is to others as if its release were withdrawn.
_PLAYABLE = """
    select t.id, a.owner_id, case when t.taken_down is null or r.state = 'draft' then r.state else 'withdrawn' end,
           t.duration_ms, t.original, t.filename, t.content_type, t.bytes, t.title, a.name,
           f.codec, f.id, f.object_key, f.content_type, f.size, f.duration_ms, f.header_bytes
      from coop.track t
      join coop.release r on r.id = t.release_id
      join coop.artist a on a.id = t.artist_id
      join coop.rendition f on f.track_id = t.id
     where t.id = any(%s) and t.state = 'ready'
       and t.taken_down is distinct from 'removed' and r.taken_down is distinct from 'removed'
"""

_PREVIEW = """
    select f.id, f.codec, f.object_key, f.content_type, f.size, f.duration_ms, f.header_bytes
      from coop.track t
      join coop.release r on r.id = t.release_id
      join coop.rendition f on f.track_id = t.id
     where t.id = %s and t.state = 'ready' and r.state <> 'draft' and f.codec = 'preview'
"""


@dataclass(frozen=True, slots=True)
class PlayableRendition:
    """A file listeners can be sent. Audio begins after the first `header_bytes`."""

    id: UUID
    codec: str
    object_key: str
    content_type: str
    size: int
    duration_ms: int
    header_bytes: int


@dataclass(frozen=True, slots=True)
class Playable:
    """A track that is ready and was not removed, and its files by codec.

    Who may hear it, by `release_state`, is the caller's to decide.
    """

    track_id: UUID
    artist_owner_id: UUID
    release_state: str
    duration_ms: int
    original_key: str
    original_name: str
    original_content_type: str
    original_size: int
    title: str
    artist_name: str
    renditions: dict[str, PlayableRendition]


@dataclass(frozen=True, slots=True)
class File:
    """An object of a track, and how long it is in bytes."""

    key: str
    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Recording:
    """A track that is ready as it is kept outside of the service: what is written on it, and its files by codec.

    `artwork` is the key of its release's picture.
    """

    track_id: UUID
    title: str
    artist: str
    release: str
    position: int
    date: str | None
    genre: str | None
    isrc: str | None
    artwork: str | None
    format: str
    original: File
    renditions: dict[str, File]


@dataclass(frozen=True, slots=True)
class TrackTitle:
    """What a track is called."""

    title: str
    artist: str
    release: str
    isrc: str | None


@dataclass(frozen=True, slots=True)
class TrackCard:
    """A track as a list of music shows it. `is_hidden`: it was never published. `artwork` is the picture's address."""

    id: UUID
    title: str
    artist_id: UUID
    artist: str
    artist_owner_id: UUID
    release_id: UUID
    release: str
    artwork: str | None
    duration_ms: int | None
    is_ready: bool
    is_published: bool
    is_hidden: bool


async def playable(conn: psycopg.AsyncConnection[Any], track_ids: Collection[UUID]) -> dict[UUID, Playable]:
    """Those of the tracks that are ready and not removed, of whatever release, in one round trip."""
    found: dict[UUID, Playable] = {}
    for row in await (await conn.execute(_PLAYABLE, (list(track_ids),))).fetchall():
        members: list[Any] = [*row[:10], {}]
        found.setdefault(row[0], Playable(*members)).renditions[row[10]] = PlayableRendition(
            row[11], row[10], *row[12:]
        )
    return found


async def preview_of_whatever_was_public(
    conn: psycopg.AsyncConnection[Any], track_id: UUID
) -> PlayableRendition | None:
    """The beginning of a track that was once published, also where it is withdrawn or taken down."""
    row = await (await conn.execute(_PREVIEW, (track_id,))).fetchone()
    return PlayableRendition(*row) if row else None


def rendition_object(track_id: UUID, codec: Codec) -> tuple[str, str]:
    """Key and media type of a rendition of a track that is ready. No table is asked: both follow from its name."""
    return storage.rendition_key(track_id, codec), CONTENT_TYPES[codec]


def owners_of(session: Session, track_ids: set[UUID]) -> dict[UUID, UUID]:
    """Whose these tracks are: the account that owns the artist."""
    found = select(Track.id, Artist.owner_id).join(Artist, Artist.id == Track.artist_id).where(Track.id.in_(track_ids))
    return dict(session.execute(found).all())


def recordings(session: Session, track_ids: Collection[UUID]) -> list[ToldTrack]:
    """These tracks as the shared log tells them."""
    found = (
        select(Track.id, Track.artist_id, Track.sha256, Artist.owner_id)
        .join(Artist, Artist.id == Track.artist_id)
        .where(Track.id.in_(track_ids))
    )
    return [ToldTrack(*row) for row in session.execute(found)]


# What is sent to those who own it, as in `_PLAYABLE`.
_KEPT_BY_OWNERS = (
    Track.state == "ready",
    Track.taken_down.is_distinct_from("removed"),
    Release.taken_down.is_distinct_from("removed"),
)


def to_keep(session: Session, track_ids: Collection[UUID]) -> list[Recording]:
    """Those of the tracks that are ready and not removed, of whatever release, by artist, release and position."""
    found = (
        select(Track, Release, Artist.name)
        .join(Release, Release.id == Track.release_id)
        .join(Artist, Artist.id == Track.artist_id)
        .where(Track.id.in_(track_ids), *_KEPT_BY_OWNERS)
        .order_by(Artist.words, Artist.id, Release.id, Track.position, Track.id)
    )
    files: dict[UUID, dict[str, File]] = {}
    for made in session.scalars(select(Rendition).where(Rendition.track_id.in_(track_ids))):
        files.setdefault(made.track_id, {})[made.codec] = File(made.object_key, made.content_type, made.size)
    return [
        Recording(
            track_id=track.id,
            title=track.title,
            artist=artist,
            release=release.title,
            position=track.position,
            date=release.released_on.isoformat() if release.released_on else None,
            genre=track.genre or release.genre,
            isrc=track.isrc,
            artwork=release.artwork,
            format=track.format,
            original=File(track.original, track.content_type, track.bytes),
            renditions=files.get(track.id, {}),
        )
        for track, release, artist in session.execute(found)
    ]


def kept_as(session: Session, track_ids: Collection[UUID]) -> dict[UUID, set[str]]:
    """What those of the tracks that are ready and not removed are kept as: `original` and its format, and the codecs of
    renditions.
    """
    ready = select(Track.id, Track.format).join(Release, Release.id == Track.release_id)
    kept = {
        track_id: {"original", format_}
        for track_id, format_ in session.execute(ready.where(Track.id.in_(track_ids), *_KEPT_BY_OWNERS))
    }
    made = select(Rendition.track_id, Rendition.codec).where(Rendition.track_id.in_(kept))
    for track_id, codec in session.execute(made):
        kept[track_id].add(codec)
    return kept


def sizes(session: Session, track_ids: Collection[UUID]) -> dict[str, int]:
    """How many bytes the originals of those of the tracks that are ready and not removed have together (`original`),
    and their renditions, by codec.
    """
    kept = (Track.id.in_(track_ids), *_KEPT_BY_OWNERS)
    renditions = select(Rendition.codec, func.sum(Rendition.size)).join(Track, Track.id == Rendition.track_id)
    renditions = renditions.join(Release, Release.id == Track.release_id).where(*kept)
    found = {codec: int(size) for codec, size in session.execute(renditions.group_by(Rendition.codec))}
    originals = select(func.sum(Track.bytes)).join(Release, Release.id == Track.release_id).where(*kept)
    return found | {"original": int(session.scalar(originals) or 0)}


def titles(session: Session, track_ids: set[UUID]) -> dict[UUID, TrackTitle]:
    """What these tracks are called."""
    found = (
        select(Track.id, Track.title, Artist.name, Release.title, Track.isrc)
        .join(Artist, Artist.id == Track.artist_id)
        .join(Release, Release.id == Track.release_id)
        .where(Track.id.in_(track_ids))
    )
    return {
        track_id: TrackTitle(title, artist, release, isrc)
        for track_id, title, artist, release, isrc in session.execute(found)
    }


def cards(session: Session, track_ids: Collection[UUID]) -> dict[UUID, TrackCard]:
    """These tracks, of whatever release, as lists show them. What may be told to whom is the caller's to decide."""
    found = (
        select(Track.id, Track.title, Artist.id, Artist.name, Artist.owner_id, Release.id, Release.title,
               Release.artwork, Track.duration_ms, Track.state, Release.state, Track.taken_down, Release.taken_down)
        .join(Artist, Artist.id == Track.artist_id)
        .join(Release, Release.id == Track.release_id)
        .where(Track.id.in_(track_ids))
    )  # fmt: skip
    return {
        row[0]: TrackCard(
            *row[:7],
            artwork=artwork_path(row[5]) if row[7] else None,
            duration_ms=row[8],
            is_ready=row[9] == "ready" and "removed" not in row[11:13],
            is_published=row[10] == "published" and row[11] is None,
            is_hidden=row[10] == "draft",
        )
        for row in session.execute(found).all()
    }


def artwork_path(release_id: UUID) -> str:
    """Where a release's picture is, if it has one."""
    return f"/api/v1/releases/{release_id}/artwork"


def require_own_track(session: Session, user_id: UUID, track_id: UUID) -> Track:
    """A track of this account. Raises NotFound."""
    return service.own_track(session, user_id, track_id)


def tracks_of_owner(session: Session, user_id: UUID) -> set[UUID]:
    """All tracks of this account's artists."""
    found = select(Track.id).join(Artist, Artist.id == Track.artist_id).where(Artist.owner_id == user_id)
    return set(session.scalars(found))

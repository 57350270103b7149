"""Artists, releases and tracks: opening, editing, publishing and withdrawing them.

What belongs to others answers as if it did not exist.
"""

from __future__ import annotations

from datetime import date, datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload, selectinload, undefer

from ledger.errors import DomainError
from ledger.ids import new_id
from streamcoop.catalogue import storage
from streamcoop.catalogue.models import Artist, Release, ReleaseKind, Track
from streamcoop.catalogue.search import artist_words, fold
from streamcoop.errors import NotFound
from streamcoop.problems import register

ARTISTS_PER_OWNER_MAX = 20
RELEASES_PER_ARTIST_MAX = 500
# Tracks deleted in one transaction, each with a handful of objects.
ERASED_AT_ONCE = 200


class TooManyArtists(DomainError):
    """You have as many artists as one account may have."""


class TooManyReleases(DomainError):
    """This artist has as many releases as one artist may have."""


class ReleaseNotDraft(DomainError):
    """This is possible only while the release is a draft."""


class NothingToPublish(DomainError):
    """Upload a track before publishing the release."""


class TracksNotReady(DomainError):
    """Some tracks are still being processed or have failed: wait for them or delete them, then publish."""


class TakenDown(DomainError):
    """The co-op has taken this down: it cannot be published unless an appeal restores it."""


class NotPublished(DomainError):
    """The release was never published, so it cannot be withdrawn."""


register(
    {
        TooManyArtists: HTTPStatus.CONFLICT,
        TooManyReleases: HTTPStatus.CONFLICT,
        ReleaseNotDraft: HTTPStatus.CONFLICT,
        NothingToPublish: HTTPStatus.CONFLICT,
        TracksNotReady: HTTPStatus.CONFLICT,
        NotPublished: HTTPStatus.CONFLICT,
        TakenDown: HTTPStatus.CONFLICT,
    }
)


def open_artist(session: Session, owner_id: UUID, name: str, bio: str | None, now: datetime) -> Artist:
    """A new artist of this account. Raises TooManyArtists."""
    # There may be no row yet that could be locked instead.
    session.execute(text("select pg_advisory_xact_lock(hashtextextended(:owner, 0))"), {"owner": f"artists {owner_id}"})
    if (session.scalar(select(func.count()).where(Artist.owner_id == owner_id)) or 0) >= ARTISTS_PER_OWNER_MAX:
        raise TooManyArtists(artists_max=ARTISTS_PER_OWNER_MAX)
    artist = Artist(id=new_id(), owner_id=owner_id, name=name, bio=bio, created_at=now, words=artist_words(name))
    session.add(artist)
    return artist


def artist(session: Session, artist_id: UUID) -> Artist:
    """An artist by its id. Raises NotFound."""
    found = session.get(Artist, artist_id)
    if found is None:
        raise NotFound
    return found


def artists_of(session: Session, owner_id: UUID) -> list[Artist]:
    """An account's artists, oldest first: at most ARTISTS_PER_OWNER_MAX."""
    return list(session.scalars(select(Artist).where(Artist.owner_id == owner_id).order_by(Artist.id)))


def own_artist(session: Session, owner_id: UUID, artist_id: UUID) -> Artist:
    """An artist of this account, locked. Raises NotFound."""
    found = session.scalar(select(Artist).where(Artist.id == artist_id, Artist.owner_id == owner_id).with_for_update())
    if found is None:
        raise NotFound
    return found


def change_artist(session: Session, owner_id: UUID, artist_id: UUID, changes: dict[str, Any]) -> Artist:
    """Change the named fields of an artist. Raises NotFound."""
    changed = own_artist(session, owner_id, artist_id)
    _assign(changed, changes)
    if "name" in changes:
        changed.words = artist_words(changed.name)
    return changed


def open_release(
    session: Session,
    owner_id: UUID,
    artist_id: UUID,
    title: str,
    kind: ReleaseKind,
    released_on: date | None,
    genre: str | None,
    now: datetime,
) -> Release:
    """A new draft. Raises NotFound, TooManyReleases."""
    own_artist(session, owner_id, artist_id)
    if (session.scalar(select(func.count()).where(Release.artist_id == artist_id)) or 0) >= RELEASES_PER_ARTIST_MAX:
        raise TooManyReleases(releases_max=RELEASES_PER_ARTIST_MAX)
    release_id = new_id()
    release = {
        "id": release_id,
        "artist_id": artist_id,
        "title": title,
        "kind": kind,
        "released_on": released_on,
        "genre": genre,
        "state": "draft",
        "created_at": now,
        "words": fold(title),
    }
    session.execute(insert(Release).values(release))
    return own_release(session, owner_id, release_id)


def own_release(session: Session, owner_id: UUID, release_id: UUID) -> Release:
    """A release of this account, locked and loaded with its artist. Raises NotFound."""
    found = session.scalar(
        select(Release)
        .join(Release.artist)
        .where(Release.id == release_id, Artist.owner_id == owner_id)
        .options(joinedload(Release.artist))
        .with_for_update(of=Release)
        .execution_options(populate_existing=True)
    )
    if found is None:
        raise NotFound
    return found


def own_draft(session: Session, owner_id: UUID, release_id: UUID) -> Release:
    """A draft of this account, locked and loaded with its artist. Raises NotFound, ReleaseNotDraft."""
    found = own_release(session, owner_id, release_id)
    if found.state != "draft":
        raise ReleaseNotDraft(state=found.state)
    return found


def release(session: Session, viewer_id: UUID | None, release_id: UUID) -> Release:
    """A release this viewer may see, loaded with its artist and its tracks that she may see. Raises NotFound."""
    hers = Track.artist_id.in_(select(Artist.id).where(Artist.owner_id == viewer_id))
    shown = selectinload(Release.tracks.and_(or_(Track.taken_down.is_(None), hers)))
    found = session.scalar(
        select(Release)
        .where(Release.id == release_id)
        .options(joinedload(Release.artist), shown)
        .execution_options(populate_existing=True)
    )
    if found is None or not _is_visible(found, viewer_id):
        raise NotFound
    return found


def change_release(session: Session, owner_id: UUID, release_id: UUID, changes: dict[str, Any]) -> Release:
    """Change the named fields of a release. Raises NotFound."""
    changed = own_release(session, owner_id, release_id)
    _assign(changed, changes)
    if "title" in changes:
        words = changed.words = fold(changed.title)
        session.execute(update(Track).where(Track.release_id == release_id).values(release_words=words))
    return changed


def publish(session: Session, owner_id: UUID, release_id: UUID, now: datetime) -> Release:
    """Show a release to everybody; again after it was withdrawn. Nothing happens to one that is published.

    Raises NotFound, TakenDown, NothingToPublish, TracksNotReady.
    """
    published = own_release(session, owner_id, release_id)
    if published.taken_down:
        raise TakenDown
    states = dict(session.execute(select(Track.id, Track.state).where(Track.release_id == release_id)).all())
    if not states:
        raise NothingToPublish
    if waiting := sorted(str(track_id) for track_id, state in states.items() if state != "ready"):
        raise TracksNotReady(tracks=waiting)
    published.state = "published"
    published.published_at = published.published_at or now
    return published


def withdraw(session: Session, owner_id: UUID, release_id: UUID) -> Release:
    """Hide a release from others. Raises NotFound, NotPublished."""
    withdrawn = own_release(session, owner_id, release_id)
    if withdrawn.state == "draft":
        raise NotPublished
    withdrawn.state = "withdrawn"
    return withdrawn


def track(session: Session, viewer_id: UUID | None, track_id: UUID) -> Track:
    """A track this viewer may see, loaded with its release, artist and waveform. Raises NotFound."""
    found = session.scalar(
        select(Track)
        .where(Track.id == track_id)
        .options(joinedload(Track.release).joinedload(Release.artist), undefer(Track.waveform))
    )
    if found is None or not _is_visible(found.release, viewer_id):
        raise NotFound
    if found.taken_down and found.release.artist.owner_id != viewer_id:
        raise NotFound
    return found


def own_track(session: Session, owner_id: UUID, track_id: UUID) -> Track:
    """A track of this account, loaded with its release and artist. Raises NotFound."""
    found = track(session, owner_id, track_id)
    if found.release.artist.owner_id != owner_id:
        raise NotFound
    return found


def change_track(session: Session, owner_id: UUID, track_id: UUID, changes: dict[str, Any]) -> Track:
    """Change the named fields of a track. Raises NotFound."""
    changed = own_track(session, owner_id, track_id)
    _assign(changed, changes)
    if "title" in changes:
        changed.words = fold(changed.title)
    return changed


def delete_track(session: Session, owner_id: UUID, track_id: UUID, now: datetime) -> None:
    """Delete a track of a draft; its objects follow later. Raises NotFound, ReleaseNotDraft."""
    doomed = own_track(session, owner_id, track_id)
    own_draft(session, owner_id, doomed.release_id)
    session.execute(delete(Track).where(Track.id == track_id))
    storage.discard(session, storage.keys_of_track(track_id, doomed.original), now)


# --- Of an artist who goes ---


def releases_of_owner(session: Session, owner_id: UUID) -> list[Release]:
    """All releases of this account's artists but drafts."""
    found = select(Release).join(Artist, Artist.id == Release.artist_id).where(Artist.owner_id == owner_id)
    return list(session.scalars(found.where(Release.state != "draft").order_by(Release.id)))


def erase_drafts(session: Session, owner_id: UUID, now: datetime, most: int = ERASED_AT_ONCE) -> bool:
    """Delete what nobody else has ever seen: drafts with their files, and artists without a release.

    So many tracks a call; False once nothing is left. Safe to repeat. What was once published stays for those who own
    its tracks, under the name it was published by.
    """
    artists = select(Artist.id).where(Artist.owner_id == owner_id)
    drafts = select(Release.id).where(Release.artist_id.in_(artists), Release.state == "draft")
    doomed = select(Track.id, Track.original).where(Track.release_id.in_(drafts)).order_by(Track.id).limit(most)
    tracks = dict(session.execute(doomed).all())
    if tracks:
        session.execute(delete(Track).where(Track.id.in_(tracks)))
        for track_id, original in tracks.items():
            storage.discard(session, storage.keys_of_track(track_id, original), now)
        return True
    pictures = session.scalars(delete(Release).where(Release.id.in_(drafts)).returning(Release.artwork)).all()
    if kept := [picture for picture in pictures if picture]:
        storage.discard(session, kept, now)
    has_release = select(Release.id).where(Release.artist_id == Artist.id).exists()
    session.execute(delete(Artist).where(Artist.owner_id == owner_id, ~has_release))
    session.execute(update(Artist).where(Artist.owner_id == owner_id).values(bio=None))
    return False


def _is_visible(release: Release, viewer_id: UUID | None) -> bool:
    return release.state == "published" or release.artist.owner_id == viewer_id


def _assign(row: Artist | Release | Track, changes: dict[str, Any]) -> None:
    for field, value in changes.items():
        setattr(row, field, value)

"""Taking music down and putting it back, as the co-op's operators decide. Why, and who says so, is `moderation`'s.

A release is withdrawn with it; of a track alone its release goes on. Plays that are open already run to their end.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, joinedload

from streamcoop.catalogue import service
from streamcoop.catalogue.models import Artist, Release, TakenDownAs, Track
from streamcoop.errors import NotFound

Kind = Literal["track", "release"]


@dataclass(frozen=True, slots=True)
class Subject:
    """A track or a release: one of the two ids."""

    track_id: UUID | None
    release_id: UUID | None


@dataclass(frozen=True, slots=True)
class Named:
    """What a track or release is called, and whose it is. `release_id` is a track's own release."""

    kind: Kind
    id: UUID
    title: str
    artist_id: UUID
    artist: str
    owner_id: UUID
    release_id: UUID
    taken_down: TakenDownAs | None


def require_public(session: Session, subject: Subject) -> None:
    """Raises NotFound for what not everybody sees."""
    if subject.track_id:
        service.track(session, None, subject.track_id)
    elif subject.release_id:
        service.release(session, None, subject.release_id)


def named(session: Session, subjects: Collection[Subject]) -> dict[Subject, Named]:
    """What these are called, seen or not."""
    tracks = {subject.track_id: subject for subject in subjects if subject.track_id}
    releases = {subject.release_id: subject for subject in subjects if subject.release_id}
    found: dict[Subject, Named] = {}
    of_tracks = select(Track).where(Track.id.in_(tracks)).options(joinedload(Track.release).joinedload(Release.artist))
    for track in session.scalars(of_tracks):
        found[tracks[track.id]] = _named("track", track, track.release.artist, track.release_id)
    of_releases = select(Release).where(Release.id.in_(releases)).options(joinedload(Release.artist))
    for release in session.scalars(of_releases):
        found[releases[release.id]] = _named("release", release, release.artist, release.id)
    return found


def tracks_of(session: Session, subjects: Collection[Subject]) -> dict[Subject, list[tuple[UUID, str]]]:
    """The tracks that each of these is or has, seen or not: id and title, in order."""
    by_track = {subject.track_id: subject for subject in subjects if subject.track_id}
    by_release = {subject.release_id: subject for subject in subjects if subject.release_id}
    found: dict[Subject, list[tuple[UUID, str]]] = {subject: [] for subject in subjects}
    wanted = select(Track).where(or_(Track.id.in_(by_track), Track.release_id.in_(by_release)))
    for track in session.scalars(wanted.order_by(Track.position, Track.id)):
        for subject in (by_track.get(track.id), by_release.get(track.release_id)):
            if subject:
                found[subject].append((track.id, track.title))
    return found


def _named(kind: Kind, row: Track | Release, artist: Artist, release_id: UUID) -> Named:
    return Named(kind, row.id, row.title, artist.id, artist.name, artist.owner_id, release_id, row.taken_down)


def take_down(session: Session, subject: Subject, how: TakenDownAs) -> bool:
    """Take something down; returns whether it is a release that was published until now.

    Raises NotFound. The caller has seen that it was not taken down before.
    """
    row = _locked(session, subject)
    was_published = isinstance(row, Release) and row.state == "published"
    if isinstance(row, Release):
        row.state = "withdrawn"
    row.taken_down = how
    return was_published


def restore(session: Session, subject: Subject, publish: bool) -> None:
    """Put back what was taken down; a release is published again if it was. Raises NotFound."""
    row = _locked(session, subject)
    row.taken_down = None
    if publish and isinstance(row, Release):
        row.state = "published"


def _locked(session: Session, subject: Subject) -> Track | Release:
    row: Track | Release | None = None
    if subject.track_id:
        row = session.get(Track, subject.track_id, with_for_update=True)
    elif subject.release_id:
        row = session.get(Release, subject.release_id, with_for_update=True)
    if row is None:
        raise NotFound
    return row

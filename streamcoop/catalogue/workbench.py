"""What an artist's owner still has to finish: her drafts, and how far their tracks are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session, contains_eager

from streamcoop.catalogue.models import Artist, Release, Track

DRAFTS_MAX = 50
_STATES = ("ready", "processing", "failed")


@dataclass(frozen=True, slots=True)
class Draft:
    """A release that is not published, loaded with its artist, and how many of its tracks are in which state."""

    release: Release
    ready: int
    processing: int
    failed: int

    @property
    def is_publishable(self) -> bool:
        """Whether `service.publish` would take it."""
        return self.ready > 0 and not (self.processing or self.failed)


def drafts(session: Session, owner_id: UUID, most: int = DRAFTS_MAX) -> list[Draft]:
    """The newest drafts of this account's artists."""
    newest = (
        select(Release)
        .join(Release.artist)
        .where(Artist.owner_id == owner_id, Release.state == "draft")
        .options(contains_eager(Release.artist))
        .order_by(Release.id.desc())
        .limit(most)
    )
    releases = list(session.scalars(newest))
    counted = (
        select(Track.release_id, Track.state, func.count())
        .where(Track.release_id.in_([release.id for release in releases]))
        .group_by(Track.release_id, Track.state)
    )
    counts: dict[UUID, Counter[str]] = {release.id: Counter() for release in releases}
    for release_id, state, tracks in session.execute(counted):
        # Nobody is told of an upload before it is stored, so the two are one to her.
        counts[release_id]["processing" if state == "storing" else state] += tracks
    return [Draft(release, *(counts[release.id][state] for state in _STATES)) for release in releases]

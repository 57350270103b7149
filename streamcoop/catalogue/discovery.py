"""Releases for somebody who looks for nothing in particular: the most owned, random ones, and genres.

Owners are counted by a worker now and then, a chunk of releases a transaction, and the figures kept. To count at each
request would read all ownership there is; to count while plays are settled would have the hot path pay for a page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload

from ledger.store import owning
from streamcoop.catalogue.models import Release, ReleaseOwnership, Track
from streamcoop.catalogue.search import Page, opened, page_of

# Of fewer no number is told, and none is kept: a friend could guess who they are.
OWNERS_TOLD_MIN = 5
RELEASES_A_CHUNK = 500
RANDOM_MAX = 50
GENRES_MAX = 200
# What uuid_hash gives: 32 bits, signed.
HASH_MIN, HASHES = -(1 << 31), 1 << 32

_PLACE = func.uuid_hash(Release.id)


@dataclass(frozen=True, slots=True)
class Genre:
    """A genre by the first of its spellings, and how many published releases have it."""

    name: str
    releases: int


def most_owned(session: Session, cursor: str | None, limit: int) -> Page[tuple[Release, int]]:
    """Published releases that at least OWNERS_TOLD_MIN listeners own something of, and how many. Raises BadCursor."""
    found = select(Release, ReleaseOwnership.owners).join(ReleaseOwnership, ReleaseOwnership.release_id == Release.id)
    if cursor is not None:
        owners, id_ = opened(cursor, int, UUID)
        found = found.where(tuple_(ReleaseOwnership.owners, ReleaseOwnership.release_id) < (owners, id_))
    found = found.where(Release.state == "published").options(joinedload(Release.artist))
    found = found.order_by(ReleaseOwnership.owners.desc(), ReleaseOwnership.release_id.desc())
    rows = [(release, owners) for release, owners in session.execute(found.limit(limit + 1)).all()]
    return page_of(rows, limit, lambda row: [str(row[1]), str(row[0].id)])


def random(session: Session, start: int, limit: int) -> list[Release]:
    """Published releases from a random place of a shuffled order on, and on from its beginning after its end.

    `start`: from HASH_MIN on, of HASHES. Each is as likely as another, but for who stands behind a wide gap; whoever
    stand side by side come together again and again, which costs less than to shuffle anew.
    """
    shuffled = select(Release).where(Release.state == "published").order_by(_PLACE, Release.id)
    shuffled = shuffled.options(joinedload(Release.artist)).limit(limit)
    after = list(session.scalars(shuffled.where(_PLACE.op(">=")(start))))
    if len(after) == limit:
        return after
    before = session.scalars(shuffled.where(_PLACE.op("<")(start)))
    return [*after, *before][:limit]


def genres(session: Session) -> list[Genre]:
    """Genres of published releases, the most frequent first: at most GENRES_MAX. An index alone is read."""
    folded = func.lower(Release.genre)
    count = func.count().label("count")
    found = (
        select(func.min(Release.genre), count)
        .where(Release.state == "published", Release.genre.is_not(None))
        .group_by(folded)
    )
    rows = session.execute(found.order_by(count.desc(), folded).limit(GENRES_MAX)).all()
    return [Genre(str(name), releases) for name, releases in rows]


def count_owners(session: Session, after: UUID | None, most: int = RELEASES_A_CHUNK) -> UUID | None:
    """Count the owners of the next published releases by their ids; returns the last one's, None at the end.

    Safe to repeat.
    """
    ids = select(Release.id).where(Release.state == "published").order_by(Release.id).limit(most)
    if after is not None:
        ids = ids.where(Release.id > after)
    releases = list(session.scalars(ids))
    if not releases:
        return None
    tracks: dict[UUID, list[UUID]] = {}
    for release_id, track_id in session.execute(
        select(Track.release_id, Track.id).where(Track.release_id.in_(releases))
    ):
        tracks.setdefault(release_id, []).append(track_id)
    counted = owning.owner_counts(session.connection(), tracks)
    told: list[dict[str, Any]] = [
        {"release_id": release_id, "owners": owners}
        for release_id, owners in sorted(counted.items())
        if owners >= OWNERS_TOLD_MIN
    ]
    if told:
        kept = insert(ReleaseOwnership).values(told)
        session.execute(
            kept.on_conflict_do_update(
                index_elements=[ReleaseOwnership.release_id], set_={"owners": kept.excluded.owners}
            )
        )
    untold = set(releases) - {row["release_id"] for row in told}
    session.execute(delete(ReleaseOwnership).where(ReleaseOwnership.release_id.in_(untold)))
    return releases[-1]

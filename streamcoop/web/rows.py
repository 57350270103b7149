"""A track as a row of any list: what it is called, what its next play costs, how far it is from being owned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from ledger.store.terms import Founding
from streamcoop.catalogue.lookup import artwork_path
from streamcoop.catalogue.models import Release, Track
from streamcoop.database import Transaction
from streamcoop.downloads import service as downloads
from streamcoop.downloads.service import Wanted
from streamcoop.library.schemas import LibraryTrack
from streamcoop.library.tracks import liked_among
from streamcoop.wallet.offers import Offer, offers
from streamcoop.wallet.schemas import TrackProgress
from streamcoop.web.viewer import Viewer


@dataclass(frozen=True, slots=True)
class Row:
    """A track in a list. `title` is None where the viewer may not know it; what is her own music costs her nothing.

    `forms` are what she can download it as: nothing where it is not hers.
    """

    id: UUID
    title: str | None
    artist: str
    artist_id: UUID | None
    release: str
    release_id: UUID | None
    artwork: str | None
    duration_ms: int | None
    is_playable: bool
    is_own: bool
    offer: Offer
    is_liked: bool = False
    forms: tuple[Wanted, ...] = ()

    @property
    def for_player(self) -> dict[str, Any]:
        """What the player's script reads from the row."""
        return {
            "id": str(self.id),
            "title": self.title,
            "artist": self.artist,
            "artistId": str(self.artist_id),
            "release": self.release,
            "releaseId": str(self.release_id),
            "artwork": self.artwork,
            "durationMs": self.duration_ms,
            "forms": self.forms,
        }


def of_tracks(
    session: Transaction, founding: Founding, viewer: Viewer, tracks: Sequence[tuple[Track, Release]], now: datetime
) -> list[Row]:
    """Tracks of the catalogue, each with its release, which is loaded with its artist."""
    offered = offers(session.connection(), founding, viewer.user_id, [track.id for track, _ in tracks], now)
    made = [
        Row(
            track.id,
            track.title,
            release.artist.name,
            release.artist_id,
            release.title,
            release.id,
            artwork_path(release.id) if release.artwork else None,
            track.duration_ms,
            track.state == "ready" and "removed" not in (track.taken_down, release.taken_down),
            release.artist.owner_id == viewer.user_id,
            offered[track.id],
        )
        for track, release in tracks
    ]
    return _hers(session, viewer, made)


def of_listed(
    session: Transaction, founding: Founding, viewer: Viewer, tracks: Sequence[LibraryTrack], now: datetime
) -> list[Row]:
    """Tracks of somebody's list, as the API tells them to this viewer."""
    offered = offers(session.connection(), founding, viewer.user_id, {track.id for track in tracks}, now)
    made = [
        Row(
            track.id,
            track.title,
            track.artist.name if track.artist else "",
            track.artist.id if track.artist else None,
            track.release_title or "",
            track.release_id,
            track.artwork,
            track.duration_ms,
            track.available,
            False,
            offered[track.id],
        )
        for track in tracks
    ]
    return _hers(session, viewer, made)


def of_progress(
    session: Transaction, founding: Founding, viewer: Viewer, tracks: Sequence[TrackProgress], now: datetime
) -> list[Row]:
    """Tracks that this viewer has paid for."""
    offered = offers(session.connection(), founding, viewer.user_id, [track.track_id for track in tracks], now)
    made = [
        Row(
            track.track_id,
            track.title,
            track.artist,
            track.artist_id,
            track.release_title,
            track.release_id,
            track.artwork,
            track.duration_ms,
            True,
            False,
            offered[track.track_id],
        )
        for track in tracks
    ]
    return _hers(session, viewer, made)


def _hers(session: Transaction, viewer: Viewer, rows: list[Row]) -> list[Row]:
    """The rows with what she likes of them, and what she can download: a query each for all of them."""
    if viewer.user_id is None or not viewer.may("listen") or not rows:
        return rows
    liked = liked_among(session, viewer.user_id, {row.id for row in rows})
    kept = downloads.forms(session, {row.id for row in rows if row.is_playable and (row.offer.owned or row.is_own)})
    return [replace(row, is_liked=row.id in liked, forms=tuple(kept.get(row.id, ()))) for row in rows]

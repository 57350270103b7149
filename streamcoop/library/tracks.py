"""Tracks as somebody's lists show them: what she may be told of each, and whether she can play it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from ledger.store import owning
from ledger.store.terms import Founding
from streamcoop.catalogue import lookup
from streamcoop.catalogue.lookup import TrackCard
from streamcoop.library.models import Favourite


@dataclass(frozen=True, slots=True)
class Shown:
    """A track to one viewer. `card` is None where she may not know what it is: it was never published."""

    track_id: UUID
    card: TrackCard | None
    available: bool
    owned: bool
    favourite: bool


def shown(
    session: Session, founding: Founding, viewer_id: UUID | None, track_ids: Collection[UUID], now: datetime
) -> dict[UUID, Shown]:
    """Each of these tracks as this viewer is shown it; a visitor owns and likes nothing."""
    track_ids = set(track_ids)
    if not track_ids:
        return {}
    cards = lookup.cards(session, track_ids)
    owned: set[UUID] = set()
    liked: set[UUID] = set()
    if viewer_id is not None:
        epoch = founding.calendar.epoch_at(now)
        owned = owning.owned_among(session.connection(), viewer_id, epoch, track_ids)
        liked = liked_among(session, viewer_id, track_ids)
    return {
        track_id: _shown(track_id, cards.get(track_id), viewer_id, track_id in owned, track_id in liked)
        for track_id in track_ids
    }


def liked_among(session: Session, user_id: UUID, track_ids: Collection[UUID]) -> set[UUID]:
    """Which of these tracks somebody likes."""
    found = select(Favourite.track_id).where(Favourite.user_id == user_id, Favourite.track_id.in_(track_ids))
    return set(session.scalars(found))


def _shown(track_id: UUID, card: TrackCard | None, viewer_id: UUID | None, owned: bool, liked: bool) -> Shown:
    own = card is not None and card.artist_owner_id == viewer_id
    available = card is not None and card.is_ready and (card.is_published or own or owned)
    if card is not None and not own:
        # Of what was withdrawn the name is known, and the picture is not shown any more.
        card = None if card.is_hidden else card if card.is_published else replace(card, artwork=None)
    return Shown(track_id, card, available, owned, liked)

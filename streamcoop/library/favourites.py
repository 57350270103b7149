"""Tracks that somebody likes."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from uuid import UUID

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ledger.errors import DomainError
from ledger.ids import new_id
from ledger.store.terms import Founding
from streamcoop.errors import NotFound
from streamcoop.library import tracks
from streamcoop.library.models import Favourite
from streamcoop.problems import register

FAVOURITES_MAX = 10_000
PAGE_MAX = 200


class TooManyFavourites(DomainError):
    """You have as many favourites as one account may have."""


register({TooManyFavourites: HTTPStatus.CONFLICT})


def add(session: Session, founding: Founding, user_id: UUID, track_id: UUID, now: datetime) -> None:
    """Like a track that she can play. Nothing happens to one she likes already.

    Raises NotFound, TooManyFavourites.
    """
    # There may be no row yet that could be locked instead.
    session.execute(text("select pg_advisory_xact_lock(hashtextextended(:user, 0))"), {"user": f"favourites {user_id}"})
    track = tracks.shown(session, founding, user_id, [track_id], now)[track_id]
    if track.favourite:
        return
    if not track.available:
        raise NotFound
    if (session.scalar(select(func.count()).where(Favourite.user_id == user_id)) or 0) >= FAVOURITES_MAX:
        raise TooManyFavourites(favourites_max=FAVOURITES_MAX)
    row = {"id": new_id(), "user_id": user_id, "track_id": track_id, "added_at": now}
    session.execute(insert(Favourite).values(row))


def remove(session: Session, user_id: UUID, track_id: UUID) -> None:
    """Like a track no more. Nothing happens to one she does not like."""
    session.execute(delete(Favourite).where(Favourite.user_id == user_id, Favourite.track_id == track_id))


def newest(session: Session, user_id: UUID, before: UUID | None, most: int) -> list[Favourite]:
    """Her favourites, the last added first, from the one before `before` on."""
    found = select(Favourite).where(Favourite.user_id == user_id)
    if before is not None:
        found = found.where(Favourite.id < before)
    return list(session.scalars(found.order_by(Favourite.id.desc()).limit(most)))

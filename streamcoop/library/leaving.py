"""Of a listener who goes: nothing that she kept stays."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.orm import Session

from streamcoop.library.models import Favourite, Playlist, PlaylistItem

# Rows deleted in one transaction.
CHUNK = 5_000


def hide(session: Session, user_id: UUID) -> None:
    """Nobody reads her lists any more. Safe to repeat."""
    shown = update(Playlist).where(Playlist.owner_id == user_id, Playlist.visibility == "public")
    session.execute(shown.values(visibility="private"))


def erase_chunk(session: Session, user_id: UUID, chunk: int = CHUNK) -> bool:
    """Delete the next rows of what she kept; False once nothing is left. Safe to repeat."""
    lists = select(Playlist.id).where(Playlist.owner_id == user_id)
    favourites = select(Favourite.id).where(Favourite.user_id == user_id).limit(chunk)
    items = select(PlaylistItem.id).where(PlaylistItem.playlist_id.in_(lists)).limit(chunk)
    for doomed in (
        delete(Favourite).where(Favourite.id.in_(favourites)),
        delete(PlaylistItem).where(PlaylistItem.id.in_(items)),
        delete(Playlist).where(Playlist.id.in_(lists.limit(chunk))),
    ):
        done: CursorResult[Any] = session.execute(doomed)  # type: ignore[assignment]
        if done.rowcount:
            return True
    return False

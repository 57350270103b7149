"""Playlists: lists of tracks that a listener makes, for herself or for everybody who has the list's id.

A list that is private answers others as if it did not exist. What changes in a list changes while its row is locked, so
that two tabs at once lose nothing of each other's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from uuid import UUID

from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from ledger.errors import DomainError
from ledger.ids import new_id
from ledger.store.terms import Founding
from streamcoop.errors import NotFound
from streamcoop.library import tracks
from streamcoop.library.models import Playlist, PlaylistItem, Visibility
from streamcoop.problems import register

PLAYLISTS_PER_USER_MAX = 200
TRACKS_PER_PLAYLIST_MAX = 1_000


class TooManyPlaylists(DomainError):
    """You have as many playlists as one account may have."""


class PlaylistFull(DomainError):
    """This playlist holds as many tracks as one may."""


register({TooManyPlaylists: HTTPStatus.CONFLICT, PlaylistFull: HTTPStatus.CONFLICT})


@dataclass(frozen=True, slots=True)
class Placed:
    """An item and where it stands: the first is 1."""

    item: PlaylistItem
    position: int


def create(session: Session, owner_id: UUID, name: str, visibility: Visibility, now: datetime) -> Playlist:
    """A new list without tracks. Raises TooManyPlaylists."""
    # There may be no row yet that could be locked instead.
    session.execute(text("select pg_advisory_xact_lock(hashtextextended(:user, 0))"), {"user": f"playlists {owner_id}"})
    if (session.scalar(select(func.count()).where(Playlist.owner_id == owner_id)) or 0) >= PLAYLISTS_PER_USER_MAX:
        raise TooManyPlaylists(playlists_max=PLAYLISTS_PER_USER_MAX)
    made = Playlist(
        id=new_id(), owner_id=owner_id, name=name, visibility=visibility, created_at=now, changed_at=now
    )  # fmt: skip
    session.add(made)
    return made


def of_owner(session: Session, owner_id: UUID) -> list[tuple[Playlist, int]]:
    """Her lists, the last made first, and how many tracks each has: at most PLAYLISTS_PER_USER_MAX."""
    counted = select(func.count()).where(PlaylistItem.playlist_id == Playlist.id).scalar_subquery()
    found = select(Playlist, counted).where(Playlist.owner_id == owner_id).order_by(Playlist.id.desc())
    return [(playlist, count) for playlist, count in session.execute(found).all()]


def readable(session: Session, viewer_id: UUID | None, playlist_id: UUID) -> Playlist:
    """A list that is public or this viewer's own. Raises NotFound."""
    found = session.get(Playlist, playlist_id)
    if found is None or (found.visibility != "public" and found.owner_id != viewer_id):
        raise NotFound
    return found


def items(session: Session, playlist_id: UUID) -> list[Placed]:
    """What is in a list, in order."""
    return [Placed(item, number) for number, item in enumerate(_in_order(session, playlist_id), start=1)]


def count(session: Session, playlist_id: UUID) -> int:
    """How many tracks are in a list."""
    return session.scalar(select(func.count()).where(PlaylistItem.playlist_id == playlist_id)) or 0


def own(session: Session, owner_id: UUID, playlist_id: UUID) -> Playlist:
    """A list of this account, locked. Raises NotFound."""
    found = session.scalar(
        select(Playlist)
        .where(Playlist.id == playlist_id, Playlist.owner_id == owner_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if found is None:
        raise NotFound
    return found


def change(
    session: Session, owner_id: UUID, playlist_id: UUID, name: str | None, visibility: Visibility | None, now: datetime
) -> Playlist:
    """Give a list another name, or show it to others or to nobody else; None leaves it. Raises NotFound."""
    changed = own(session, owner_id, playlist_id)
    changed.name = name or changed.name
    changed.visibility = visibility or changed.visibility
    changed.changed_at = now
    return changed


def remove(session: Session, owner_id: UUID, playlist_id: UUID) -> None:
    """Delete a list. Raises NotFound."""
    session.delete(own(session, owner_id, playlist_id))


def add(
    session: Session,
    founding: Founding,
    owner_id: UUID,
    playlist_id: UUID,
    track_id: UUID,
    position: int | None,
    now: datetime,
) -> Placed:
    """Put a track that she can play at a place of a list, or at the end. Raises NotFound, PlaylistFull."""
    playlist = own(session, owner_id, playlist_id)
    if not tracks.shown(session, founding, owner_id, [track_id], now)[track_id].available:
        raise NotFound
    there = _in_order(session, playlist_id)
    if len(there) >= TRACKS_PER_PLAYLIST_MAX:
        raise PlaylistFull(tracks_max=TRACKS_PER_PLAYLIST_MAX)
    item = PlaylistItem(id=new_id(), playlist_id=playlist_id, track_id=track_id, added_at=now)
    place = moved_to(there, item, position or len(there) + 1)
    session.add(item)
    playlist.changed_at = now
    return Placed(item, place)


def move(
    session: Session, owner_id: UUID, playlist_id: UUID, item_id: UUID, position: int, now: datetime
) -> Placed:  # fmt: skip
    """Put an item at another place; one beyond the end is the end. Raises NotFound."""
    playlist = own(session, owner_id, playlist_id)
    there = _in_order(session, playlist_id)
    item = next((item for item in there if item.id == item_id), None)
    if item is None:
        raise NotFound
    place = moved_to([other for other in there if other is not item], item, position)
    playlist.changed_at = now
    return Placed(item, place)


def take_out(session: Session, owner_id: UUID, playlist_id: UUID, item_id: UUID, now: datetime) -> None:
    """Take an item out of a list. Raises NotFound."""
    playlist = own(session, owner_id, playlist_id)
    gone = delete(PlaylistItem).where(PlaylistItem.id == item_id, PlaylistItem.playlist_id == playlist_id)
    if session.execute(gone.returning(PlaylistItem.id)).first() is None:
        raise NotFound
    playlist.changed_at = now


def moved_to(others: Sequence[PlaylistItem], item: PlaylistItem, position: int) -> int:
    """Number the items anew, with `item` among the others at a place, or at the end; returns that place."""
    order = list(others)
    order.insert(position - 1, item)
    for number, placed in enumerate(order, start=1):
        placed.position = number
    return item.position


def _in_order(session: Session, playlist_id: UUID) -> list[PlaylistItem]:
    found = select(PlaylistItem).where(PlaylistItem.playlist_id == playlist_id).order_by(PlaylistItem.position)
    return list(session.scalars(found.execution_options(populate_existing=True)))

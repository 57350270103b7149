"""Favourites and playlists. What was played and what is owned stands in the books."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from streamcoop.database import Base

Visibility = Literal["private", "public"]

Instant = TIMESTAMP(timezone=True)


class Favourite(Base):
    """A track that somebody likes. Ids are in the order of adding."""

    __tablename__ = "favourite"
    __table_args__ = (UniqueConstraint("user_id", "track_id"), Index("favourite_newest", "user_id", "id"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("coop.user.id", ondelete="CASCADE"))
    # An artist may like a track of her own draft, and delete it.
    track_id: Mapped[UUID] = mapped_column(ForeignKey("coop.track.id", ondelete="CASCADE"), index=True)
    added_at: Mapped[datetime] = mapped_column(Instant)


class Playlist(Base):
    """A list of tracks. Whoever changes what is in it holds this row; `changed_at` is when that was last done."""

    __tablename__ = "playlist"
    __table_args__ = (
        CheckConstraint("visibility in ('private', 'public')", name="visibility_known"),
        Index("playlist_owner", "owner_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("coop.user.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    visibility: Mapped[Visibility] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)
    changed_at: Mapped[datetime] = mapped_column(Instant)


class PlaylistItem(Base):
    """A track's place in a playlist, where it may stand more than once.

    `position` only orders: a track that is deleted leaves a gap. Two at the same place are never there at the end of a
    transaction.
    """

    __tablename__ = "playlist_item"
    __table_args__ = (UniqueConstraint("playlist_id", "position", deferrable=True, initially="DEFERRED"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    playlist_id: Mapped[UUID] = mapped_column(ForeignKey("coop.playlist.id", ondelete="CASCADE"))
    track_id: Mapped[UUID] = mapped_column(ForeignKey("coop.track.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    added_at: Mapped[datetime] = mapped_column(Instant)

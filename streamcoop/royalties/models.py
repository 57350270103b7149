"""Splits of tracks over payees, and what keeps a payee from being paid yet."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from streamcoop.database import Base

Instant = TIMESTAMP(timezone=True)


class Split(Base):
    """A version of a track's split, in force from an epoch on. Of several for one epoch the newest holds."""

    __tablename__ = "split"
    __table_args__ = (Index(None, "track_id", "effective_epoch", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    track_id: Mapped[UUID] = mapped_column()
    effective_epoch: Mapped[int] = mapped_column()
    proposed_by: Mapped[UUID] = mapped_column()
    proposed_at: Mapped[datetime] = mapped_column(Instant)


class SplitShare(Base):
    """A payee's part. Until she consents her money is held."""

    __tablename__ = "split_share"
    __table_args__ = (CheckConstraint("share_bp between 1 and 10000", name="share"),)

    split_id: Mapped[UUID] = mapped_column(ForeignKey("coop.split.id"), primary_key=True)
    payee: Mapped[UUID] = mapped_column(ForeignKey("coop.user.id"), primary_key=True, index=True)
    share_bp: Mapped[int] = mapped_column()
    consented_at: Mapped[datetime | None] = mapped_column(Instant)


class Hold(Base):
    """Something that keeps money back: of a payee everywhere (`payee`), or of a whole track (`track_id`).

    Once lifted it keeps back nothing more; the row is there until all that it kept back has been looked at.
    """

    __tablename__ = "hold"
    __table_args__ = (
        CheckConstraint("(payee is null) <> (track_id is null)", name="of_one"),
        UniqueConstraint("payee"),
        UniqueConstraint("track_id"),
        Index("hold_lifted", "id", postgresql_where=text("lifted_at is not null")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    payee: Mapped[UUID | None] = mapped_column()
    track_id: Mapped[UUID | None] = mapped_column()
    reason: Mapped[str] = mapped_column(Text)
    placed_by: Mapped[UUID] = mapped_column()
    placed_at: Mapped[datetime] = mapped_column(Instant)
    lifted_at: Mapped[datetime | None] = mapped_column(Instant)

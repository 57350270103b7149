"""Accounts that are being erased, or were."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from streamcoop.database import Base

Instant = TIMESTAMP(timezone=True)


class Erasure(Base):
    """That an account is to be erased, kept for good. Without `ended_at` a worker has not come to the end of it."""

    __tablename__ = "erasure"
    __table_args__ = (Index("erasure_unfinished", "asked_at", postgresql_where=text("ended_at is null")),)

    user_id: Mapped[UUID] = mapped_column(ForeignKey("coop.user.id"), primary_key=True)
    asked_at: Mapped[datetime] = mapped_column(Instant)
    ended_at: Mapped[datetime | None] = mapped_column(Instant)

"""Payouts and where payees want them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Text, text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from streamcoop.database import Base

Instant = TIMESTAMP(timezone=True)

PLANNED, SENT, CONFIRMED, RETURNED = "planned", "sent", "confirmed", "returned"
STATES = (PLANNED, SENT, CONFIRMED, RETURNED)


class PayoutDestination(Base):
    """Where a payee wants her money: as the treasurer's bank takes it."""

    __tablename__ = "payout_destination"

    payee: Mapped[UUID] = mapped_column(ForeignKey("coop.user.id", ondelete="CASCADE"), primary_key=True)
    destination: Mapped[str] = mapped_column(Text)


class PayoutRun(Base):
    """One planning of payouts; its id is the treasurer's request id."""

    __tablename__ = "payout_run"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    planned_by: Mapped[UUID] = mapped_column()
    planned_at: Mapped[datetime] = mapped_column(Instant)


class Payout(Base):
    """Money on its way to a payee. While it is planned or sent it lies in `payouts:clearing`."""

    __tablename__ = "payout"
    __table_args__ = (
        CheckConstraint("amount_minor > 0", name="amount"),
        CheckConstraint("state in ('planned', 'sent', 'confirmed', 'returned')", name="state"),
        Index("payout_one_at_a_time", "payee", unique=True, postgresql_where=text("state in ('planned', 'sent')")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    run_id: Mapped[UUID] = mapped_column(ForeignKey("coop.payout_run.id"), index=True)
    payee: Mapped[UUID] = mapped_column(index=True)
    destination: Mapped[str] = mapped_column(Text)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(Text)
    planned_at: Mapped[datetime] = mapped_column(Instant)
    sent_at: Mapped[datetime | None] = mapped_column(Instant)
    settled_at: Mapped[datetime | None] = mapped_column(Instant)

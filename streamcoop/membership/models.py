"""Members of the co-op, and the transactions that made them members on the chain."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from streamcoop.database import Base

Instant = TIMESTAMP(timezone=True)

CLASSES = ("listener", "artist", "worker")

APPLIED = "applied"
ADMITTING = "admitting"
MEMBER = "member"
REFUSED = "refused"
MEMBER_STATES = (APPLIED, ADMITTING, MEMBER, REFUSED)

INTENDED = "intended"
SENT = "sent"
CONFIRMED = "confirmed"
FAILED = "failed"
TRANSACTION_STATES = (INTENDED, SENT, CONFIRMED, FAILED)


def one_of(column: str, values: tuple[str, ...]) -> str:
    """The SQL of a check that a column holds one of these words."""
    return f"{column} in ({', '.join(repr(value) for value in values)})"


class Member(Base):
    """Somebody who asked to be a member, and how far that has come. Having an account is another matter.

    A member has the vote from the moment the contract says so, not from the moment this row does.
    """

    __tablename__ = "member"
    __table_args__ = (
        CheckConstraint(one_of("member_class", CLASSES), name="class"),
        CheckConstraint(one_of("state", MEMBER_STATES), name="state"),
        Index("member_unfinished", "id", postgresql_where=text(f"state = '{ADMITTING}'")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("coop.user.id"), unique=True)
    member_class: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(Text, unique=True)  # EIP-55
    kept_key: Mapped[bytes | None] = mapped_column(LargeBinary)  # sealed by `keys`; null where she brought her own
    state: Mapped[str] = mapped_column(Text)
    held_up_by: Mapped[str | None] = mapped_column(Text)  # why the admission has not come further
    applied_at: Mapped[datetime] = mapped_column(Instant)
    admitted_at: Mapped[datetime | None] = mapped_column(Instant)


class ChainTransaction(Base):
    """A transaction of the registrar: stored before it is sent, so that it can be sent again and never twice over.

    `raw` is what was signed: to send it again changes nothing. A failed one never takes effect; it is
    replaced in its row.
    """

    __tablename__ = "chain_transaction"
    __table_args__ = (
        UniqueConstraint("purpose", "subject"),
        CheckConstraint(one_of("state", TRANSACTION_STATES), name="state"),
        # The registrar's nonces are one sequence: of two unfinished transactions with one nonce, one would never be.
        Index(
            "chain_transaction_unfinished",
            "nonce",
            unique=True,
            postgresql_where=text(one_of("state", (INTENDED, SENT))),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    purpose: Mapped[str] = mapped_column(Text)
    subject: Mapped[UUID]
    raw: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[str] = mapped_column(Text)
    nonce: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(Text)
    block_number: Mapped[int | None] = mapped_column(BigInteger)
    block_hash: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)
    sent_at: Mapped[datetime | None] = mapped_column(Instant)
    confirmed_at: Mapped[datetime | None] = mapped_column(Instant)

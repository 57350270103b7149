"""Ballots, the weights they were opened with, and the votes cast."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from streamcoop.database import Base

Instant = TIMESTAMP(timezone=True)

ARTIST_SHARE = "artist_share_bp"

PREPARING = "preparing"
OPEN = "open"
CLOSED = "closed"
STOPPED = "stopped"


class Ballot(Base):
    """A number the members vote on, from the reading of their weights to the rates it led to.

    All that a recount needs stands here and in the rows of weights and votes. A ballot that is
    stopped has changed nothing.
    """

    __tablename__ = "ballot"
    __table_args__ = (
        CheckConstraint(f"state in ('{PREPARING}', '{OPEN}', '{CLOSED}', '{STOPPED}')", name="state"),
        CheckConstraint(f"state not in ('{OPEN}', '{CLOSED}') or total_weight is not null", name="snapshot"),
        CheckConstraint(f"(state = '{CLOSED}') = (rates_version is not null)", name="takes_effect"),
        Index(
            "ballot_under_way",
            "parameter",
            unique=True,
            postgresql_where=text(f"state in ('{PREPARING}', '{OPEN}')"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    parameter: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    stopped_because: Mapped[str | None] = mapped_column(Text)
    called_by: Mapped[UUID] = mapped_column(ForeignKey("coop.user.id"))
    called_at: Mapped[datetime] = mapped_column(Instant)
    duration_s: Mapped[int] = mapped_column(Integer)
    opened_at: Mapped[datetime | None] = mapped_column(Instant)
    closes_at: Mapped[datetime | None] = mapped_column(Instant)  # from the opening on
    closed_at: Mapped[datetime | None] = mapped_column(Instant)  # when it was counted or stopped

    # The rule, as it stood when the ballot was called.
    status_quo: Mapped[int] = mapped_column(Integer)
    lowest: Mapped[int] = mapped_column(Integer)
    highest: Mapped[int] = mapped_column(Integer)
    step_max: Mapped[int] = mapped_column(Integer)
    quorum_bp: Mapped[int] = mapped_column(Integer)

    # What the weights were read from.
    chain_id: Mapped[int | None] = mapped_column(BigInteger)
    contract: Mapped[str | None] = mapped_column(Text)
    code_hash: Mapped[str | None] = mapped_column(Text)
    block_number: Mapped[int | None] = mapped_column(BigInteger)
    block_hash: Mapped[str | None] = mapped_column(Text)
    block_timestamp: Mapped[int | None] = mapped_column(BigInteger)  # the chain's own seconds
    total_weight: Mapped[int | None] = mapped_column(BigInteger)

    # The outcome.
    result: Mapped[int | None] = mapped_column(Integer)
    median: Mapped[int | None] = mapped_column(Integer)
    cast_weight: Mapped[int | None] = mapped_column(BigInteger)
    phantom_weight: Mapped[int | None] = mapped_column(BigInteger)
    effective_epoch: Mapped[int | None] = mapped_column(Integer)
    rates_version: Mapped[int | None] = mapped_column(Integer)
    batch: Mapped[int | None] = mapped_column(Integer, index=True)  # of the shared log


class BallotWeight(Base):
    """The weight a member's address had in the contract at a ballot's snapshot. Without weight there is no row."""

    __tablename__ = "ballot_weight"
    __table_args__ = (CheckConstraint("weight > 0", name="positive"),)

    ballot_id: Mapped[UUID] = mapped_column(ForeignKey("coop.ballot.id"), primary_key=True)
    address: Mapped[str] = mapped_column(Text, primary_key=True)
    member_id: Mapped[UUID] = mapped_column(ForeignKey("coop.member.id"), index=True)
    weight: Mapped[int] = mapped_column(BigInteger)


class BallotVote(Base):
    """A vote. Rows are added, never changed: a member's vote in a ballot is the one with the highest id."""

    __tablename__ = "ballot_vote"
    __table_args__ = (Index("ballot_vote_newest", "ballot_id", "member_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    ballot_id: Mapped[UUID] = mapped_column(ForeignKey("coop.ballot.id"))
    member_id: Mapped[UUID] = mapped_column(ForeignKey("coop.member.id"))
    value: Mapped[int] = mapped_column(Integer)
    cast_at: Mapped[datetime] = mapped_column(Instant)

"""Ballots: what is asked, the electorate each was opened with, and the votes cast."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Integer, LargeBinary, Text, false, text
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from streamcoop.database import Base

Instant = TIMESTAMP(timezone=True)

PROPOSED = "proposed"  # gathers supporters
DISCUSSING = "discussing"
PREPARING = "preparing"  # the electorate is read from the contract
OPEN = "open"
COUNTING = "counting"  # takes no votes any more
CLOSED = "closed"  # counted and told; what it decided is not in force yet, or it decided nothing that could be
EFFECTIVE = "effective"  # its terms are adopted
STOPPED = "stopped"  # by what the chain told, or did not tell
LAPSED = "lapsed"  # found no supporters in time
WITHDRAWN = "withdrawn"  # by whoever proposed it
STATES = (
    PROPOSED, DISCUSSING, PREPARING, OPEN, COUNTING, CLOSED, EFFECTIVE, STOPPED, LAPSED, WITHDRAWN,
)  # fmt: skip
COUNTED = (CLOSED, EFFECTIVE)


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} in ({', '.join(repr(value) for value in values)})"


class Ballot(Base):
    """Something the members vote on, from the proposal to the terms it led to.

    All that a recount needs stands here and in the rows of questions, seats and votes. A ballot that is stopped, lapsed
    or withdrawn has changed nothing.
    """

    __tablename__ = "ballot"
    __table_args__ = (
        CheckConstraint(_one_of("state", STATES), name="state"),
        CheckConstraint(
            f"not {_one_of('state', (OPEN, COUNTING, *COUNTED))} or total_weight is not null", name="snapshot"
        ),
        CheckConstraint(f"{_one_of('state', COUNTED)} = (cast_weight is not null)", name="counted"),
        CheckConstraint(f"(state = '{EFFECTIVE}') = (effective_epoch is not null)", name="takes_effect"),
        Index("ballot_unfinished", "id", postgresql_where=text("is_under_way or state = 'proposed'")),
    )  # fmt: skip

    id: Mapped[UUID] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    # From the discussion on until it has ended: nothing else is voted on what it is about, and its parameters are its.
    is_under_way: Mapped[bool] = mapped_column(server_default=false())
    stopped_because: Mapped[str | None] = mapped_column(Text)
    held_up_by: Mapped[str | None] = mapped_column(Text)  # why its decision does not come into force yet
    proposed_by: Mapped[UUID] = mapped_column(ForeignKey("coop.member.id"))
    proposed_at: Mapped[datetime] = mapped_column(Instant)
    lapses_at: Mapped[datetime] = mapped_column(Instant)
    discussed_until: Mapped[datetime | None] = mapped_column(Instant)
    duration_s: Mapped[int] = mapped_column(Integer)
    opened_at: Mapped[datetime | None] = mapped_column(Instant)
    closes_at: Mapped[datetime | None] = mapped_column(Instant)  # later, should somebody vote at the last moment
    closes_by: Mapped[datetime | None] = mapped_column(Instant)  # not later than this
    closed_at: Mapped[datetime | None] = mapped_column(Instant)  # when it was counted, stopped or given up

    # What the electorate was read from. The block is chosen first; seats are read up to and including `read_to`.
    chain_id: Mapped[int | None] = mapped_column(BigInteger)
    contract: Mapped[str | None] = mapped_column(Text)
    code_hash: Mapped[str | None] = mapped_column(Text)
    block_number: Mapped[int | None] = mapped_column(BigInteger)
    block_hash: Mapped[str | None] = mapped_column(Text)
    block_timestamp: Mapped[int | None] = mapped_column(BigInteger)  # the chain's own seconds
    read_to: Mapped[int] = mapped_column(BigInteger, server_default="0")  # token
    total_weight: Mapped[int | None] = mapped_column(BigInteger)

    # The outcome, besides each question's.
    cast_weight: Mapped[int | None] = mapped_column(BigInteger)
    phantom_weight: Mapped[int | None] = mapped_column(BigInteger)
    kept_key_weight: Mapped[int | None] = mapped_column(BigInteger)  # of votes cast with keys the co-op keeps
    batch: Mapped[int | None] = mapped_column(Integer, index=True)  # of the shared log
    result_hash: Mapped[bytes | None] = mapped_column(LargeBinary)

    # Its effect.
    effective_at: Mapped[int | None] = mapped_column(BigInteger)  # in the registry, the chain's own seconds
    effective_epoch: Mapped[int | None] = mapped_column(Integer)


class BallotQuestion(Base):
    """One parameter a ballot is on: its rule as of the opening, and what came of it."""

    __tablename__ = "ballot_question"
    __table_args__ = (
        Index("ballot_question_under_way", "parameter", unique=True, postgresql_where=text("is_under_way")),
        Index("ballot_question_parameter", "ballot_id", "parameter", unique=True),
    )

    ballot_id: Mapped[UUID] = mapped_column(ForeignKey("coop.ballot.id"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    parameter: Mapped[str] = mapped_column(Text)
    is_under_way: Mapped[bool] = mapped_column(server_default=false())  # a motion never keeps another out
    status_quo: Mapped[int | None] = mapped_column(BigInteger)
    median: Mapped[int | None] = mapped_column(BigInteger)
    result: Mapped[int | None] = mapped_column(BigInteger)


class BallotSupport(Base):
    """A member who wants a ballot held."""

    __tablename__ = "ballot_support"

    ballot_id: Mapped[UUID] = mapped_column(ForeignKey("coop.ballot.id"), primary_key=True)
    member_id: Mapped[UUID] = mapped_column(ForeignKey("coop.member.id"), primary_key=True, index=True)
    at: Mapped[datetime] = mapped_column(Instant)


class BallotComment(Base):
    """What somebody says of a ballot. Erasing an account takes its comments away."""

    __tablename__ = "ballot_comment"
    __table_args__ = (Index("ballot_comment_in_order", "ballot_id", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    ballot_id: Mapped[UUID] = mapped_column(ForeignKey("coop.ballot.id"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("coop.user.id", ondelete="CASCADE"), index=True)
    text: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(Instant)


class BallotSeat(Base):
    """A membership as the contract had it at a ballot's snapshot; whether it may vote yet is the waiting period's."""

    __tablename__ = "ballot_seat"
    __table_args__ = (Index("ballot_seat_delegate", "ballot_id", "delegate"),)

    ballot_id: Mapped[UUID] = mapped_column(ForeignKey("coop.ballot.id"), primary_key=True)
    address: Mapped[str] = mapped_column(Text, primary_key=True)  # EIP-55
    token_id: Mapped[int] = mapped_column(BigInteger)
    member_class: Mapped[str] = mapped_column(Text)
    delegate: Mapped[str] = mapped_column(Text)
    since: Mapped[int] = mapped_column(BigInteger)  # the chain's own seconds
    has_waited: Mapped[bool]


class BallotVote(Base):
    """A signed vote. Rows are added, never changed: of an address the one with the highest nonce counts."""

    __tablename__ = "ballot_vote"
    __table_args__ = (Index("ballot_vote_nonce", "ballot_id", "address", "nonce", unique=True),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    ballot_id: Mapped[UUID] = mapped_column(ForeignKey("coop.ballot.id"))
    address: Mapped[str] = mapped_column(Text)
    nonce: Mapped[int] = mapped_column(BigInteger)
    values: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))  # in the order of the questions
    deadline: Mapped[int] = mapped_column(BigInteger)  # POSIX seconds
    signature: Mapped[bytes] = mapped_column(LargeBinary)
    evidence: Mapped[bytes | None] = mapped_column(LargeBinary)  # with a kept key: what her passkey signed
    cast_at: Mapped[datetime] = mapped_column(Instant)


class ContractPin(Base):
    """Where a contract was found first, and its code: whatever tells anything else later is not believed."""

    __tablename__ = "contract_pin"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    chain_id: Mapped[int] = mapped_column(BigInteger)
    address: Mapped[str] = mapped_column(Text)  # EIP-55
    code_hash: Mapped[str] = mapped_column(Text)
    pinned_at: Mapped[datetime] = mapped_column(Instant)

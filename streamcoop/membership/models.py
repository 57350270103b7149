"""Members of the co-op, its officers, what the registrar is asked to carry to the chain, and its transactions."""

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
LEAVING = "leaving"
LEFT = "left"
REFUSED = "refused"
MEMBER_STATES = (APPLIED, ADMITTING, MEMBER, LEAVING, LEFT, REFUSED)
ENDED = (LEFT, REFUSED)

ADMISSION = "admission"
REMOVAL = "removal"
CLASS_CHANGE = "class-change"
REKEY = "rekey"
DELEGATION = "delegation"
ORDER_KINDS = (ADMISSION, REMOVAL, CLASS_CHANGE, REKEY, DELEGATION)

INTENDED = "intended"
SENT = "sent"
CONFIRMED = "confirmed"
FAILED = "failed"
TRANSACTION_STATES = (INTENDED, SENT, CONFIRMED, FAILED)


def one_of(column: str, values: tuple[str, ...]) -> str:
    """The SQL of a check that a column holds one of these words."""
    return f"{column} in ({', '.join(repr(value) for value in values)})"


_NOT_ENDED = f"not {one_of('state', ENDED)}"


class Member(Base):
    """Somebody who asked to be a member, and how far that has come. Having an account is another matter.

    A member has the vote from the moment the contract says so, not from the moment this row does. Whoever left, or was
    refused, and asks again has another row.
    """

    __tablename__ = "member"
    __table_args__ = (
        CheckConstraint(one_of("member_class", CLASSES), name="class"),
        CheckConstraint(one_of("state", MEMBER_STATES), name="state"),
        CheckConstraint(f"{one_of('state', ENDED)} = (ended_at is not null)", name="ended"),
        Index("member_of_user", "user_id", unique=True, postgresql_where=text(_NOT_ENDED)),
        Index("member_of_address", "address", unique=True, postgresql_where=text(_NOT_ENDED)),
        Index("member_user_id_idx", "user_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("coop.user.id"))
    member_class: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(Text)  # EIP-55
    kept_key: Mapped[bytes | None] = mapped_column(LargeBinary)  # sealed by `keys`; null where she brought her own
    state: Mapped[str] = mapped_column(Text)
    applied_at: Mapped[datetime] = mapped_column(Instant)
    admitted_at: Mapped[datetime | None] = mapped_column(Instant)
    ended_at: Mapped[datetime | None] = mapped_column(Instant)


class Officer(Base):
    """An operator whose approval counts: the contract has this address as an officer's."""

    __tablename__ = "officer"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("coop.user.id"), primary_key=True)
    address: Mapped[str] = mapped_column(Text, unique=True)  # EIP-55
    kept_key: Mapped[bytes | None] = mapped_column(LargeBinary)  # sealed by `keys`; null where she signs in a wallet
    since: Mapped[datetime] = mapped_column(Instant)


class Approval(Base):
    """One officer's signature for the admission of one applicant, good until `deadline` (the chain's seconds).

    `member_class` and `nonce` are what was signed: it counts for nothing else.
    """

    __tablename__ = "approval"

    member_id: Mapped[UUID] = mapped_column(ForeignKey("coop.member.id"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("coop.user.id"), primary_key=True)
    officer: Mapped[str] = mapped_column(Text)
    member_class: Mapped[str] = mapped_column(Text)
    nonce: Mapped[int] = mapped_column(BigInteger)
    deadline: Mapped[int] = mapped_column(BigInteger)
    signature: Mapped[bytes] = mapped_column(LargeBinary)
    given_at: Mapped[datetime] = mapped_column(Instant)


class RegisterOrder(Base):
    """Something the registrar is to carry to the membership contract; of each member one at a time.

    What it needs of a class, another address (a new one, or a delegate's) and signatures stands here as it was given.
    """

    __tablename__ = "register_order"
    __table_args__ = (
        CheckConstraint(one_of("kind", ORDER_KINDS), name="kind"),
        CheckConstraint("refused_because is null or done_at is not null", name="refused"),
        Index("register_order_unfinished", "member_id", unique=True, postgresql_where=text("done_at is null")),
        Index("register_order_of_member", "member_id", "id"),
        Index("register_order_done", "done_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    member_id: Mapped[UUID] = mapped_column(ForeignKey("coop.member.id"))
    kind: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(Text)  # of the member, when it was given
    member_class: Mapped[str | None] = mapped_column(Text)
    other_address: Mapped[str | None] = mapped_column(Text)
    nonce: Mapped[int | None] = mapped_column(BigInteger)
    deadline: Mapped[int | None] = mapped_column(BigInteger)
    signature: Mapped[bytes | None] = mapped_column(LargeBinary)
    second_signature: Mapped[bytes | None] = mapped_column(LargeBinary)
    evidence: Mapped[bytes | None] = mapped_column(LargeBinary)  # what a passkey signed where the key is kept
    given_at: Mapped[datetime] = mapped_column(Instant)
    done_at: Mapped[datetime | None] = mapped_column(Instant)
    refused_because: Mapped[str | None] = mapped_column(Text)
    held_up_by: Mapped[str | None] = mapped_column(Text)  # why it has not come further


class Passkey(Base):
    """A WebAuthn credential of somebody's: what she signs with, in person, where the co-op keeps her key."""

    __tablename__ = "passkey"
    __table_args__ = (Index("passkey_of_user", "user_id", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("coop.user.id", ondelete="CASCADE"))
    credential_id: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)  # COSE
    sign_count: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)


class RegisterDifference(Base):
    """Where the contract and this table did not agree when they were last compared, and no lag explains it."""

    __tablename__ = "register_difference"

    address: Mapped[str] = mapped_column(Text, primary_key=True)
    told: Mapped[str] = mapped_column(Text)
    found_at: Mapped[datetime] = mapped_column(Instant)


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

"""What is written to the anchor contract: of each closed epoch the head of the log and the totals paid."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, Text, text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from streamcoop.database import Base

Instant = TIMESTAMP(timezone=True)


class Anchor(Base):
    """One epoch's anchor, and whether it is on the chain for good. Its transaction stands with the registrar's others.

    The contract takes epochs in ascending order only, so each waits for the one before it.
    """

    __tablename__ = "anchor"
    __table_args__ = (
        CheckConstraint("size > 0", name="size"),
        CheckConstraint("length(root) = 32", name="root"),
        CheckConstraint("gross_micro >= 0 and royalties_micro >= 0", name="totals"),
        Index("anchor_unfinished", "epoch", postgresql_where=text("confirmed_at is null")),
    )

    epoch: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(BigInteger)
    root: Mapped[bytes] = mapped_column(LargeBinary)
    gross_micro: Mapped[int] = mapped_column(BigInteger)
    royalties_micro: Mapped[int] = mapped_column(BigInteger)
    intended_at: Mapped[datetime] = mapped_column(Instant)
    held_up_by: Mapped[str | None] = mapped_column(Text)  # why it has not come further
    not_before: Mapped[datetime | None] = mapped_column(Instant)  # after a transaction that failed and cost its fee
    confirmed_at: Mapped[datetime | None] = mapped_column(Instant)
    # Where it stands: what is anchored later must find the same chain and code at this address.
    chain_id: Mapped[int | None] = mapped_column(BigInteger)
    contract: Mapped[str | None] = mapped_column(Text)  # EIP-55
    code_hash: Mapped[str | None] = mapped_column(Text)

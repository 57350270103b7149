"""The logs this service witnesses, and what it has kept against them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from streamcoop.database import Base

Instant = TIMESTAMP(timezone=True)


class WitnessedLog(Base):
    """A log that an operator has named, and the last head of it that was cosigned.

    `note` is that head with the log's signatures, `cosignatures` are this service's lines. Both are empty, and `size`
    is 0, as long as nothing was cosigned.
    """

    __tablename__ = "witnessed_log"

    origin: Mapped[str] = mapped_column(Text, primary_key=True)
    keys: Mapped[list[str]] = mapped_column(ARRAY(Text))
    size: Mapped[int] = mapped_column(BigInteger)
    root: Mapped[bytes] = mapped_column(LargeBinary)
    note: Mapped[str] = mapped_column(Text)
    cosignatures: Mapped[str] = mapped_column(Text)
    added_at: Mapped[datetime] = mapped_column(Instant)
    cosigned_at: Mapped[datetime | None] = mapped_column(Instant)


class LogEvidence(Base):
    """Two heads that a log has signed. `shows_a_fork`: that no tree has both can be checked by anybody.

    `size` and `root` are those of the head that was not cosigned: it is kept once.
    """

    __tablename__ = "log_evidence"
    __table_args__ = (UniqueConstraint("origin", "shows_a_fork", "size", "root", name="log_evidence_head_unique"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    origin: Mapped[str] = mapped_column(ForeignKey("coop.witnessed_log.origin"))
    shows_a_fork: Mapped[bool]
    size: Mapped[int] = mapped_column(BigInteger)
    root: Mapped[bytes] = mapped_column(LargeBinary)
    text: Mapped[str] = mapped_column(Text)
    found_at: Mapped[datetime] = mapped_column(Instant)

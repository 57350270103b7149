"""Reports of music, and what was decided on them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from streamcoop.database import Base

Instant = TIMESTAMP(timezone=True)

Ground = Literal["copyright", "unlawful", "not-own", "wrongly-described", "other"]
Outcome = Literal["dismissed", "taken-down"]
AppealOutcome = Literal["upheld", "restored"]

_GROUNDS = "ground in ('copyright', 'unlawful', 'not-own', 'wrongly-described', 'other')"


class Decision(Base):
    """What an operator decided on reports of a track or a release, and on the artist's appeal against it.

    Both reasons are published; the appeal's own text is not. `was_published` is a release's state from before.
    """

    __tablename__ = "moderation_decision"
    __table_args__ = (
        CheckConstraint("(track_id is null) <> (release_id is null)", name="of_one"),
        CheckConstraint("outcome in ('dismissed', 'taken-down')", name="outcome_known"),
        CheckConstraint(_GROUNDS, name="ground_known"),
        CheckConstraint("appeal_outcome in ('upheld', 'restored')", name="appeal_outcome_known"),
        CheckConstraint("appealed_at is null or outcome = 'taken-down'", name="appealed"),
        CheckConstraint(
            "(appeal_outcome is null) = (appeal_decided_at is null)"
            " and (appeal_outcome is null or appealed_at is not null)",
            name="appeal_decided",
        ),
        Index("moderation_decision_track", "track_id"),
        Index("moderation_decision_release", "release_id"),
        Index(
            "moderation_decision_appealed",
            "appealed_at",
            postgresql_where=text("appealed_at is not null and appeal_outcome is null"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    track_id: Mapped[UUID | None] = mapped_column(ForeignKey("coop.track.id", ondelete="CASCADE"))
    release_id: Mapped[UUID | None] = mapped_column(ForeignKey("coop.release.id", ondelete="CASCADE"))
    outcome: Mapped[Outcome] = mapped_column(Text)
    ground: Mapped[Ground] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    was_published: Mapped[bool]
    decided_by: Mapped[UUID]
    decided_at: Mapped[datetime] = mapped_column(Instant)
    appealed_by: Mapped[UUID | None] = mapped_column(index=True)
    appeal_text: Mapped[str | None] = mapped_column(Text)
    appealed_at: Mapped[datetime | None] = mapped_column(Instant)
    appeal_outcome: Mapped[AppealOutcome | None] = mapped_column(Text)
    appeal_reason: Mapped[str | None] = mapped_column(Text)
    appeal_decided_by: Mapped[UUID | None]
    appeal_decided_at: Mapped[datetime | None] = mapped_column(Instant)


class Report(Base):
    """That somebody thinks a track or release should not be here. Open until it is answered by a decision.

    `reporter_id` is told to nobody, and null once she has erased her account; then the text goes with the answer.
    """

    __tablename__ = "moderation_report"
    __table_args__ = (
        CheckConstraint("(track_id is null) <> (release_id is null)", name="of_one"),
        CheckConstraint(_GROUNDS, name="ground_known"),
        Index("moderation_report_reporter", "reporter_id"),
        Index("moderation_report_track", "track_id"),
        Index("moderation_report_release", "release_id"),
        Index("moderation_report_open", "id", postgresql_where=text("decision_id is null")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    reporter_id: Mapped[UUID | None] = mapped_column(ForeignKey("coop.user.id", ondelete="SET NULL"))
    track_id: Mapped[UUID | None] = mapped_column(ForeignKey("coop.track.id", ondelete="CASCADE"))
    release_id: Mapped[UUID | None] = mapped_column(ForeignKey("coop.release.id", ondelete="CASCADE"))
    ground: Mapped[Ground] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    reported_at: Mapped[datetime] = mapped_column(Instant)
    decision_id: Mapped[UUID | None] = mapped_column(ForeignKey("coop.moderation_decision.id"), index=True)

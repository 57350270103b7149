"""What the moderation's routes take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field

from streamcoop.accounts.schemas import Payload
from streamcoop.catalogue.schemas import no_control_characters_but_breaks, trimmed
from streamcoop.catalogue.takedown import Kind
from streamcoop.moderation.models import AppealOutcome, Ground, Outcome

TEXT_LENGTH_MAX = 2_000

Text = Annotated[str, AfterValidator(no_control_characters_but_breaks)]
Why = Annotated[Text, Field(min_length=1, max_length=TEXT_LENGTH_MAX), AfterValidator(trimmed)]


class NewReport(Payload):
    """A report of a track or of a release, with what is wrong with it. Nobody is told who made it."""

    track_id: UUID | None = None
    release_id: UUID | None = None
    ground: Ground
    text: Text = Field(default="", max_length=TEXT_LENGTH_MAX)


class NewDecision(Payload):
    """An operator's answer to a report. The reason is published."""

    outcome: Outcome
    ground: Ground
    reason: Why


class NewAppeal(Payload):
    """Why a takedown is wrong. Operators alone read it."""

    text: Why


class NewAppealDecision(Payload):
    """What comes of an appeal. The reason is published."""

    outcome: AppealOutcome
    reason: Why


class SubjectOut(BaseModel):
    """The track or release that something is about."""

    kind: Kind
    id: UUID
    title: str
    artist_id: UUID
    artist: str


class HeardTrack(BaseModel):
    """A track that operators can hear the preview of, also where it is taken down."""

    id: UUID
    title: str


class ReportMade(BaseModel):
    """A report as whoever made it sees it."""

    id: UUID
    reported_at: datetime


class ReportOut(BaseModel):
    """A report as operators see it."""

    id: UUID
    subject: SubjectOut
    tracks: list[HeardTrack]
    ground: Ground
    text: str
    reported_at: datetime


class AppealOut(BaseModel):
    """An appeal as everybody sees it; without an outcome as long as it is not decided."""

    appealed_at: datetime
    outcome: AppealOutcome | None
    reason: str | None
    decided_at: datetime | None


class DecisionOut(BaseModel):
    """A decision as everybody sees it."""

    id: UUID
    subject: SubjectOut
    outcome: Outcome
    ground: Ground
    reason: str
    decided_at: datetime
    appeal: AppealOut | None


class AppealedOut(DecisionOut):
    """A takedown that an appeal was made against, as operators see it."""

    tracks: list[HeardTrack]
    appeal_text: str
    decided_by_you: bool = Field(description="Then another operator decides the appeal.")


class DecisionPage(BaseModel):
    """Some decisions, the latest first, and the cursor of the next page."""

    items: list[DecisionOut]
    next_cursor: UUID | None

"""What the royalties' routes take and give."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, EmailStr, Field

from ledger.royalties import PAYEES_MAX
from streamcoop.accounts.schemas import Line, Payload


class NewShare(Payload):
    """A payee's part of a track, in basis points (10,000 is the whole)."""

    payee_email: EmailStr
    share_bp: int = Field(ge=-1_000_000, le=1_000_000)


class NewSplit(Payload):
    """A new split: the shares must add up to 10,000 and each payee consents for herself."""

    shares: list[NewShare] = Field(min_length=1, max_length=PAYEES_MAX)


class ShareOut(BaseModel):
    """A payee's part as it stands."""

    payee: UUID
    name: str
    share_bp: int
    consented_at: datetime | None


class SplitOut(BaseModel):
    """A split and when it takes effect. A track without one pays its artist alone."""

    id: UUID | None
    track_id: UUID
    effective_epoch: int
    effective_from: datetime
    shares: list[ShareOut]


class ProposedShare(BaseModel):
    """A part of a track that waits for your consent."""

    split_id: UUID
    track_id: UUID
    title: str
    artist: str
    share_bp: int
    effective_from: datetime


class NewHold(Payload):
    """Keep a track's or a payee's money back, with the reason people are told."""

    track_id: UUID | None = None
    payee_email: EmailStr | None = None
    reason: Line = Field(min_length=3, max_length=200)


class HoldOut(BaseModel):
    """What is held, and why."""

    id: UUID
    track_id: UUID | None
    payee: UUID | None
    reason: str
    placed_at: datetime


class EpochOut(BaseModel):
    """An epoch: open, due, being closed or closed; and its totals once it is closed, in money micro-units."""

    epoch: int
    label: str
    starts_at: datetime
    ends_at: datetime
    may_close_at: datetime
    state: Literal["open", "ended", "closing", "closed"]
    closed_at: datetime | None
    plays: int
    collected_micro: int
    gross_micro: int
    deductions: dict[str, int]
    net_micro: int
    royalties_micro: int
    funds: dict[str, int]
    artist_share_bp: int
    rates_decided_by: str


class RoyaltyLineOut(BaseModel):
    """One payee's money for one track of one epoch: plays → collected → gross → net → share → royalty."""

    epoch: int
    label: str
    closed_in: int
    late: bool
    track_id: UUID
    title: str
    artist: str
    isrc: str | None
    plays: int
    buyouts: int
    collected_micro: int
    gross_micro: int
    deductions_micro: int
    net_micro: int
    artist_share_bp: int
    artists_micro: int
    payee: UUID
    payee_name: str
    share_bp: int
    royalty_micro: int
    held_because: str | None
    released_at: datetime | None


class RoyaltyStatement(BaseModel):
    """An artist's statement: her own lines, and those of all payees of her tracks."""

    currency: str
    lines: list[RoyaltyLineOut]
    royalty_micro: int = Field(description="What you were credited in these lines, without what is held.")
    held_micro: int
    balance_micro: int = Field(description="What is payable to you now.")


class CurrentTrack(BaseModel):
    """What a track of yours has collected in an epoch that is not closed yet."""

    epoch: int
    label: str
    track_id: UUID
    title: str
    plays: int
    buyouts: int
    collected_micro: int
    collected_money_micro: int


class DashboardFigures(BaseModel):
    """What some tracks brought. Of fewer than five people no number is told."""

    plays: int
    buyouts: int
    listeners: int | None = Field(description="How many different ones paid; null for fewer than five.")
    new_owners: int | None = Field(description="How many came to own a track by a payment; null for fewer than five.")
    collected_micro: int = Field(description="What they paid, in credit micro-units.")
    collected_money_micro: int = Field(description="The same in money, before anything goes off it.")


class DashboardTrack(DashboardFigures):
    """What a track brought."""

    track_id: UUID
    title: str


class DashboardDay(BaseModel):
    """What was recorded on a day (UTC). Days on which fewer than five listeners paid are left out."""

    day: date
    plays: int
    buyouts: int
    collected_money_micro: int


class DashboardStep(BaseModel):
    """The plays that were somebody's n-th of a track. What fewer than five listeners reached is left out."""

    ordinal: int
    plays: int
    collected_money_micro: int


class Dashboard(DashboardFigures):
    """What the tracks of your own artists brought in an epoch, settled or not."""

    epoch: int
    label: str
    starts_at: datetime
    ends_at: datetime
    currency: str
    royalty_micro: int | None = Field(description="Your own part of it, held or not; null before the epoch is closed.")
    days: list[DashboardDay]
    tracks: list[DashboardTrack] = Field(description="Those that were played, the one that brought most first.")
    steps: list[DashboardStep]

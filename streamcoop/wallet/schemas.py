"""What the wallet's routes take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, EmailStr, Field

from streamcoop.accounts.schemas import Line, Payload

AMOUNT_MAX = 2**53 - 1
# Strict: neither `true` nor "5" nor 5.0 is an amount of money.
Amount = Annotated[int, Field(strict=True, ge=-AMOUNT_MAX, le=AMOUNT_MAX)]


class Limits(Payload):
    """What a listener lets herself spend; null is no limit. The server honours both on every device."""

    monthly_budget_micro: int | None = Field(default=None, strict=True, ge=0, le=AMOUNT_MAX)
    stop_before_ordinal: int | None = Field(
        default=None, strict=True, ge=1, le=100, description="Never pay for this play of a track or a later one."
    )


class WalletOut(BaseModel):
    """A wallet. Money is the value of the credits at the co-op's fixed price."""

    balance_micro: int
    unsettled_micro: int = Field(
        description="Plays recorded and not yet settled; not in the balance any more once they are."
    )
    spendable_micro: int
    spendable_money_micro: int
    spent_this_month_micro: int
    spent_this_month_money_micro: int
    monthly_budget_micro: int | None
    stop_before_ordinal: int | None
    currency: str
    credit_price_micro: int


class BalanceOut(BaseModel):
    """A wallet's settled balance as it was at an instant."""

    at: datetime
    balance_micro: int
    balance_money_micro: int
    currency: str


class NewTopUp(Payload):
    """A top-up paid at the cash desk. `request_id` makes it safe to send again."""

    request_id: UUID
    listener_email: EmailStr
    amount_minor: Amount = Field(description="In the currency's minor unit; above zero.")
    reference: Line = Field(default="", max_length=100, description="A receipt's number, or the like.")


class TopUpOut(BaseModel):
    """A booked top-up. What bought no exact number of credits (less than a minor unit) goes to the community fund."""

    request_id: UUID
    listener_id: UUID
    amount_minor: int
    credits_micro: int
    to_community_micro: int
    currency: str
    booked_at: datetime
    repeated: bool


class NewGrant(Payload):
    """Credits given to a member from the community fund."""

    request_id: UUID
    listener_email: EmailStr
    credits_micro: Amount
    reason: Line = Field(min_length=1, max_length=200)


class GrantOut(BaseModel):
    """A booked grant, and its worth in money."""

    request_id: UUID
    listener_id: UUID
    credits_micro: int
    money_micro: int
    currency: str
    booked_at: datetime
    repeated: bool


class DeskEntryOut(BaseModel):
    """Something that was booked at the cash desk. Whoever has erased her account has no name any more."""

    request_id: UUID
    kind: Literal["top-up", "grant"]
    listener_id: UUID
    listener_name: str
    credits_micro: int
    money_micro: int = Field(description="What was paid in; nothing of a grant, which the community fund pays.")
    currency: str
    remark: str
    booked_at: datetime
    booked_by: UUID | None


class TrackProgress(BaseModel):
    """How far a track is from being owned."""

    track_id: UUID
    title: str
    artist: str
    artist_id: UUID | None
    release_id: UUID | None
    release_title: str
    artwork: str | None = Field(description="The address of its release's picture, while that is published.")
    duration_ms: int | None
    plays: int
    plays_to_own: int
    paid_micro: int
    paid_money_micro: int
    left_micro: int
    left_money_micro: int
    owned: bool
    owned_at: datetime | None


class ProgressPage(BaseModel):
    """Some of the tracks a listener has paid for, in the order of their ids, and the cursor of the next page."""

    items: list[TrackProgress]
    next_cursor: str | None


class StatementLine(BaseModel):
    """One thing that was paid, in or out. `play_id` names the play it was for."""

    at: datetime
    kind: Literal["top-up", "grant", "play", "buyout"]
    credits_micro: int = Field(description="Positive into the wallet, negative out of it.")
    money_micro: int
    play_id: UUID | None
    track_id: UUID | None
    title: str | None
    artist: str | None
    ordinal: int | None
    settled: bool
    reference: str | None


class Statement(BaseModel):
    """A month of a wallet: opening + lines = closing."""

    month: str
    currency: str
    opening_micro: int
    closing_micro: int
    in_micro: int
    out_micro: int
    lines: list[StatementLine]
    artists: dict[str, int] = Field(
        description="What each artist's tracks got of this month's plays, in micro-credits."
    )

"""What the playback routes take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

from streamcoop.accounts.schemas import Payload
from streamcoop.playback.tokens import TOKEN_LENGTH_MAX

RANGE = "One range of bytes (RFC 9110)."
PROBLEM_OF_OPENING = "What recording this play would be refused for now, as a problem's type; null if nothing."


class OpenPlay(Payload):
    """Opening a play, or a buy-out of what is left."""

    track_id: UUID
    kind: Literal["play", "buyout"] = "play"
    codec: Literal["mp3", "opus"] = "mp3"


class PlayOut(BaseModel):
    """A play that was opened: what it will cost before it starts, and where its audio is."""

    play_id: UUID
    play_token: str
    stream_url: str | None = Field(description="Where its audio is; a buy-out has none.")
    kind: Literal["play", "buyout"]
    free: bool = Field(description="Nothing will be charged: you own the track, or it is your own.")
    ordinal: int = Field(description="Which paid play of this track by you it would be, from 1.")
    plays_to_own: int = Field(description="After so many paid plays you own the track.")
    price_micro: int
    price_money_micro: int
    left_to_own_micro: int
    left_to_own_money_micro: int
    currency: str
    duration_ms: int
    counts_after_ms: int = Field(description="T: the play counts from so long after now.")
    free_ms: int = Field(description="F: so much of the track is free.")
    expires_at: datetime
    refusal: str | None = Field(description=PROBLEM_OF_OPENING)
    missing_micro: int = Field(default=0, description="How many micro-credits are missing, or beyond the budget.")


class StreamAsked(BaseModel):
    """The parameters of a stream."""

    play_token: str = Field(max_length=TOKEN_LENGTH_MAX)
    skip_ahead: bool = Field(False, description="Count the play at once, to jump beyond the free part.")
    range_header: str | None = Field(None, alias="Range", description=RANGE)


class RecordPlay(Payload):
    """Making a play count; the player sends it at T."""

    play_token: str = Field(max_length=TOKEN_LENGTH_MAX)
    skip_ahead: bool = Field(default=False, description="Count the play at once, to jump beyond the free part.")


class RecordedOut(BaseModel):
    """A play that counts. The same answer for the same play, however often it is sent."""

    play_id: UUID
    track_id: UUID
    kind: Literal["play", "buyout"]
    ordinal: int
    price_micro: int
    price_money_micro: int
    currency: str
    recorded_at: datetime
    owned: bool = Field(description="With this payment the track became yours.")

"""What the governance's routes take and give. Shares are basis points: 7,000 is 70 %."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field

from streamcoop.accounts.schemas import Line, Payload

TITLE_LENGTH_MAX = 200
TEXT_LENGTH_MAX = 20_000
# A ballot may be short: what protects the members is the quorum and the largest step, not its length.
BALLOT_S_MIN = 1
BALLOT_S_MAX = 90 * 86_400

BallotState = Literal["preparing", "open", "closed", "stopped"]


def _prose(text: str) -> str:
    if any(unicodedata.category(character) in {"Cc", "Cs"} and character not in "\n\t" for character in text):
        raise ValueError("control characters other than line breaks and tabs are not allowed")
    return text


Prose = Annotated[str, AfterValidator(_prose)]


class NewBallot(Payload):
    """Calling a ballot on the artists' share of net income."""

    title: Line = Field(min_length=1, max_length=TITLE_LENGTH_MAX)
    text: Prose = Field(default="", max_length=TEXT_LENGTH_MAX)
    closes_in_seconds: int = Field(
        ge=BALLOT_S_MIN, le=BALLOT_S_MAX, description="How long it stays open, once the weights are read."
    )


class NewVote(Payload):
    """The share wanted, in basis points."""

    value: int = Field(strict=True, examples=[7_200])


class SnapshotOut(BaseModel):
    """What a ballot's weights were read from: anyone can read them again, from any node of this chain."""

    chain_id: int
    contract: str
    code_hash: str = Field(description="keccak-256 of the contract's code.")
    block_number: int
    block_hash: str
    block_timestamp: int = Field(description="The chain's own seconds; `getPastVotes(address, block_timestamp)`.")
    total_weight: int


class TallyOut(BaseModel):
    """The lower weighted median of the votes cast and the phantom weight at the status quo, and what it led to."""

    median: int
    result: int = Field(description="The median within the bounds and the largest step.")
    cast_weight: int
    phantom_weight: int = Field(description="What the votes cast lacked to the quorum, counted for the status quo.")
    effective_epoch: int
    effective_from: datetime
    rates_version: int


class CountedVoteOut(BaseModel):
    """A member's last vote, under the address the weight stands under."""

    address: str
    weight: int
    value: int
    cast_at: datetime


class OwnVoteOut(BaseModel):
    """Your weight in this ballot, and your vote if you cast one."""

    weight: int
    value: int | None
    cast_at: datetime | None


class BallotOut(BaseModel):
    """A ballot."""

    id: UUID
    parameter: str
    title: str
    text: str
    state: BallotState
    stopped_because: str | None
    called_at: datetime
    opened_at: datetime | None
    closes_at: datetime | None = Field(description="Set when the weights are read and the ballot opens.")
    closed_at: datetime | None
    status_quo: int
    lowest: int
    highest: int
    step_max: int
    quorum_bp: int
    snapshot: SnapshotOut | None
    tally: TallyOut | None = Field(description="Once closed.")


class BallotDetailOut(BallotOut):
    """A ballot with all that a recount needs."""

    cast_weight: int = Field(description="The weight that has voted so far.")
    votes: list[CountedVoteOut] | None = Field(description="Once closed: the votes that counted, by address.")
    next_cursor: str | None = Field(description="Where `GET /ballots/{id}/votes` goes on, if there are more votes.")
    own: OwnVoteOut | None = Field(description="For a signed-in member with weight in this ballot.")


class BallotsPage(BaseModel):
    """Ballots, newest first."""

    items: list[BallotOut]
    next_cursor: UUID | None


class VotesPage(BaseModel):
    """The votes that counted, by address."""

    items: list[CountedVoteOut]
    next_cursor: str | None


class RatesOut(BaseModel):
    """Payout rates from an epoch on, and what decided them."""

    version: int
    epoch: int = Field(description="The epoch these rates were asked for.")
    epoch_starts_at: datetime
    artist_share_bp: int
    community_cut_bp: int = Field(description="Up to here the co-op's part is the community's.")
    reserve_cut_bp: int = Field(description="From there up to here, the reserve's; the rest is for operations.")
    decided_by: str = Field(description="`founding`, or `ballot:` and its id.")
    weights_read_from_contract: bool
    snapshot: SnapshotOut | None = Field(description="Where a ballot decided them.")


class RatesInForceOut(BaseModel):
    """The rates of the current epoch, and those of the next if they differ."""

    in_force: RatesOut
    coming: RatesOut | None

"""What the governance's routes take and give. Shares are basis points: 7,000 is 70 %."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field

from streamcoop.accounts.schemas import Line, Payload

TITLE_LENGTH_MAX = 200
TEXT_LENGTH_MAX = 20_000
COMMENT_LENGTH_MAX = 5_000
PARAMETERS_MAX = 8
PARAMETER_LENGTH_MAX = 40
SIGNATURE_PATTERN = "^0x[0-9a-fA-F]{130}$"
NONCE_MAX = (1 << 53) - 1
DEADLINE_MAX = 253_402_300_799  # the last second of the year 9999

BallotState = Literal[
    "proposed", "discussing", "preparing", "open", "counting", "closed", "effective", "stopped", "lapsed", "withdrawn"
]


def _prose(text: str) -> str:
    if any(unicodedata.category(character) in {"Cc", "Cs"} and character not in "\n\t" for character in text):
        raise ValueError("control characters other than line breaks and tabs are not allowed")
    return text


Prose = Annotated[str, AfterValidator(_prose)]
Parameter = Annotated[str, Field(max_length=PARAMETER_LENGTH_MAX, pattern="^[a-z_]+$")]
Values = Annotated[
    dict[Parameter, Annotated[int, Field(strict=True, ge=-(1 << 63), lt=1 << 63)]],
    Field(min_length=1, max_length=PARAMETERS_MAX, examples=[{"artist_share_bp": 7_200}]),
]


class NewBallot(Payload):
    """Proposing a ballot: on open parameters, or on a motion, which is 1 for yes and 0 for no."""

    title: Line = Field(min_length=1, max_length=TITLE_LENGTH_MAX)
    text: Prose = Field(default="", max_length=TEXT_LENGTH_MAX)
    parameters: list[Parameter] = Field(min_length=1, max_length=PARAMETERS_MAX, examples=[["artist_share_bp"]])
    open_for_seconds: int = Field(ge=1, lt=1 << 31, description="How long votes are taken, within the constitution.")


class NewComment(Payload):
    """Something to say on a ballot, under your name."""

    text: Prose = Field(min_length=1, max_length=COMMENT_LENGTH_MAX)


class DraftVote(Payload):
    """The numbers wanted, one for each of the ballot's parameters."""

    values: Values


class NewVote(DraftVote):
    """A signed vote: by your wallet, or by your passkey where the co-op keeps your key."""

    nonce: int = Field(strict=True, ge=1, le=NONCE_MAX, description="Of your votes in this ballot the highest counts.")
    deadline: int = Field(strict=True, ge=1, le=DEADLINE_MAX, description="POSIX seconds: not taken after.")
    signature: str | None = Field(default=None, pattern=SIGNATURE_PATTERN, description="r, s and v of the wallet.")
    assertion: dict[str, Any] | None = Field(default=None, description="What the browser's passkey answered.")


class DraftVoteOut(BaseModel):
    """A vote as it is to be signed."""

    address: str
    nonce: int
    deadline: int
    digest: str = Field(description="EIP-712's hash of the vote.")
    typed_data: dict[str, Any] | None = Field(description="For `eth_signTypedData_v4`, where you hold the key.")
    passkey_options: dict[str, Any] | None = Field(
        description="For `navigator.credentials.get`, where the co-op keeps the key: the challenge is the digest."
    )


class ElectorateOut(BaseModel):
    """What a ballot's electorate was read from: anyone can read it again, from any node of this chain."""

    chain_id: int
    contract: str
    code_hash: str = Field(description="keccak-256 of the contract's code.")
    block_number: int
    block_hash: str
    block_timestamp: int = Field(description="The chain's own seconds; `roll(first, count, block_timestamp)`.")
    total_weight: int | None = Field(description="Members who may vote; null while it is read.")


class QuestionOut(BaseModel):
    """One parameter of a ballot, what may be voted for, and what came of it."""

    parameter: str
    lowest: int
    highest: int
    step_max: int = Field(description="The furthest from the status quo that one ballot may go.")
    steps_of: int = Field(description="Votes are multiples of this.")
    status_quo: int | None = Field(description="What holds if this ballot decides nothing; set when it opens.")
    median: int | None = Field(description="Of the votes and of the phantom weight at the status quo.")
    result: int | None = Field(description="The median within the bounds and the largest step.")


class TallyOut(BaseModel):
    """The weight that was counted, and where its result stands."""

    cast_weight: int
    phantom_weight: int = Field(description="What the votes cast lacked to the quorums, counted for the status quo.")
    kept_key_weight: int = Field(description="Of the weight cast, what was cast with keys the co-op keeps.")
    log_batch: int = Field(description="The batch of the shared log that tells every vote.")
    result_hash: str = Field(description="SHA-256 of the ballot's entry in the log, as the registry has it.")
    registry_effective_at: int | None = Field(description="When the timelock is over, in the chain's own seconds.")
    effective_epoch: int | None
    effective_from: datetime | None
    held_up_by: str | None = Field(description="Why the decision has not come further. It is tried again by itself.")


class CountedVoteOut(BaseModel):
    """A member's last vote, under the membership address."""

    address: str
    values: list[int]
    nonce: int
    deadline: int
    signature: str
    with_kept_key: bool
    cast_at: datetime


class OwnVoteOut(BaseModel):
    """Your seat in this ballot, and your vote if you cast one."""

    address: str
    delegate: str = Field(description="Who votes for you unless you do.")
    values: dict[str, int] | None
    nonce: int | None
    cast_at: datetime | None


class VoteReceiptOut(OwnVoteOut):
    """Your vote, and the co-op's signed promise that it will be counted. Keep it: `streamcoop verify --receipts`."""

    receipt: str | None = Field(description="A signed note; null where the co-op signs no log.")
    closes_at: datetime


class BallotOut(BaseModel):
    """A ballot."""

    id: UUID
    title: str
    text: str
    state: BallotState
    stopped_because: str | None
    proposed_at: datetime
    supporters: int
    supporters_needed: int
    lapses_at: datetime
    discussed_until: datetime | None
    opened_at: datetime | None
    closes_at: datetime | None = Field(description="Put off when somebody votes at the last moment.")
    closes_by: datetime | None = Field(description="It is not put off further than this.")
    closed_at: datetime | None
    questions: list[QuestionOut]
    electorate: ElectorateOut | None
    tally: TallyOut | None = Field(description="Once counted.")


class BallotDetailOut(BallotOut):
    """A ballot with all that a recount needs."""

    voted: int = Field(description="How many have voted themselves so far.")
    votes: list[CountedVoteOut] | None = Field(description="Once counted: the votes, by address.")
    next_cursor: str | None = Field(description="Where `GET /ballots/{id}/votes` goes on, if there are more votes.")
    own: OwnVoteOut | None = Field(description="For a signed-in member with a seat in this ballot.")


class BallotsPage(BaseModel):
    """Ballots, newest first."""

    items: list[BallotOut]
    next_cursor: UUID | None


class VotesPage(BaseModel):
    """The votes that counted, by address."""

    items: list[CountedVoteOut]
    next_cursor: str | None


class CommentOut(BaseModel):
    """What a member said on a ballot."""

    id: UUID
    author: str
    text: str
    at: datetime


class CommentsPage(BaseModel):
    """What was said on a ballot, in order."""

    items: list[CommentOut]
    next_cursor: UUID | None


class RatesOut(BaseModel):
    """An epoch's terms, and what decided them."""

    epoch: int = Field(description="The epoch these were asked for.")
    epoch_starts_at: datetime
    artist_share_bp: int
    community_cut_bp: int = Field(description="Up to here the co-op's part is the community's.")
    reserve_cut_bp: int = Field(description="From there up to here, the reserve's; the rest is for operations.")
    first_price_micro: int
    plays: int
    payout_minimum_minor: int
    listen_ms_max: int
    decided_by: dict[str, str] = Field(description="Of tariff, rates and rules: `founding`, or `ballot:` and its id.")
    electorates: dict[str, ElectorateOut] = Field(description="Of those that ballots decided: who could vote.")


class RatesInForceOut(BaseModel):
    """The terms of the current epoch, and those of the next if they differ."""

    in_force: RatesOut
    coming: RatesOut | None

"""Ballots and rates over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from streamcoop import work
from streamcoop.accounts.principals import MaybePrincipal, Operator, Voter
from streamcoop.clock import Now
from streamcoop.database import Transaction
from streamcoop.errors import NotFound, NotPermitted, NotSignedIn
from streamcoop.governance import service
from streamcoop.governance.models import CLOSED, Ballot
from streamcoop.governance.schemas import (
    BallotDetailOut,
    BallotOut,
    BallotsPage,
    CountedVoteOut,
    NewBallot,
    NewVote,
    OwnVoteOut,
    RatesInForceOut,
    RatesOut,
    SnapshotOut,
    TallyOut,
    VotesPage,
)
from streamcoop.membership import service as membership
from streamcoop.membership.schemas import ADDRESS_LENGTH
from streamcoop.problems import answers
from streamcoop.settings import settings

BALLOTS_PAGE_MAX = 100
VOTES_PAGE_MAX = 1_000

router = APIRouter(prefix="/api/v1", tags=["governance"])
_PERSONAL = (NotSignedIn, NotPermitted)


def _snapshot(ballot: Ballot) -> SnapshotOut | None:
    return None if ballot.block_hash is None else SnapshotOut.model_validate(ballot, from_attributes=True)


def _tally(ballot: Ballot, effective_from: datetime | None) -> TallyOut | None:
    if ballot.state != CLOSED:
        return None
    return TallyOut.model_validate(
        {name: getattr(ballot, name, None) for name in TallyOut.model_fields} | {"effective_from": effective_from}
    )


def _out(session: Session, ballot: Ballot) -> BallotOut:
    begins = None if ballot.effective_epoch is None else service.starts_at(session, ballot.effective_epoch)
    own_columns = BallotOut.model_fields.keys() - {"snapshot", "tally"}
    return BallotOut.model_validate(
        {name: getattr(ballot, name) for name in own_columns}
        | {"snapshot": _snapshot(ballot), "tally": _tally(ballot, begins)}
    )


def _votes(session: Session, ballot_id: UUID, after: str, limit: int) -> tuple[list[CountedVoteOut], str | None]:
    counted = service.counted_votes(session, ballot_id, after, limit)
    votes = [CountedVoteOut.model_validate(vote, from_attributes=True) for vote in counted]
    return votes, votes[-1].address if len(votes) == limit else None


@router.post(
    "/ballots",
    status_code=202,
    responses=answers(*_PERSONAL, service.BallotUnderWay, membership.ContractNotConfigured),
)
def call_ballot(new: NewBallot, operator: Operator, session: Transaction, now: Now) -> BallotOut:
    """Call a ballot on the artists' share. It opens once the members' weights are read from the contract."""
    membership.require_contract(settings())
    ballot = service.call_ballot(session, new.title, new.text, new.closes_in_seconds, operator.user_id, now)
    work.ask_once_committed(session, work.READ_WEIGHTS, ballot.id)
    return _out(session, ballot)


@router.get("/ballots")
def ballots(
    session: Transaction,
    cursor: Annotated[UUID | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=BALLOTS_PAGE_MAX)] = 20,
) -> BallotsPage:
    """All ballots, newest first."""
    page = service.ballots(session, cursor, limit)
    return BallotsPage(
        items=[_out(session, ballot) for ballot in page], next_cursor=page[-1].id if len(page) == limit else None
    )


@router.get("/ballots/{ballot_id}", responses=answers(NotFound, NotSignedIn))
def ballot(ballot_id: UUID, principal: MaybePrincipal, session: Transaction) -> BallotDetailOut:
    """A ballot; once it is closed, with every vote that counted, under membership addresses."""
    found = service.ballot(session, ballot_id)
    votes, next_cursor = _votes(session, ballot_id, "", VOTES_PAGE_MAX) if found.state == CLOSED else (None, None)
    return BallotDetailOut(
        **dict(_out(session, found)),
        cast_weight=service.cast_weight(session, ballot_id),
        votes=votes,
        next_cursor=next_cursor,
        own=_own(session, ballot_id, principal.user_id) if principal and "vote" in principal.scopes else None,
    )


def _own(session: Session, ballot_id: UUID, user_id: UUID) -> OwnVoteOut | None:
    weight = service.weight_of(session, ballot_id, user_id)
    if weight is None:
        return None
    cast = service.newest_vote(session, ballot_id, weight.member_id)
    if cast is None:
        return OwnVoteOut(weight=weight.weight, value=None, cast_at=None)
    return OwnVoteOut(weight=weight.weight, value=cast.value, cast_at=cast.cast_at)


@router.get("/ballots/{ballot_id}/votes", responses=answers(NotFound, service.BallotNotCounted))
def votes(
    ballot_id: UUID,
    session: Transaction,
    cursor: Annotated[
        str, Query(max_length=ADDRESS_LENGTH, pattern="^[0-9A-Za-z]*$", description="`next_cursor` of the page before.")
    ] = "",
    limit: Annotated[int, Query(ge=1, le=VOTES_PAGE_MAX)] = VOTES_PAGE_MAX,
) -> VotesPage:
    """The votes that counted, under membership addresses."""
    if service.ballot(session, ballot_id).state != CLOSED:
        raise service.BallotNotCounted
    items, next_cursor = _votes(session, ballot_id, cursor, limit)
    return VotesPage(items=items, next_cursor=next_cursor)


@router.post(
    "/ballots/{ballot_id}/votes",
    status_code=201,
    responses=answers(
        *_PERSONAL,
        NotFound,
        membership.MembersOnly,
        service.BallotNotOpen,
        service.NoVoteInThisBallot,
        service.VoteOutOfBounds,
        service.TooManyVotes,
    ),
)
def vote(ballot_id: UUID, new: NewVote, voter: Voter, session: Transaction, now: Now) -> OwnVoteOut:
    """Vote, or replace your vote: the last one before the close counts. Votes are published at the close."""
    weight, cast = service.vote(session, ballot_id, voter.user_id, new.value, now)
    return OwnVoteOut(weight=weight.weight, value=cast.value, cast_at=cast.cast_at)


def _rates(decided: service.DecidedRates) -> RatesOut:
    rates = decided.in_force.terms.rates
    snapshot = _snapshot(decided.ballot) if decided.ballot else None
    return RatesOut(
        version=decided.in_force.rates_version,
        epoch=decided.epoch,
        epoch_starts_at=decided.starts_at,
        artist_share_bp=rates.artist_share_bp,
        community_cut_bp=rates.community_cut_bp,
        reserve_cut_bp=rates.reserve_cut_bp,
        decided_by=decided.in_force.rates_decided_by,
        weights_read_from_contract=snapshot is not None,
        snapshot=snapshot,
    )


@router.get("/rates")
def rates(session: Transaction, now: Now) -> RatesInForceOut:
    """The payout rates in force, those coming with the next epoch, and what decided each."""
    current, coming = service.decided_rates(session, now)
    changes = coming.in_force.rates_version != current.in_force.rates_version
    return RatesInForceOut(in_force=_rates(current), coming=_rates(coming) if changes else None)

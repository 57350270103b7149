"""Ballots, votes and rates as requests are answered with them."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy.orm import Session

from streamcoop.governance import proposing, service, voting
from streamcoop.governance.models import COUNTED, Ballot, BallotQuestion, BallotSeat, BallotVote
from streamcoop.governance.schemas import (
    BallotOut,
    CountedVoteOut,
    ElectorateOut,
    OwnVoteOut,
    QuestionOut,
    RatesOut,
    TallyOut,
)


def ballots(session: Session, told: list[Ballot]) -> list[BallotOut]:
    """Ballots as everybody sees them."""
    ids = {ballot.id for ballot in told}
    asked, supporters = service.questions(session, ids), proposing.supporters(session, ids)
    needed = proposing.constitution_of(session).supporters_min
    own_columns = BallotOut.model_fields.keys() & set(Ballot.__table__.columns.keys())
    return [
        BallotOut.model_validate(
            {name: getattr(ballot, name) for name in own_columns}
            | {
                "supporters": supporters.get(ballot.id, 0),
                "supporters_needed": needed,
                "questions": _questions(session, asked[ballot.id]),
                "electorate": _electorate(ballot),
                "tally": _tally(session, ballot),
            }
        )
        for ballot in told
    ]


def _electorate(ballot: Ballot) -> ElectorateOut | None:
    return None if ballot.block_hash is None else ElectorateOut.model_validate(ballot, from_attributes=True)


def _questions(session: Session, asked: Iterable[BallotQuestion]) -> list[QuestionOut]:
    constitution = proposing.constitution_of(session)
    told = []
    for question in asked:
        bound = constitution.bound(question.parameter)
        told.append(
            QuestionOut(
                parameter=question.parameter,
                lowest=bound.lowest,
                highest=bound.highest,
                step_max=bound.step_max,
                steps_of=bound.quantum,
                status_quo=question.status_quo,
                median=question.median,
                result=question.result,
            )
        )
    return told


def _tally(session: Session, ballot: Ballot) -> TallyOut | None:
    if ballot.state not in COUNTED:
        return None
    begins = None if ballot.effective_epoch is None else service.starts_at(session, ballot.effective_epoch)
    return TallyOut(
        cast_weight=ballot.cast_weight or 0,
        phantom_weight=ballot.phantom_weight or 0,
        kept_key_weight=ballot.kept_key_weight or 0,
        log_batch=ballot.batch or 0,
        result_hash=(ballot.result_hash or b"").hex(),
        registry_effective_at=ballot.effective_at,
        effective_epoch=ballot.effective_epoch,
        effective_from=begins,
        held_up_by=ballot.held_up_by,
    )


# --- Votes ---


def counted_votes(session: Session, ballot_id: UUID, after: str, limit: int) -> tuple[list[CountedVoteOut], str | None]:
    """A page of the votes that counted, by address, and where the next one begins."""
    votes = [
        CountedVoteOut(
            address=vote.address,
            values=vote.values,
            nonce=vote.nonce,
            deadline=vote.deadline,
            signature=f"0x{vote.signature.hex()}",
            with_kept_key=vote.evidence is not None,
            cast_at=vote.cast_at,
        )
        for vote in service.counted_votes(session, ballot_id, after, limit)
    ]
    return votes, votes[-1].address if len(votes) == limit else None


def own(session: Session, ballot_id: UUID, user_id: UUID) -> OwnVoteOut | None:
    """A user's seat in a ballot and the vote she cast; None where she has none that may vote."""
    seat = service.seat_of(session, ballot_id, user_id)
    return None if seat is None else own_vote(session, seat, voting.newest_vote(session, ballot_id, seat.address))


def own_vote(session: Session, seat: BallotSeat, cast: BallotVote | None) -> OwnVoteOut:
    """A seat and the vote that was cast for it."""
    asked = service.questions(session, {seat.ballot_id})[seat.ballot_id]
    values = None if cast is None else dict(zip([q.parameter for q in asked], cast.values, strict=True))
    return OwnVoteOut(
        address=seat.address,
        delegate=seat.delegate,
        values=values,
        nonce=None if cast is None else cast.nonce,
        cast_at=None if cast is None else cast.cast_at,
    )


# --- Rates ---


def rates(decided: service.DecidedTerms) -> RatesOut:
    """An epoch's terms, and what they were decided by."""
    in_force = decided.in_force
    return RatesOut(
        epoch=decided.epoch,
        epoch_starts_at=decided.starts_at,
        **in_force.numbers(),
        decided_by=dict(in_force.decided_by),
        electorates={
            kind: told for kind, ballot in decided.ballots.items() if (told := _electorate(ballot)) is not None
        },
    )

"""Ballots and rates as they are read. How a ballot gets from one state to the next is in the rooms beside this one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import exists, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from ledger.store import terms
from streamcoop.errors import NotFound
from streamcoop.governance.models import PROPOSED, Ballot, BallotQuestion, BallotSeat, BallotVote
from streamcoop.membership import service as membership

DECIDED_BY_BALLOT = "ballot:"


def ballot(session: Session, ballot_id: UUID) -> Ballot:
    """A ballot by its id. Raises NotFound."""
    found = session.get(Ballot, ballot_id)
    if found is None:
        raise NotFound
    return found


def ballots(session: Session, before: UUID | None, limit: int) -> list[Ballot]:
    """Ballots, newest first."""
    wanted = select(Ballot).order_by(Ballot.id.desc()).limit(limit)
    return list(session.scalars(wanted if before is None else wanted.where(Ballot.id < before)))


def unfinished(session: Session, limit: int) -> list[Ballot]:
    """Ballots that something still comes of, from the proposal until the decision is in force; newest first."""
    wanted = select(Ballot).where(Ballot.is_under_way | (Ballot.state == PROPOSED))
    return list(session.scalars(wanted.order_by(Ballot.id.desc()).limit(limit)))


def finished(session: Session, before: UUID | None, limit: int) -> list[Ballot]:
    """Ballots that nothing comes of any more, newest first."""
    wanted = select(Ballot).where(~Ballot.is_under_way, Ballot.state != PROPOSED)
    wanted = wanted if before is None else wanted.where(Ballot.id < before)
    return list(session.scalars(wanted.order_by(Ballot.id.desc()).limit(limit)))


def by_ids(session: Session, ballot_ids: set[UUID]) -> dict[UUID, Ballot]:
    """These ballots."""
    return {found.id: found for found in session.scalars(select(Ballot).where(Ballot.id.in_(ballot_ids)))}


def questions(session: Session, ballot_ids: set[UUID]) -> Mapping[UUID, list[BallotQuestion]]:
    """What each of these ballots is on, in the order its votes follow."""
    wanted = select(BallotQuestion).where(BallotQuestion.ballot_id.in_(ballot_ids)).order_by(BallotQuestion.position)
    found: dict[UUID, list[BallotQuestion]] = defaultdict(list)
    for question in session.scalars(wanted):
        found[question.ballot_id].append(question)
    return found


# --- Votes ---


def counted_votes(session: Session, ballot_id: UUID, after: str = "", limit: int | None = None) -> list[BallotVote]:
    """The newest vote of each address, by address, from `after` on."""
    wanted = (
        select(BallotVote)
        .where(BallotVote.ballot_id == ballot_id, BallotVote.address > after)
        .ext(distinct_on(BallotVote.address))
        .order_by(BallotVote.address, BallotVote.nonce.desc())
        .limit(limit)
    )
    return list(session.scalars(wanted))


def voted(session: Session, ballot_id: UUID) -> int:
    """How many have voted themselves so far."""
    mine = BallotVote.ballot_id == ballot_id
    return session.scalar(select(func.count(BallotVote.address.distinct())).where(mine)) or 0


def carried(session: Session, ballot_id: UUID, addresses: Sequence[str]) -> Mapping[str, int]:
    """For how many others each of these votes counts besides: those who delegated to its address and did not vote."""
    voted_herself = exists().where(BallotVote.ballot_id == ballot_id, BallotVote.address == BallotSeat.address)
    wanted = select(BallotSeat.delegate, func.count()).where(
        BallotSeat.ballot_id == ballot_id,
        BallotSeat.delegate.in_(addresses),
        BallotSeat.delegate != BallotSeat.address,
        BallotSeat.has_waited,
        ~voted_herself,
    )
    return dict(session.execute(wanted.group_by(BallotSeat.delegate)).all())


def seat_of(session: Session, ballot_id: UUID, user_id: UUID) -> BallotSeat | None:
    """A user's seat in a ballot, if she has one that may vote."""
    try:
        held = membership.seat_of(session, user_id)
    except membership.MembersOnly:
        return None
    seat = session.get(BallotSeat, (ballot_id, held.address))
    return seat if seat is not None and seat.has_waited else None


# --- The rates ---


@dataclass(frozen=True, slots=True)
class DecidedTerms:
    """An epoch's terms, and the ballots that decided them, by the kind of terms."""

    epoch: int
    starts_at: datetime
    in_force: terms.TermsInForce
    ballots: Mapping[str, Ballot]


def decided_terms(session: Session, now: datetime) -> tuple[DecidedTerms, DecidedTerms]:
    """The terms of the current epoch and of the next."""
    conn = session.connection()
    founded = terms.founding(conn)
    epoch = founded.calendar.epoch_at(now)
    found = [(each, terms.in_force(conn, founded, each)) for each in (epoch, epoch + 1)]
    decisions = by_ids(session, {deciding for _, terms_then in found for deciding in _deciding(terms_then).values()})
    current, coming = (
        DecidedTerms(
            each,
            founded.calendar.starts_at(each),
            terms_then,
            {kind: decisions[of] for kind, of in _deciding(terms_then).items() if of in decisions},
        )
        for each, terms_then in found
    )
    return current, coming


def _deciding(in_force: terms.TermsInForce) -> dict[str, UUID]:
    return {
        kind: UUID(decided_by.removeprefix(DECIDED_BY_BALLOT))
        for kind, decided_by in in_force.decided_by.items()
        if decided_by.startswith(DECIDED_BY_BALLOT)
    }


def starts_at(session: Session, epoch: int) -> datetime:
    """When an epoch begins."""
    return terms.founding(session.connection()).calendar.starts_at(epoch)

"""Ballots on the artists' share: called, opened with weights read from the contract, voted in, counted.

A worker reads the contract; what it read is handed in here. Nothing that goes wrong on the way
changes a rate: the ballot is stopped, and the rates in force stay in force.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.orm import Session

from ledger import entries, tally
from ledger.entries import Entry
from ledger.errors import DomainError
from ledger.ids import new_id
from ledger.rates import ARTIST_SHARE_BP_MAX, ARTIST_SHARE_BP_MIN, ARTIST_SHARE_STEP_BP_MAX, QUORUM_BP
from ledger.store import terms
from ledger.store.batches import open_batch
from streamcoop.errors import NotFound
from streamcoop.governance.models import (
    ARTIST_SHARE,
    CLOSED,
    OPEN,
    PREPARING,
    STOPPED,
    Ballot,
    BallotVote,
    BallotWeight,
)
from streamcoop.membership import service as membership
from streamcoop.problems import register

if TYPE_CHECKING:  # only the workers talk to the chain: the service need not load web3
    from streamcoop.adapters.members import MemberWeight, Weights

VOTES_PER_MEMBER_MAX = 1_000
REASON_LENGTH_MAX = 500
DECIDED_BY_BALLOT = "ballot:"


class BallotUnderWay(DomainError):
    """There is a ballot on this under way: only one at a time."""


class BallotNotOpen(DomainError):
    """This ballot takes no votes now."""


class BallotNotCounted(DomainError):
    """Votes are published when the ballot is closed."""


class NoVoteInThisBallot(DomainError):
    """Your membership had no weight in the contract at this ballot's snapshot."""


class VoteOutOfBounds(DomainError):
    """A vote must be within the bounds the constitution sets."""


class TooManyVotes(DomainError):
    """You have replaced your vote in this ballot too often."""


register(
    {
        BallotUnderWay: HTTPStatus.CONFLICT,
        BallotNotOpen: HTTPStatus.CONFLICT,
        BallotNotCounted: HTTPStatus.CONFLICT,
        NoVoteInThisBallot: HTTPStatus.FORBIDDEN,
        VoteOutOfBounds: HTTPStatus.BAD_REQUEST,
        TooManyVotes: HTTPStatus.CONFLICT,
    }
)


# --- Calling ---


def call_ballot(session: Session, title: str, text: str, duration_s: int, called_by: UUID, now: datetime) -> Ballot:
    """A ballot on the artists' share, to be opened once the weights are read. Raises BallotUnderWay.

    The status quo is the share that would hold if this ballot decided nothing: the coming one,
    where an earlier ballot has decided and its epoch has not begun.
    """
    row = {
        "id": new_id(),
        "parameter": ARTIST_SHARE,
        "title": title,
        "text": text,
        "state": PREPARING,
        "called_by": called_by,
        "called_at": now,
        "duration_s": duration_s,
        "status_quo": _next_rates(session, now).terms.rates.artist_share_bp,
        "lowest": ARTIST_SHARE_BP_MIN,
        "highest": ARTIST_SHARE_BP_MAX,
        "step_max": ARTIST_SHARE_STEP_BP_MAX,
        "quorum_bp": QUORUM_BP,
    }
    called: Ballot | None = session.scalar(insert(Ballot).values(row).on_conflict_do_nothing().returning(Ballot))
    if called is None:
        raise BallotUnderWay(parameter=ARTIST_SHARE)
    return called


def _next_rates(session: Session, now: datetime) -> terms.TermsInForce:
    conn = session.connection()
    founded = terms.founding(conn)
    return terms.in_force(conn, founded, founded.calendar.epoch_at(now) + 1)


# --- Reading ---


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


def by_ids(session: Session, ballot_ids: set[UUID]) -> dict[UUID, Ballot]:
    """These ballots."""
    return {found.id: found for found in session.scalars(select(Ballot).where(Ballot.id.in_(ballot_ids)))}


@dataclass(frozen=True, slots=True)
class CountedVote:
    """A member's last vote in a ballot, with the weight and the address it counts under."""

    address: str
    weight: int
    value: int
    cast_at: datetime


def counted_votes(session: Session, ballot_id: UUID, after: str = "", limit: int | None = None) -> list[CountedVote]:
    """The newest vote of each member, by address, from `after` on."""
    newest = (
        select(BallotVote)
        .where(BallotVote.ballot_id == ballot_id)
        .ext(distinct_on(BallotVote.member_id))
        .order_by(BallotVote.member_id, BallotVote.id.desc())
        .subquery()
    )
    rows = (
        select(BallotWeight.address, BallotWeight.weight, newest.c.value, newest.c.cast_at)
        .join(newest, newest.c.member_id == BallotWeight.member_id)
        .where(BallotWeight.ballot_id == ballot_id, BallotWeight.address > after)
        .order_by(BallotWeight.address)
        .limit(limit)
    )
    return [CountedVote(*row) for row in session.execute(rows)]


def told_in(conn: Connection, batch: int) -> Iterator[tuple[str, Entry]]:
    """The ballots that were counted in a batch of the shared log as its entries, each before its votes."""
    with Session(conn) as session:
        counted = select(Ballot).where(Ballot.batch == batch, Ballot.state == CLOSED).order_by(Ballot.id)
        for ballot in session.scalars(counted):
            yield (
                entries.BALLOT,
                {
                    "ballot": str(ballot.id),
                    "parameter": ballot.parameter,
                    "contract": ballot.contract,
                    **{name: getattr(ballot, name) for name in _TOLD_FIGURES},
                },
            )
            # As numbers, which addresses are: the case of their letters is a checksum.
            votes = sorted(counted_votes(session, ballot.id), key=lambda vote: vote.address.lower())
            for begin in range(0, len(votes), entries.VOTES_AN_ENTRY_MAX):
                some = votes[begin : begin + entries.VOTES_AN_ENTRY_MAX]
                told = [{"address": vote.address, "value": vote.value, "weight": vote.weight} for vote in some]
                yield entries.VOTES, {"ballot": str(ballot.id), "votes": told}


_TOLD_FIGURES = (
    "status_quo",
    "lowest",
    "highest",
    "step_max",
    "quorum_bp",
    "chain_id",
    "block_number",
    "total_weight",
    "cast_weight",
    "phantom_weight",
    "median",
    "result",
    "rates_version",
)


def cast_weight(session: Session, ballot_id: UUID) -> int:
    """The weight that has voted so far."""
    voted = select(BallotVote.member_id).where(BallotVote.ballot_id == ballot_id)
    weight = select(func.sum(BallotWeight.weight)).where(
        BallotWeight.ballot_id == ballot_id, BallotWeight.member_id.in_(voted)
    )
    return int(session.scalar(weight) or 0)


def weight_of(session: Session, ballot_id: UUID, user_id: UUID) -> BallotWeight | None:
    """A user's weight in a ballot, if there is any."""
    try:
        member_id = membership.member_of(session, user_id)
    except membership.MembersOnly:
        return None
    return session.scalar(
        select(BallotWeight).where(BallotWeight.ballot_id == ballot_id, BallotWeight.member_id == member_id)
    )


def newest_vote(session: Session, ballot_id: UUID, member_id: UUID) -> BallotVote | None:
    """A member's vote in a ballot, if one was cast."""
    return session.scalar(
        select(BallotVote)
        .where(BallotVote.ballot_id == ballot_id, BallotVote.member_id == member_id)
        .order_by(BallotVote.id.desc())
        .limit(1)
    )


# --- Voting ---


def vote(
    session: Session, ballot_id: UUID, user_id: UUID, value: int, now: datetime
) -> tuple[BallotWeight, BallotVote]:
    """Cast a vote, or replace the one cast before; the same value again is the same vote.

    Raises NotFound, BallotNotOpen, MembersOnly, NoVoteInThisBallot, VoteOutOfBounds and TooManyVotes.
    """
    # Shared, so that votes do not wait for one another, but the count waits for them.
    polled = session.get(Ballot, ballot_id, with_for_update={"read": True})
    if polled is None:
        raise NotFound
    if polled.state != OPEN or polled.closes_at is None or polled.closes_at <= now:
        raise BallotNotOpen(state=polled.state, closes_at=polled.closes_at and polled.closes_at.isoformat())
    member_id = membership.member_of(session, user_id)
    weight = session.scalar(
        select(BallotWeight)
        .where(BallotWeight.ballot_id == ballot_id, BallotWeight.member_id == member_id)
        .with_for_update()  # a member's votes stand in the order of their ids
    )
    if weight is None:
        raise NoVoteInThisBallot
    if not polled.lowest <= value <= polled.highest:
        raise VoteOutOfBounds(lowest=polled.lowest, highest=polled.highest, value=value)
    previous = newest_vote(session, ballot_id, member_id)
    if previous is not None and previous.value == value:
        return weight, previous
    mine = (BallotVote.ballot_id == ballot_id) & (BallotVote.member_id == member_id)
    if (session.scalar(select(func.count()).where(mine)) or 0) >= VOTES_PER_MEMBER_MAX:
        raise TooManyVotes(votes_max=VOTES_PER_MEMBER_MAX)
    cast = BallotVote(ballot_id=ballot_id, member_id=member_id, value=value, cast_at=now)
    session.add(cast)
    session.flush()
    return weight, cast


# --- The worker's steps ---


def in_preparation(session: Session) -> list[UUID]:
    """Ballots whose weights are not read yet: one a parameter at the most."""
    return list(session.scalars(select(Ballot.id).where(Ballot.state == PREPARING)))


def due(session: Session, now: datetime) -> list[UUID]:
    """Ballots that are over and not counted: one a parameter at the most."""
    return list(session.scalars(select(Ballot.id).where(Ballot.state == OPEN, Ballot.closes_at <= now)))


def pin(session: Session, contract: str) -> tuple[int | None, str | None]:
    """Chain id and code hash found at this address when weights were last read there; nothing the first time.

    A later ballot must find the same.
    """
    found = session.execute(
        select(Ballot.chain_id, Ballot.code_hash)
        .where(func.lower(Ballot.contract) == contract.lower(), Ballot.code_hash.is_not(None))
        .order_by(Ballot.opened_at.desc())
        .limit(1)
    ).one_or_none()
    return (None, None) if found is None else (found.chain_id, found.code_hash)


def keep_weights(
    session: Session,
    ballot_id: UUID,
    voters: Sequence[MemberWeight],
    member_ids: dict[str, UUID],
    *,
    from_the_first: bool,
) -> None:
    """Store a part of the weights of a ballot in preparation; the first part takes the place of all stored before."""
    if _locked(session, ballot_id).state != PREPARING:
        return
    if from_the_first:
        session.execute(delete(BallotWeight).where(BallotWeight.ballot_id == ballot_id))
    rows = [
        {
            "ballot_id": ballot_id,
            "address": voter.address,
            "member_id": member_ids[voter.address],
            "weight": voter.weight,
        }
        for voter in voters
        if voter.weight
    ]
    if rows:
        session.execute(insert(BallotWeight).on_conflict_do_nothing(), rows)


def open_ballot(session: Session, ballot_id: UUID, weights: Weights, now: datetime) -> None:
    """Open the ballot for its duration with the weights that are stored; without any there is nothing to open.

    Nothing happens unless it is in preparation, nor where another worker was storing weights of its own: it is tried
    again.
    """
    opened = _locked(session, ballot_id)
    if opened.state != PREPARING:
        return
    if not weights.total:
        stop(session, ballot_id, "nobody is a member yet", now)
        return
    if stored_weights(session, ballot_id) != {voter.address: voter.weight for voter in weights.members if voter.weight}:
        return
    opened.chain_id, opened.contract, opened.code_hash = weights.chain_id, weights.contract, weights.code_hash
    opened.block_number, opened.block_hash = weights.block.number, weights.block.hash
    opened.block_timestamp, opened.total_weight = weights.block.timestamp, weights.total
    opened.state, opened.opened_at = OPEN, now
    opened.closes_at = now + timedelta(seconds=opened.duration_s)


def stored_weights(session: Session, ballot_id: UUID) -> dict[str, int]:
    """The weights a ballot was opened with, by address."""
    rows = select(BallotWeight.address, BallotWeight.weight).where(BallotWeight.ballot_id == ballot_id)
    return dict(session.execute(rows.order_by(BallotWeight.address)).all())


def close(session: Session, ballot_id: UUID, now: datetime) -> None:
    """Count the votes and put the result in force from the next epoch on, in one transaction.

    The caller has just read the snapshot again. Nothing happens unless the ballot is open and over.
    """
    closing = _locked(session, ballot_id)
    if closing.state != OPEN or closing.closes_at is None or closing.closes_at > now:
        return
    rates = _next_rates(session, now).terms.rates
    if rates.artist_share_bp != closing.status_quo:
        stop(session, ballot_id, "the rates were changed in the meantime by other means than this ballot", now)
        return
    counted = tally.count(
        [tally.Vote(cast.value, cast.weight) for cast in counted_votes(session, ballot_id)],
        status_quo=closing.status_quo,
        quorum=tally.quorum_weight(closing.total_weight or 0, closing.quorum_bp),
        bounds=tally.Bounds(closing.lowest, closing.highest, closing.step_max),
    )
    conn = session.connection()
    effective_epoch = terms.founding(conn).calendar.epoch_at(now) + 1
    closing.rates_version = terms.adopt_rates(
        conn,
        replace(rates, artist_share_bp=counted.result),
        effective_epoch,
        f"{DECIDED_BY_BALLOT}{ballot_id}",
        now,
    )
    closing.effective_epoch, closing.result, closing.median = effective_epoch, counted.result, counted.median
    closing.cast_weight, closing.phantom_weight = counted.cast_weight, counted.phantom_weight
    closing.batch = open_batch(conn)
    closing.state, closing.closed_at = CLOSED, now


def stop(session: Session, ballot_id: UUID, reason: str, now: datetime) -> None:
    """End a ballot without a result. Nothing happens if it has ended."""
    stopping = _locked(session, ballot_id)
    if stopping.state in (PREPARING, OPEN):
        stopping.state, stopping.stopped_because, stopping.closed_at = STOPPED, reason[:REASON_LENGTH_MAX], now


def _locked(session: Session, ballot_id: UUID) -> Ballot:
    return session.get_one(Ballot, ballot_id, with_for_update=True)


# --- The rates ---


@dataclass(frozen=True, slots=True)
class DecidedRates:
    """An epoch's rates, and the ballot that decided them, if one did."""

    epoch: int
    starts_at: datetime
    in_force: terms.TermsInForce
    ballot: Ballot | None


def decided_rates(session: Session, now: datetime) -> tuple[DecidedRates, DecidedRates]:
    """The rates of the current epoch and of the next."""
    conn = session.connection()
    founded = terms.founding(conn)
    epoch = founded.calendar.epoch_at(now)
    found = [(each, terms.in_force(conn, founded, each)) for each in (epoch, epoch + 1)]
    ballot_ids = [_deciding_ballot(in_force.rates_decided_by) for _, in_force in found]
    decisions = by_ids(session, {ballot_id for ballot_id in ballot_ids if ballot_id is not None})
    current, coming = (
        DecidedRates(each, founded.calendar.starts_at(each), in_force, decisions.get(ballot_id) if ballot_id else None)
        for (each, in_force), ballot_id in zip(found, ballot_ids, strict=True)
    )
    return current, coming


def _deciding_ballot(decided_by: str) -> UUID | None:
    return UUID(decided_by.removeprefix(DECIDED_BY_BALLOT)) if decided_by.startswith(DECIDED_BY_BALLOT) else None


def starts_at(session: Session, epoch: int) -> datetime:
    """When an epoch begins."""
    return terms.founding(session.connection()).calendar.starts_at(epoch)

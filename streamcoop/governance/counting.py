"""Counting a ballot that is over, and what the shared log tells of it.

First it takes no more votes; then it is counted, from rows nobody changes any more; then the outcome is written down,
with the batch of the log that tells it. What is interrupted is done again from its beginning, with the same outcome.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from ledger import ballots, entries, tally
from ledger.ballots import SignedVote, Weighed
from ledger.constitution import CLASSES
from ledger.entries import Entry
from ledger.store.batches import open_batch
from streamcoop.governance import service
from streamcoop.governance.electorate import coming_numbers, seats, stop
from streamcoop.governance.models import CLOSED, COUNTED, COUNTING, OPEN, Ballot, BallotQuestion
from streamcoop.governance.proposing import constitution_of, end, locked


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a ballot came to: the tally, and the part of the weight that was cast with keys the co-op keeps."""

    tally: tally.Tally
    kept_key_weight: int


def due(session: Session, now: datetime) -> list[UUID]:
    """Ballots that are over and not counted, the earliest first."""
    over = (Ballot.state == OPEN) & (Ballot.closes_at <= now)
    return list(session.scalars(select(Ballot.id).where(over | (Ballot.state == COUNTING)).order_by(Ballot.closes_at)))


def begin(session: Session, ballot_id: UUID, now: datetime) -> None:
    """Take no more votes: waits for those under way. Nothing happens unless the ballot is open and over."""
    ballot = locked(session, ballot_id)
    if ballot.state == OPEN and ballot.closes_at is not None and ballot.closes_at <= now:
        ballot.state = COUNTING


def outcome(session: Session, ballot_id: UUID) -> Outcome:
    """Count a ballot that takes no more votes. The same again gives the same."""
    electorate = seats(session, ballot_id)
    weighed = ballots.weighed(electorate, _signed(session, ballot_id))
    status_quo = {
        question.parameter: question.status_quo or 0 for question in service.questions(session, {ballot_id})[ballot_id]
    }
    counted = tally.count(
        (each.counted() for each in weighed), status_quo, ballots.census(electorate), constitution_of(session)
    )
    return Outcome(counted, sum(each.weight for each in weighed if each.vote.is_kept))


def _signed(session: Session, ballot_id: UUID) -> list[SignedVote]:
    return [
        SignedVote(
            vote.address, tuple(vote.values), vote.nonce, vote.deadline, vote.signature, vote.evidence is not None
        )
        for vote in service.counted_votes(session, ballot_id)
    ]


def close(session: Session, ballot_id: UUID, found: Outcome, now: datetime) -> None:
    """Write the outcome down, to be told in the open batch of the log. Nothing happens unless the ballot is counted.

    A result that changes nothing, and a motion's, has no effect to wait for.
    """
    ballot = locked(session, ballot_id)
    if ballot.state != COUNTING:
        return
    asked = service.questions(session, {ballot_id})[ballot_id]
    coming = coming_numbers(session, now)
    if any(coming.get(question.parameter, question.status_quo) != question.status_quo for question in asked):
        stop(session, ballot_id, "the terms were changed in the meantime by other means than this ballot", now)
        return
    for question in asked:
        came_to = found.tally.outcomes[question.parameter]
        question.median, question.result = came_to.median, came_to.result
    ballot.cast_weight, ballot.phantom_weight = found.tally.cast_weight, found.tally.phantom_weight
    ballot.kept_key_weight = found.kept_key_weight
    ballot.batch = open_batch(session.connection())
    ballot.state, ballot.closed_at = CLOSED, now
    entry = _entry(ballot, asked, ballots.census(seats(session, ballot_id)), found.tally.cast)
    ballot.result_hash = sha256(entries.encode(entries.BALLOT, entry)).digest()
    decides = any(q.parameter in coming and q.result != q.status_quo for q in asked)
    if not decides:
        end(session, ballot, CLOSED, now)


# --- In the shared log ---


def told_in(conn: Connection, batch: int) -> Iterator[tuple[str, Entry]]:
    """The ballots that were counted in a batch of the shared log as its entries, each before its votes, and those
    before the delegations that counted.
    """
    with Session(conn) as session:
        counted = select(Ballot).where(Ballot.batch == batch, Ballot.state.in_(COUNTED)).order_by(Ballot.id)
        for ballot in session.scalars(counted):
            electorate = seats(session, ballot.id)
            weighed = ballots.weighed(electorate, _signed(session, ballot.id))
            asked = service.questions(session, {ballot.id})[ballot.id]
            yield entries.BALLOT, _entry(ballot, asked, ballots.census(electorate), _cast(weighed))
            votes = [_vote(each) for each in weighed]
            for some in _parts(votes, entries.VOTES_AN_ENTRY_MAX):
                yield entries.VOTES, {"ballot": str(ballot.id), "votes": some}
            for some in _parts(_delegations(weighed), entries.DELEGATIONS_AN_ENTRY_MAX):
                yield entries.DELEGATIONS, {"ballot": str(ballot.id), "delegations": some}


def _entry(ballot: Ballot, asked: list[BallotQuestion], census: dict[str, int], cast: Mapping[str, int]) -> Entry:
    return {
        "ballot": str(ballot.id),
        "text_sha256": text_hash(ballot.title, ballot.text),
        "opened_at": _seconds(ballot.opened_at),
        "closed_at": _seconds(ballot.closed_at),
        "parameters": [
            {"parameter": q.parameter, "status_quo": q.status_quo, "median": q.median, "result": q.result}
            for q in asked
        ],
        "census": census,
        "cast": dict(cast),
        **{name: getattr(ballot, name) for name in _TOLD},
    }


_TOLD = ("chain_id", "contract", "block_number", "block_hash", "block_timestamp", "phantom_weight", "kept_key_weight")


def text_hash(title: str, text: str) -> str:
    """What the log tells of a proposal's words: SHA-256 of the title, a line break and the text, in hexadecimal."""
    return sha256(f"{title}\n{text}".encode()).hexdigest()


def _seconds(at: datetime | None) -> int:
    return int(at.timestamp()) if at is not None else 0


def _cast(weighed: list[Weighed]) -> dict[str, int]:
    cast = dict.fromkeys(CLASSES, 0)
    for each in weighed:
        for member_class, weight in each.counted().weight.items():
            cast[member_class] += weight
    return cast


def _vote(each: Weighed) -> Entry:
    return {
        "address": each.vote.address,
        "member_class": each.seat.member_class,
        "values": list(each.vote.values),
        "nonce": each.vote.nonce,
        "deadline": each.vote.deadline,
        "signature": f"0x{each.vote.signature.hex()}",
        "kept_key": each.vote.is_kept,
    }


def _delegations(weighed: list[Weighed]) -> list[Entry]:
    told = [
        {"address": seat.address, "member_class": seat.member_class, "delegate": each.vote.address}
        for each in weighed
        for seat in each.delegators
    ]
    return sorted(told, key=lambda one: ballots.number_of(one["address"]))


def _parts(rows: list[Entry], most: int) -> Iterator[list[Entry]]:
    for begin in range(0, len(rows), most):
        yield rows[begin : begin + most]

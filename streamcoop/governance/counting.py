"""Counting a ballot that is over, and telling it in the shared log.

First it takes no more votes; then it is counted, from rows nobody changes any more; then the outcome is written down,
with the batch of the log that tells it. What is interrupted is done again from its beginning, with the same outcome.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from ledger import counting, entries
from ledger.ballots import SignedVote
from ledger.counting import Counted
from ledger.entries import Entry
from ledger.store.batches import open_batch
from streamcoop.governance import service
from streamcoop.governance.electorate import coming_numbers, seats, stop
from streamcoop.governance.models import CLOSED, COUNTED, COUNTING, OPEN, STOPPED, Ballot
from streamcoop.governance.proposing import constitution_of, end, locked
from streamcoop.governance.voting import form_of


def due(session: Session, now: datetime) -> list[UUID]:
    """Ballots that are over and not counted, the earliest first."""
    over = (Ballot.state == OPEN) & (Ballot.closes_at <= now)
    return list(session.scalars(select(Ballot.id).where(over | (Ballot.state == COUNTING)).order_by(Ballot.closes_at)))


def begin(session: Session, ballot_id: UUID, now: datetime) -> None:
    """Take no more votes: waits for those under way. Nothing happens unless the ballot is open and over."""
    ballot = locked(session, ballot_id)
    if ballot.state == OPEN and ballot.closes_at is not None and ballot.closes_at <= now:
        ballot.state = COUNTING


def counted(session: Session, ballot: Ballot) -> Counted:
    """The count of a ballot that takes no more votes; again it gives the same."""
    asked = service.questions(session, {ballot.id})[ballot.id]
    votes = (
        SignedVote(
            vote.address, tuple(vote.values), vote.nonce, vote.deadline, vote.signature, vote.evidence is not None
        )
        for vote in service.counted_votes(session, ballot.id)
    )
    over = counting.Ballot(
        form=form_of(ballot, [question.parameter for question in asked]),
        text=words_of(ballot),
        opened_at=_seconds(ballot.opened_at),
        closed_at=_seconds(ballot.closes_at),
        block_number=ballot.block_number or 0,
        block_hash=ballot.block_hash or "",
        block_timestamp=ballot.block_timestamp or 0,
        status_quo={question.parameter: question.status_quo or 0 for question in asked},
    )
    return counting.counted(over, seats(session, ballot.id), votes, constitution_of(session))


def words_of(ballot: Ballot) -> str:
    """What members were asked, word for word, as the log tells its hash: the title, a line break and the text."""
    return f"{ballot.title}\n{ballot.text}"


def _seconds(at: datetime | None) -> int:
    return int(at.timestamp()) if at is not None else 0


def close(session: Session, ballot_id: UUID, found: Counted, now: datetime) -> None:
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
        outcome = found.tally.outcomes[question.parameter]
        question.median, question.result = outcome.median, outcome.result
    ballot.cast_weight, ballot.phantom_weight = found.tally.cast_weight, found.tally.phantom_weight
    ballot.kept_key_weight, ballot.result_hash = found.kept_key_weight, found.result_hash
    ballot.batch = open_batch(session.connection())
    ballot.state, ballot.closed_at = CLOSED, now
    if not any(question.parameter in coming and question.result != question.status_quo for question in asked):
        end(session, ballot, CLOSED, now)


def told_in(conn: Connection, batch: int) -> Iterator[tuple[str, Entry]]:
    """The ballots that were counted in a batch of the shared log, and those stopped after they had opened, as its
    entries.
    """
    told = select(Ballot).where(Ballot.batch == batch).order_by(Ballot.id)
    with Session(conn) as session:
        for ballot in session.scalars(told.where(Ballot.state.in_(COUNTED))):
            yield from counted(session, ballot).entries()
        for ballot in session.scalars(told.where(Ballot.state == STOPPED)):
            yield entries.BALLOT_STOPPED, _stopped(ballot)


def _stopped(ballot: Ballot) -> Entry:
    return {
        "ballot": str(ballot.id),
        "opened_at": _seconds(ballot.opened_at),
        "stopped_at": _seconds(ballot.closed_at),
        "because": ballot.stopped_because or "",
    }

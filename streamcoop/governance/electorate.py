"""Who may vote: the contract's roll at one block, stored page by page, and opened with once it adds up.

A worker reads; what it read is handed in here. Nothing that goes wrong on the way changes a rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from ledger.ballots import Seat
from ledger.entries import TEXT_MAX
from ledger.store import terms
from ledger.store.batches import open_batch
from streamcoop.governance import service
from streamcoop.governance.models import COUNTING, OPEN, PREPARING, STOPPED, Ballot, BallotSeat, ContractPin
from streamcoop.governance.proposing import constitution_of, end, locked

if TYPE_CHECKING:  # only the workers talk to the chain: the service need not load web3
    from streamcoop.adapters import members
    from streamcoop.adapters.members import RollExtent

REASON_LENGTH_MAX = TEXT_MAX


# --- The contracts' pins ---


def pin(session: Session, name: str) -> ContractPin | None:
    """Where the contract of that name was found first, and its code; None if it never was."""
    return session.get(ContractPin, name)


def keep_pin(session: Session, name: str, chain_id: int, address: str, code_hash: str, now: datetime) -> None:
    """Hold the contract of that name to what it is now. Nothing changes if it is held to something already."""
    found = {"name": name, "chain_id": chain_id, "address": address, "code_hash": code_hash, "pinned_at": now}
    # Two workers may meet it first at once.
    session.execute(upsert(ContractPin).values(found).on_conflict_do_nothing())


# --- Reading the roll ---


def in_preparation(session: Session) -> list[UUID]:
    """Ballots whose electorate is not read yet, oldest first."""
    return list(session.scalars(select(Ballot.id).where(Ballot.state == PREPARING).order_by(Ballot.id)))


def begin_reading(session: Session, ballot_id: UUID, extent: RollExtent) -> None:
    """Choose the block whose roll is read, anew where one was read before: seats of that one are dropped."""
    ballot = locked(session, ballot_id)
    if ballot.state != PREPARING:
        return
    session.execute(delete(BallotSeat).where(BallotSeat.ballot_id == ballot_id))
    ballot.chain_id, ballot.contract, ballot.code_hash = extent.chain_id, extent.contract, extent.code_hash
    ballot.block_number, ballot.block_hash = extent.block.number, extent.block.hash
    ballot.block_timestamp, ballot.read_to = extent.block.timestamp, 0


def keep_page(
    session: Session, ballot_id: UUID, block_hash: str, first: int, last: int, page: Sequence[members.Seat]
) -> bool:
    """Store the seats of tokens `first` to `last`. False if another worker has read them, or chosen another block."""
    ballot = locked(session, ballot_id)
    if ballot.state != PREPARING or ballot.block_hash != block_hash or ballot.read_to != first - 1:
        return False
    waited_by = (ballot.block_timestamp or 0) - constitution_of(session).waiting_seconds
    rows = [
        {
            "ballot_id": ballot_id,
            "address": seat.address,
            "token_id": seat.token_id,
            "member_class": seat.member_class.name.lower(),
            "delegate": seat.delegate,
            "since": seat.since,
            "has_waited": seat.since <= waited_by,
        }
        for seat in page
    ]
    if rows:
        session.execute(insert(BallotSeat), rows)
    ballot.read_to = last
    return True


def stored_seats(session: Session, ballot_id: UUID) -> list[BallotSeat]:
    """Every seat that was read, by token."""
    wanted = select(BallotSeat).where(BallotSeat.ballot_id == ballot_id).order_by(BallotSeat.token_id)
    return list(session.scalars(wanted))


def seats(session: Session, ballot_id: UUID) -> list[Seat]:
    """The seats that may vote."""
    wanted = select(BallotSeat.address, BallotSeat.member_class, BallotSeat.delegate).where(
        BallotSeat.ballot_id == ballot_id, BallotSeat.has_waited
    )
    return [Seat(*row) for row in session.execute(wanted)]


# --- Opening ---


def open_ballot(session: Session, ballot_id: UUID, last_token_id: int, now: datetime) -> None:
    """Open the ballot with the seats that are stored: the caller has seen that they add up. Without any there is
    nothing to open.

    The status quo is what would hold if this ballot decided nothing. Nothing happens unless the ballot is in
    preparation and wholly read.
    """
    ballot = locked(session, ballot_id)
    if ballot.state != PREPARING or ballot.read_to != last_token_id:
        return
    mine = BallotSeat.ballot_id == ballot_id
    total = session.scalar(select(func.count()).where(mine, BallotSeat.has_waited)) or 0
    if not total:
        stop(session, ballot_id, "nobody may vote yet: there are no members, or none has waited long enough", now)
        return
    constitution = constitution_of(session)
    status_quo = coming_numbers(session, now)
    for question in service.questions(session, {ballot_id})[ballot_id]:
        question.status_quo = status_quo.get(question.parameter, 0)
    ballot.total_weight = total
    ballot.state, ballot.opened_at = OPEN, now
    ballot.closes_at = now + timedelta(seconds=ballot.duration_s)
    ballot.closes_by = ballot.closes_at + timedelta(seconds=constitution.extension_seconds_max)


def coming_numbers(session: Session, now: datetime) -> dict[str, int]:
    """The open parameters as they will be in the next epoch, unless something is decided until then."""
    conn = session.connection()
    founded = terms.founding(conn)
    return terms.in_force(conn, founded, founded.calendar.epoch_at(now) + 1).numbers()


def stop(session: Session, ballot_id: UUID, reason: str, now: datetime) -> None:
    """End a ballot without a result. Nothing happens unless it waits for its electorate or for its count.

    The shared log tells of one that took votes: who has the promise of a count can see why there is none.
    """
    ballot = locked(session, ballot_id)
    if ballot.state in (PREPARING, OPEN, COUNTING):
        if ballot.state != PREPARING:
            ballot.batch = open_batch(session.connection())
        ballot.stopped_because = reason[:REASON_LENGTH_MAX]
        end(session, ballot, STOPPED, now)

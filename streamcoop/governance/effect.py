"""From a ballot's outcome to terms in force: written to the registry, its timelock over, adopted from an epoch's start.

A decision is written as the registrar's other transactions are: signed and stored, sent, final. Until the registry and
the log agree, and the timelock is over on the chain's own clock, the terms of before stand.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from ledger.constitution import KINDS, MOTION, RATES, RULES, TARIFF, terms_of
from ledger.store import terms
from streamcoop.governance import service
from streamcoop.governance.electorate import REASON_LENGTH_MAX, coming_numbers
from streamcoop.governance.models import CLOSED, EFFECTIVE, Ballot
from streamcoop.governance.proposing import end, locked
from streamcoop.membership import transactions
from streamcoop.membership.models import ChainTransaction

if TYPE_CHECKING:  # only the workers talk to the chain: the service need not load web3
    from streamcoop.adapters.chain import Receipt, SignedTransaction

DECISION = "decision"


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision that is not in force yet: all open parameters as they will be, and the transaction that writes them.

    `effective_at` is the registry's, once it is written there for good.
    """

    ballot_id: UUID
    result_hash: bytes
    numbers: dict[str, int]
    effective_at: int | None
    transaction: ChainTransaction | None


def first_undone(session: Session) -> UUID | None:
    """The ballot whose decision is next: one after the other, since each is written on top of the one before."""
    undone = select(Ballot.id).where(Ballot.state == CLOSED, Ballot.is_under_way)
    return session.scalar(undone.order_by(Ballot.closed_at, Ballot.id).limit(1))


def waiting(session: Session) -> tuple[int, int]:
    """How many decisions are not in force yet, and how many of them something holds up."""
    undone = select(func.count(), func.count(Ballot.held_up_by)).where(Ballot.state == CLOSED, Ballot.is_under_way)
    under_way, held_up = session.execute(undone).one()
    return under_way, held_up


def decision(session: Session, ballot_id: UUID, now: datetime) -> Decision | None:
    """How far a decision has come; None if there is nothing to do."""
    signed_for_it = (ChainTransaction.purpose == DECISION) & (ChainTransaction.subject == Ballot.id)
    # In one statement: between two of them another worker may finish it, and it would seem to need a transaction.
    found = session.execute(
        select(Ballot, ChainTransaction)
        .join(ChainTransaction, signed_for_it & transactions.UNFINISHED, isouter=True)
        .where(Ballot.id == ballot_id, Ballot.state == CLOSED, Ballot.is_under_way)
    ).one_or_none()
    if found is None:
        return None
    ballot, transaction = found
    numbers = coming_numbers(session, now) | _results(session, ballot_id)
    return Decision(ballot_id, bytes(ballot.result_hash or b""), numbers, ballot.effective_at, transaction)


def _results(session: Session, ballot_id: UUID) -> dict[str, int]:
    asked = service.questions(session, {ballot_id})[ballot_id]
    return {
        question.parameter: question.result
        for question in asked
        if question.parameter != MOTION and question.result is not None
    }


def intend(session: Session, ballot_id: UUID, signed: SignedTransaction, now: datetime) -> bool:
    """Store the signed transaction that writes a decision, before it is sent.

    False, and nothing is stored, if it came too late: the decision is written or has a transaction already, or the
    nonce was given to another one.
    """
    transactions.lock(session)
    under_way = decision(session, ballot_id, now)
    if under_way is None or under_way.transaction is not None or under_way.effective_at is not None:
        return False
    return transactions.store(session, DECISION, ballot_id, signed, now)


def confirm(
    session: Session, ballot_id: UUID, transaction_id: UUID, receipt: Receipt, effective_at: int | None, now: datetime
) -> None:
    """The transaction stands in a final block. `effective_at` is what the registry has of this decision, word for
    word; None if it has it not, or another: then it is signed anew.
    """
    transaction = transactions.finish(session, transaction_id, receipt, now)
    if transaction is not None:
        _written(session, ballot_id, effective_at)


def found_written(session: Session, ballot_id: UUID, effective_at: int) -> None:
    """The registry has this decision already, by a transaction we do not know of."""
    _written(session, ballot_id, effective_at)


def _written(session: Session, ballot_id: UUID, effective_at: int | None) -> None:
    ballot = locked(session, ballot_id)
    if ballot.state == CLOSED and ballot.effective_at is None:
        ballot.effective_at = effective_at
        ballot.held_up_by = None if effective_at is not None else "the registry refused it"


def lost(session: Session, ballot_id: UUID) -> None:
    """What was written stands there no more, since more of the chain was replaced than was held to be final: it is
    written again.
    """
    ballot = locked(session, ballot_id)
    if ballot.state == CLOSED:
        ballot.effective_at = None


def adopt(session: Session, ballot_id: UUID, now: datetime) -> None:
    """Put a decision in force from the next epoch on: the registry has it and its timelock is over.

    Nothing happens unless it is written and not in force yet.
    """
    ballot = locked(session, ballot_id)
    if ballot.state != CLOSED or not ballot.is_under_way or ballot.effective_at is None:
        return
    conn = session.connection()
    founded = terms.founding(conn)
    epoch = founded.calendar.epoch_at(now) + 1
    coming = terms.in_force(conn, founded, epoch)
    results = _results(session, ballot_id)
    tariff, rates, rules = terms_of(coming.numbers() | results)
    decided_by = f"{service.DECIDED_BY_BALLOT}{ballot_id}"
    decided = {kind for kind, names in KINDS.items() if results.keys() & set(names)}
    if TARIFF in decided:
        terms.adopt_tariff(conn, tariff, epoch, decided_by, now)
    if RATES in decided:
        terms.adopt_rates(conn, rates, epoch, decided_by, now)
    if RULES in decided:
        terms.adopt_rules(conn, rules, epoch, decided_by, now)
    ballot.effective_epoch = epoch
    end(session, ballot, EFFECTIVE, now)


def hold_up(session: Session, ballot_id: UUID, reason: str | None) -> None:
    """Tell members why a decision does not come into force, or that nothing holds it up any more."""
    told = reason and reason[:REASON_LENGTH_MAX]
    undone = (Ballot.id == ballot_id) & (Ballot.state == CLOSED) & Ballot.is_under_way
    session.execute(update(Ballot).where(undone, Ballot.held_up_by.is_distinct_from(told)).values(held_up_by=told))
